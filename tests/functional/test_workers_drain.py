"""What becomes of requests while workers are replaced, killed or drained: nothing is lost that need not be."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.functional.draining import HELLO, VIEWS, Client, Watch, hold, own_lines, wait_until_closed
from tests.support.functional.haproxy import CONNECTIONS, haproxy
from tests.support.functional.haproxy import VIEWS as PROXIED_VIEWS
from tests.support.functional.haproxy import Load as ProxiedLoad
from tests.support.functional.harness import PROMPT, Serve, Server, free_port, lines_with, release, wait_for
from tests.support.functional.workers import (
    PRELOADED_TOO,
    Held,
    Launch,
    Load,
    ended,
    launching,
    restarts,
    resume,
    states,
    suspend,
    titles,
    wait_until_ready,
    wait_until_replaced,
    workers,
)

ENOUGH = 3000
"""Requests that must have been sent where none may be lost."""


@pytest.fixture(autouse=True)
def _deliver_interrupts() -> Iterator[None]:
    """Let the servers receive SIGINT even where the tests run in the background, with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def launch(serve: Serve, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Launch]:
    with launching(serve, tmp_path, getattr(request, "param", False)) as launcher:
        yield launcher


def interrupt(server: Server) -> None:
    """What Ctrl-C does: SIGINT to all processes of the group."""
    for pid in titles(server):
        os.kill(pid, signal.SIGINT)


def terminate(server: Server) -> None:
    server.signal(signal.SIGTERM)


SIGNALS = pytest.mark.parametrize("end", [terminate, interrupt], ids=["SIGTERM", "Ctrl-C"])


# The drain


@PRELOADED_TOO
@SIGNALS
def test_everything_is_answered(launch: Launch, end: Callable[[Server], None]) -> None:
    """For the delay all is served as ever; what is in flight then is answered, and liveness passes throughout."""
    server = launch("--drain-delay", "1.5", "--threads", "16", views=VIEWS)
    idle = [Client.kept_alive(server) for _ in range(6)]
    used = [Client.kept_alive(server) for _ in range(6)]
    held = [hold(server, f"page-{number}") for number in range(6)]
    streams = [hold(server, f"stream-{number}", "/stream/") for number in range(3)]
    half = [Client(server, HELLO[:9]) for _ in range(6)]
    for client in half:
        wait_for(client.is_read, "half a head to be read")
    watch = Watch(server)
    with Load(server, path="/hello/") as load:
        load.wait_for(100)
        signalled = time.monotonic()
        end(server)
        server.wait_until("/ready", 503)
        failed = time.monotonic()
        for client in used:
            client.send(HELLO)
            assert client.answer().text == "hello"
        wait_until_closed(server)
        closed = time.monotonic()
    for client in half:
        client.send(HELLO[9:])
    release(server)
    assert {client.outcome() for client in held} == {"200 held close, end"}
    assert {client.outcome() for client in streams} == {"200 begin end, end"}
    assert {client.outcome() for client in half} == {"200 hello close, end"}
    assert {client.outcome() for client in idle + used} == {"end"}
    assert ended(server)
    watch.join(PROMPT)
    sys.stdout.write(f"{load.sent} requests; the port closed after {closed - signalled:.2f} s\n")
    assert 1.4 < closed - signalled < PROMPT
    assert load.sent > 150
    assert [(at, what) for at, what in load.losses if "ConnectionRefused" not in what or at < signalled + 1.4] == []
    assert {*watch.statuses("/alive")} == {200}
    assert {*watch.statuses("/ready", since=failed)} == {503}
    assert "cut off" not in server.output


@PRELOADED_TOO
def test_a_signal_to_all_processes(launch: Launch) -> None:
    """As systemd sends it: the workers serve until the delay is over, and no others take their places."""
    server = launch("--drain-delay", "1.5")
    pids = [*workers(server)]
    terminate(server)
    server.wait_until("/ready", 503)
    with Load(server) as load:
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
        server.signal(signal.SIGHUP)
        wait_until_closed(server)
    assert ended(server)
    assert load.by_pid.keys() <= {*pids}
    assert [what for _, what in load.losses if "ConnectionRefused" not in what] == []
    assert len(lines_with(server.stdout, "is starting")) == 2


