"""--service with --workers: once in a process of its own, or in each worker."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.functional.draining import listens
from tests.support.functional.harness import (
    AT_ONCE,
    PROMPT,
    Serve,
    Server,
    assert_failed,
    lines_with,
    refuses,
    release,
    wait_for,
)
from tests.support.functional.processes import is_running
from tests.support.functional.services import STOCK, VIEWS, events, said, service_metric
from tests.support.functional.status_page import document
from tests.support.functional.workers import (
    PRELOADED_TOO,
    Held,
    Launch,
    Load,
    ended,
    launching,
    suspend,
    titles,
    wait_until_none_is_left,
    wait_until_ready,
    wait_until_replaced,
    workers,
)
from tests.support.functional.workers_project import WSGI

HEARTBEAT_TIMEOUT = 10.0
"""Seconds without an answer after which the process of a service is killed."""

END_GRACE = 10.0
"""Seconds beyond --drain-delay and --graceful-timeout after which all is gone, whatever a service does."""

Run = Callable[..., Server]


@pytest.fixture
def launch(serve: Serve, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Launch]:
    with launching(serve, tmp_path, preload=getattr(request, "param", False)) as launcher:
        yield launcher


@pytest.fixture
def run(launch: Launch) -> Run:
    """Start two workers beside services: `run("stock.Feed", options=["--threads", "1"], until=None)`."""

    def starter(*names: str, options: list[str] | None = None, **kwargs: Any) -> Server:
        words = [part for name in names for part in ("--service", name)]
        return launch(*words, *(options or []), views=VIEWS, stock=STOCK, **kwargs)

    return starter


def process_of(server: Server, name: str) -> int:
    """The one process of a service."""
    [pid] = wait_for(lambda: processes(server, name), lambda: f"a process of {name}\n{server.output}")
    return pid


def processes(server: Server, name: str) -> list[int]:
    return [pid for pid, title in titles(server).items() if title == f"twistserve: service {name}"]


def entry_of(server: Server, name: str) -> dict[str, Any]:
    """What readiness says of a service."""
    [entry] = server.probe("/ready").json()["checks"][f"service:{name}"]
    assert isinstance(entry, dict)
    return entry


def up(server: Server) -> dict[str, float]:
    """The services by their names, and whether they run, as the metric has it."""
    return {label.split('"')[1]: value for label, value in service_metric(server, "twistserve_service_up").items()}


# Where it runs, and what it tells


@PRELOADED_TOO
def test_where_services_run(run: Run) -> None:
    """Once in a process of its own, or in each worker; readiness, metrics, status page and log know them all."""
    server = run("stock.Feed", "stock.Cache", "stock.table", "stock.COPY")
    feed, in_workers = process_of(server, "feed"), {*workers(server)}
    assert sum("service" in title for title in titles(server).values()) == 1
    assert [(event.pid, event.thread) for event in events(server, "start feed")] == [(feed, "reactor")]
    for name in ("cache", "table", "copy"):
        starts = events(server, f"start {name}")
        assert (len(starts), {event.pid for event in starts}) == (2, in_workers)

    checks = server.probe("/ready").json()["checks"]
    assert {name for name in checks if name.startswith("service:")} == {
        "service:feed", "service:cache", "service:table", "service:copy"
    }  # fmt: skip
    assert up(server) == {"feed": 1, "cache": 1, "table": 1, "copy": 1}
    wait_for(lambda: "stock_starts_total 7.0" in server.probe("/metrics").text, "the counter of all processes")
    values = service_metric(server, "twistserve_service_value")
    assert values['{name="entries",service="cache"}'] == 5
    assert values['{name="symbols",service="feed"}'] == 7
    told = document(server)["services"]
    assert {each["name"] for each in told} == {"feed", "cache", "table", "copy"}
    assert all(each["up"] for each in told)

    assert lines_with(server.stdout, " [service-feed] twistserve.service.feed: ")
    assert lines_with(server.stdout, " [service-feed] stock: the feed has started")
    assert len(lines_with(server.stdout, " twistserve.service.cache: ")) == 2
    server.signal(signal.SIGTERM)
    assert ended(server)
    assert said(server, "state") == ["state starting", "state ready", "state draining", "state stopped"]
    assert said(server, "stop feed") == ["stop feed one"]
    assert len(said(server, "stop cache")) == 2


def test_where_it_is_imported(run: Run) -> None:
    """In the main thread of its process, with Django but not the application, which serves no requests there."""
    server = run("stock.Feed")
    feed = process_of(server, "feed")
    imported = {event.pid: (event.thread, event.words) for event in events(server, "imported")}
    assert imported == dict.fromkeys(workers(server), ("main", "imported True")) | {feed: ("main", "imported False")}
    assert [event.pid for event in events(server, "called feed True starting")] == [feed]


def test_readiness_of_a_process_of_its_own(run: Run) -> None:
    """`check_ready` counts there too: a text, what is raised, a Deferred that never fires; and who ends by itself."""
    server = run("stock.Feed", "stock.ticker", options=["--check-timeout", "0.5"])
    verdict = server.cwd / "verdict"
    for words, output in {
        "text the feed is stale": "the feed is stale",
        "raise hunter2": "raised LookupError",
        "exit": "raised SystemExit",
        "hang": "0.5 s",
    }.items():
        verdict.write_text(words)
        wait_for(partial(_says, server, output), output)
        assert server.answers("/ready", 503)
        assert server.answers("/alive")
    verdict.unlink()
    (server.cwd / "hung").touch()
    server.wait_until("/ready")
    (server.cwd / "break").touch()
    wait_for(lambda: entry_of(server, "ticker")["status"] == "warn", "the warning")
    assert server.answers("/ready")
    wait_for(lambda: up(server) == {"feed": 1, "ticker": 0}, "the metric")
    wait_for(lambda: lines_with(server.stdout, " ERROR [service-ticker] twistserve.service.ticker: "), "the line")
    server.signal(signal.SIGTERM)
    assert server.wait(PROMPT) == 0


def _says(server: Server, output: str) -> bool:
    return output in entry_of(server, "feed").get("output", "")


# Starting


def test_a_start_is_waited_for(run: Run) -> None:
    """/startup names the service; the web port and readiness come after it."""
    server = run("stock.Opening", "stock.Feed", until=None)
    wait_for(lambda: said(server, "starting opening"), lambda: f"the start\n{server.output}")

    def named() -> bool:
        reply = server.probe("/startup")
        return reply.status == 503 and "opening" in reply.text

    wait_for(named, lambda: f"/startup to name the service: {server.probe('/startup').text}", PROMPT)
    assert server.answers("/ready", 503)
    closed = refuses(server.port)
    (server.cwd / "open").touch()
    server.wait_until("/ready")
    assert wait_for(lambda: up(server), "the metric") == {"opening": 1, "feed": 1}
    assert closed, "the web port opened before the service had started"


def test_sigterm_while_a_service_starts(run: Run) -> None:
    """It ends the start with status 0, and leaves no process."""
    server = run("stock.Opening", "stock.Cache", until=None)
    wait_for(lambda: said(server, "starting opening"), lambda: f"the start\n{server.output}")
    server.signal(signal.SIGTERM)
    assert ended(server)
    assert server.stderr == ""


@pytest.mark.parametrize(
    ("launch", "name", "named"),
    [
        pytest.param(False, "stock.StartRaises", ["startraises", "LookupError", "the shelf is gone"], id="raises"),
        pytest.param(True, "stock.StartFails", ["startfails", "LookupError", "the shelf is gone"], id="preloaded"),
        pytest.param(False, "absent.Feed", ["absent.Feed", "no module 'absent'"], id="no-module"),
        pytest.param(False, "stock.EachFails", ["eachfails", "LookupError", "the shelf is gone"], id="each-worker"),
    ],
    indirect=["launch"],
)
def test_a_start_that_fails(run: Run, name: str, named: list[str]) -> None:
    """The service ends with status 1 and the error in one line; no process is left."""
    server = run(name, "stock.Cache", until=None)
    assert_failed(server, *named)
    wait_until_none_is_left(server)


# Its process


def test_a_process_that_is_killed_is_started_again(run: Run) -> None:
    """The workers go on, and requests with them; without `check_ready`, the service does not fail readiness."""
    server = run("member=stock.GROUP")
    old, pids = process_of(server, "member"), {*workers(server)}
    seen = set()
    with Load(server, clients=2) as load:
        load.wait_for(20)
        os.kill(old, signal.SIGKILL)

        def again() -> bool:
            seen.add(server.probe("/ready").status)
            return len(said(server, "start member")) == 2 and up(server) == {"member": 1}

        wait_for(again, lambda: f"another process\n{server.output}")
        load.wait_for(20)
    assert load.losses == []
    assert {*load.by_pid} <= {*workers(server)} == pids
    assert process_of(server, "member") != old
    assert lines_with(server.stdout, " ERROR ", "service member", str(old), "SIGKILL")
    server.signal(signal.SIGTERM)
    assert ended(server)
    assert seen == {200}


@PRELOADED_TOO
def test_sighup(run: Run) -> None:
    """Another process with fresh code, whose service starts once the old one has ended; workers are replaced too."""
    server = run("stock.Closing", "stock.Cache")
    old, pids = process_of(server, "closing"), {*workers(server)}
    module = server.cwd / "stock.py"
    module.write_text(module.read_text().replace('REVISION = "one"', 'REVISION = "second"'))
    server.signal(signal.SIGHUP)
    wait_for(lambda: said(server, "stopping closing"), lambda: f"the stop\n{server.output}")
    wait_until_replaced(server, pids)
    assert old in processes(server, "closing")
    assert said(server, "start closing second") == []
    (server.cwd / "close").touch()
    wait_for(lambda: said(server, "start closing second"), lambda: f"the start\n{server.output}")
    wait_for(lambda: processes(server, "closing") != [old], "the old one to be gone")
    assert process_of(server, "closing") != old
    stopped, [started] = events(server, "stop closing one"), events(server, "start closing second")
    assert len(stopped) == 1
    assert stopped[0].at < started.at
    assert len(said(server, "start cache second")) == 2
    wait_until_ready(server)
    wait_for(lambda: up(server) == {"closing": 1, "cache": 1}, "both to run")


def test_sighup_with_code_that_does_not_start(run: Run) -> None:
    """The old workers stay, and readiness warns; the next SIGHUP brings workers and services with new code."""
    server = run("stock.Feed")
    pids = {*workers(server)}
    module = server.cwd / "stock.py"
    text = module.read_text()
    (server.cwd / "site_wsgi.py").write_text("raise LookupError('the shelf is gone')\n")
    module.write_text("raise LookupError('the shelf is gone')\n")
    server.signal(signal.SIGHUP)
    wait_for(lambda: "replacement" in server.probe("/ready").json()["checks"], "readiness to tell of it")
    status = server.probe("/ready").status
    assert {*workers(server)} == pids
    assert server.get("/who/").status == 200
    (server.cwd / "site_wsgi.py").write_text(WSGI)
    module.write_text(text.replace('REVISION = "one"', 'REVISION = "second"'))
    server.signal(signal.SIGHUP)
    wait_for(lambda: said(server, "start feed second"), lambda: f"the service\n{server.output}")
    wait_until_replaced(server, pids)
    server.wait_until("/ready")
    server.signal(signal.SIGTERM)
    assert server.wait(PROMPT) == 0
    assert status == 200, "readiness failed while the old workers served"


def test_processes_that_do_not_answer(run: Run) -> None:
    """One whose reactor is blocked, or that is stopped, is killed after ten seconds and started again."""
    server = run("stock.Hanging", "stock.Feed", "stock.ticker")
    pids = {*workers(server)}
    hanging, feed = process_of(server, "hanging"), process_of(server, "feed")
    (server.cwd / "block").touch()
    suspend(feed)
    wait_for(lambda: said(server, "blocked"), "the reactor to be blocked")
    with Load(server, clients=1) as load:
        load.wait_for(20)
        wait_for(
            lambda: len(said(server, "start hanging")) == len(said(server, "start feed")) == 2,
            lambda: f"both to be started again\n{server.output}",
            HEARTBEAT_TIMEOUT + PROMPT,
        )
    assert load.losses == []
    assert {*workers(server)} == pids
    assert not is_running(hanging)
    assert not is_running(feed)
    [blocked] = events(server, "blocked")
    assert events(server, "start hanging")[1].at - blocked.at > HEARTBEAT_TIMEOUT - 1
    server.wait_until("/ready")


def test_the_parent_is_killed(run: Run) -> None:
    """The process of a service ends too, and stops it."""
    server = run("stock.Feed")
    feed = process_of(server, "feed")
    server.signal(signal.SIGKILL)
    server.wait()
    wait_for(lambda: not is_running(feed), lambda: f"it to end\n{server.output}", PROMPT)
    wait_until_none_is_left(server)
    assert said(server, "stop feed") == ["stop feed one"]


# The end


@PRELOADED_TOO
def test_services_stop_after_the_last_request(run: Run) -> None:
    """Those of their own process and those of workers, before the probe port closes; all know of the drain at once."""
    server = run("stock.Closing", "stock.Feed", "stock.Cache", options=["--drain-delay", "0"])
    held = Held(server, "last")
    server.signal(signal.SIGTERM)
    wait_for(lambda: not listens(server.port), "the web port to close")
    told = _is_told_of_the_drain(server)
    assert said(server, "stopping") + said(server, "stop feed") == []
    # The worker with the request has its cache; the other may be gone.
    assert held.pid not in [event.pid for event in events(server, "stop cache")]
    assert server.answers("/alive")
    release(server)
    assert held.outcome() == "200 held last"
    wait_for(lambda: said(server, "stopping closing") and said(server, "stop feed"), "both to be asked to stop")
    assert server.probe("/alive").status == 200
    (server.cwd / "close").touch()
    assert ended(server)
    assert server.stderr == ""
    assert told, "the service did not observe the drain while a request was in hand"


def _is_told_of_the_drain(server: Server) -> bool:
    with suppress(AssertionError):
        return bool(wait_for(lambda: said(server, "state draining"), "the drain to be told", AT_ONCE))
    return False


def test_services_that_do_not_stop(run: Run) -> None:
    """One is left behind and one blocks its reactor: each is named, and all is gone in time with status 0."""
    options = ["--drain-delay", "0", "--graceful-timeout", "0.5"]
    server = run("stock.Endless", "stock.Blocking", "stock.Late", options=options)
    server.signal(signal.SIGTERM)
    assert server.wait(0.5 + END_GRACE + 1) == 0, server.output
    assert titles(server) == {}
    for name in ("endless", "late"):
        assert lines_with(server.stdout, f" twistserve.service.{name}: ", "left behind")
    assert re.search("(WARNING|ERROR).*blocking", server.stdout)


def test_a_second_signal(run: Run) -> None:
    """It ends all processes at once."""
    server = run("stock.Endless", options=["--drain-delay", "0"])
    server.signal(signal.SIGTERM)
    wait_for(lambda: said(server, "stopping endless"), "the stop")
    server.signal(signal.SIGTERM)
    assert server.wait(AT_ONCE) == 0
    wait_until_none_is_left(server, AT_ONCE)