@PRELOADED_TOO
def test_requests_that_wait_in_the_kernel_are_answered(launch: Launch) -> None:
    """What has arrived before the signal but was not read yet: in the backlog, and on connections of each worker."""
    server = launch(views=VIEWS)
    idle, half_idle = ([Client.kept_alive(server) for _ in range(10)] for _ in range(2))
    pids = {*workers(server)}
    suspend(*pids)
    for client in idle:
        client.send(HELLO)
    for client in half_idle:
        client.send(HELLO[:9])
    backlog = [Client(server, HELLO) for _ in range(100)]
    half = [Client(server, HELLO[:9]) for _ in range(10)]
    terminate(server)
    server.wait_until("/ready", 503)
    resume(*pids)
    wait_until_closed(server)
    for client in half_idle + half:
        client.send(HELLO[9:])
    last = {"200 hello close, end"}
    assert {client.outcome() for client in half_idle + half} == last
    # A worker may come to these before it is told to drain.
    assert {client.outcome() for client in idle + backlog} <= last | {"200 hello, end"}
    assert ended(server)


@SIGNALS
def test_an_end_while_starting(launch: Launch, end: Callable[[Server], None]) -> None:
    """During a command, as soon as there are workers, and while they import: soon and in good order."""
    slow = "import time\nfrom pathlib import Path\nPath('reached').touch()\ntime.sleep(600)\n"
    patient = {"TWISTSERVE_DRAIN_DELAY": "60", "TWISTSERVE_GRACEFUL_TIMEOUT": "60"}
    early = launch(name="early", until=None, env=patient)
    running = launch("--command", "shell -c 'import slow'", name="running", until=None, env=patient, slow=slow)
    importing = launch(name="importing", until=None, env=patient, site_wsgi=slow)
    wait_for(lambda: len(titles(early)) == 3, f"workers to be there\n{early.output}")
    end(early)
    for server in (running, importing):
        wait_for((server.cwd / "reached").exists, f"it to be at it\n{server.output}")
        end(server)
    for server in (early, running, importing):
        assert ended(server)


@PRELOADED_TOO
def test_what_is_cut_at_the_timeout(launch: Launch) -> None:
    """After --graceful-timeout all end, each request that was cut off with a line of its own, in the access log too."""
    server = launch("--graceful-timeout", "1.5", views=VIEWS)
    held = [hold(server, f"page-{number}") for number in range(6)]
    began = time.monotonic()
    terminate(server)
    assert ended(server)
    assert 1.4 < time.monotonic() - began < PROMPT
    assert not any("200" in client.outcome() for client in held)
    assert len(own_lines(server, "cut off.*/hold/")) == 6
    assert len(lines_with(server.stdout, "GET /hold/", '" 503 ')) == 6


@PRELOADED_TOO
@pytest.mark.parametrize("moment", ["during the delay", "with requests in flight", "with a worker that stands still"])
def test_a_second_signal_ends_all_at_once(launch: Launch, moment: str) -> None:
    """The parent and its workers, whatever they are at."""
    delay = "60" if moment == "during the delay" else "0"
    server = launch("--drain-delay", delay, "--graceful-timeout", "60", views=VIEWS)
    held = [hold(server, f"page-{number}") for number in range(6)]
    terminate(server)
    server.wait_until("/ready", 503)
    if moment == "with requests in flight":
        wait_until_closed(server)
    if moment == "with a worker that stands still":
        suspend(min(workers(server)))
    began = time.monotonic()
    server.signal(signal.SIGINT)
    assert ended(server)
    sys.stdout.write(f"ended {time.monotonic() - began:.2f} s after the second signal\n")
    assert not any("200" in client.outcome() for client in held)


# Under load


@PRELOADED_TOO
def test_replacing_workers_under_load_loses_nothing(launch: Launch) -> None:
    """SIGHUP, SIGTERM to one worker after another, one more and one less: each new connection gets its answer."""
    server = launch("--no-access-log")
    phases: list[tuple[float, str]] = []
    fewest = 2

    def reload() -> None:
        old = {*workers(server)}
        server.signal(signal.SIGHUP)
        wait_until_replaced_watching(old)

    def wait_until_replaced_watching(old: set[int]) -> None:
        def replaced() -> bool:
            nonlocal fewest
            fewest = min(fewest, [*states(server).values()].count("ready"))
            return old.isdisjoint(workers(server))

        wait_for(replaced, f"{old} to be replaced\n{server.output}")
        wait_until_ready(server)

    def one_by_one() -> None:
        for pid in workers(server):
            os.kill(pid, signal.SIGTERM)
            wait_until_replaced_watching({pid})

    def more_and_fewer() -> None:
        for number, signal_number in ((3, signal.SIGTTIN), (2, signal.SIGTTOU)):
            server.signal(signal_number)
            wait_until_ready(server, number)

    with Load(server) as load:
        load.wait_for(200)
        while load.sent < ENOUGH or len(phases) < 3:
            for phase in (reload, one_by_one, more_and_fewer):
                phases.append((time.monotonic(), phase.__name__))
                phase()
        load.wait_for(200)
    counted = restarts(server)
    sys.stdout.write(f"{phases}\n{counted}, never fewer than {fewest} ready\n")
    assert load.losses == [], f"{len(load.losses)} of {load.sent} lost"
    assert fewest == 2
    rounds = len(phases) // 3
    assert counted == {"reload": 2 * rounds, "signal": 2 * rounds, "resized": rounds}


@PRELOADED_TOO
def test_lifetimes_under_load_lose_nothing(launch: Launch) -> None:
    """Workers that are replaced after so many requests are so one at a time, the new one first."""
    server = launch("--max-lifetime", "300", "--no-access-log")
    ready, gone = [2], {*workers(server)}
    with Load(server) as load:

        def replaced() -> bool:
            seen = [*states(server).values()]
            ready.append(seen.count("ready"))
            assert len(seen) <= 3, seen
            gone.update(workers(server))
            return restarts(server).get("lifetime", 0) >= 4 and load.sent >= ENOUGH // 2

        wait_for(replaced, f"workers to be replaced\n{server.output}")
    sys.stdout.write(f"{load.by_pid}\n")
    assert load.losses == [], f"{len(load.losses)} of {load.sent} lost"
    assert min(ready) == 2, "as many as ever serve at any time"
    assert load.by_pid.keys() <= gone


@PRELOADED_TOO
def test_ages_under_load_lose_nothing(launch: Launch) -> None:
    """Workers that became ready together are replaced one at a time, the new one first, again and again."""
    server = launch("--max-age", "2", "--no-access-log")
    ready = [2]
    with Load(server) as load:

        def replaced() -> bool:
            seen = [*states(server).values()]
            ready.append(seen.count("ready"))
            assert len(seen) <= 3, seen
            return restarts(server).get("age", 0) >= 4 and load.sent >= ENOUGH // 2

        wait_for(replaced, f"workers to be replaced\n{server.output}")
    assert load.losses == [], f"{len(load.losses)} of {load.sent} lost"
    assert min(ready) == 2, "as many as ever serve at any time"
    assert lines_with(server.stdout, "is replaced: ready for", "at most 2 s were wanted")


@PRELOADED_TOO
def test_a_worker_that_is_killed_loses_what_it_had_and_no_more(launch: Launch) -> None:
    """Each kill costs the requests in flight in that worker, those of a moment; the others' go on."""
    server = launch("--no-access-log")
    clients, kills = 8, []
    with Load(server, clients) as load:
        for number in range(3):
            load.wait_for(200)
            held = Held(server, f"request-{number}")
            victim = next(pid for pid in workers(server) if pid != held.pid)
            kills.append(time.monotonic())
            os.kill(victim, signal.SIGKILL)
            wait_until_replaced(server, {victim})
            release(server)
            assert held.outcome() == f"200 held request-{number}"
            (server.cwd / "go").unlink()
        load.wait_for(200)
    late = [(at, what) for at, what in load.losses if not any(0 <= at - kill < 1 for kill in kills)]
    assert late == [], "only the requests in flight are lost"
    assert len(load.losses) <= len(kills) * clients
    assert not any(what[0].isdigit() for _, what in load.losses), "none of them is an answer"
    assert restarts(server) == {"died": 3}


def test_a_rolling_update_of_instances_with_workers(launch: Launch, tmp_path: Path) -> None:
    """Behind HAProxy, with connections that are kept alive on both sides: no answer is missing."""
    ports = {name: free_port() for name in ("old-1", "both-2", "new-1")}

    def start(name: str) -> Server:
        options = ("--port", str(ports[name]), "--drain-delay", "3", "--no-access-log")
        return launch(*options, name=name, port=ports[name], views=PROXIED_VIEWS)

    old, both = start("old-1"), start("both-2")
    mode = next(mode for mode in CONNECTIONS if mode.startswith("keep-alive"))
    with haproxy(tmp_path, ports, CONNECTIONS[mode]) as proxy:
        wait_for(lambda: proxy.sees({"old-1": "UP", "both-2": "UP", "new-1": "DOWN"}), "HAProxy to know its servers")
        with ProxiedLoad(proxy.port, keep_alive=True) as load:
            start("new-1")
            terminate(old)
            assert ended(old)
            terminate(both)
            assert ended(both)
            start("both-2")
            wait_for(lambda: proxy.sees({"both-2": "UP"}) and load.sent >= ENOUGH // 2, "enough requests to be sent")
    sys.stdout.write(f"{load}--- HAProxy\n{proxy.log_path.read_text()}\n")
    assert load.lost == 0, str(load)
