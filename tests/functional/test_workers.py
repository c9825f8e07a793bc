"""Several workers under one parent: how they start, die and are replaced, and that none is left behind."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median

import pytest

from tests.support.certificates import write_certificate
from tests.support.functional.harness import (
    PATIENCE,
    PROMPT,
    Serve,
    Server,
    assert_failed,
    command,
    free_port,
    lines_with,
    refuses,
    release,
    wait_for,
)
from tests.support.functional.processes import children
from tests.support.functional.tls import connect as connect_tls
from tests.support.functional.workers import (
    PRELOADED_TOO,
    Held,
    Launch,
    Load,
    assert_ends_well,
    block_one,
    ended,
    hold_up_one,
    is_preloaded,
    kill_all,
    launching,
    parent_of,
    restarts,
    resume,
    states,
    suspend,
    titles,
    wait_until_none_is_left,
    wait_until_ready,
    wait_until_replaced,
    workers,
)
from tests.support.functional.workers_project import VIEWS, WSGI, importers, imports, notes, write_command

BOUND = 10.0
"""Seconds of silence after which a worker is killed."""

CHECKS = """
import os, time
from pathlib import Path
from django.core.checks import Error, register
HERE = Path(__file__).resolve().parent

def note(name):
    with open(HERE / f"checked-{name}", "a") as record:
        record.write(f"{os.getpid()}\\n")
    while (HERE / f"hanging-{name}").exists():
        time.sleep(0.02)
    return [Error("stocktaking", id="shop.E001")] if (HERE / f"failing-{name}").exists() else []

@register("readiness", deploy=True)
def the_shop_is_open(app_configs, **kwargs):
    return note("readiness")

@register("liveness", deploy=True)
def the_shop_stands(app_configs, **kwargs):
    return note("liveness")
"""


@pytest.fixture
def launch(serve: Serve, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Launch]:
    with launching(serve, tmp_path, getattr(request, "param", False)) as launcher:
        yield launcher


# While all is well


@pytest.mark.smoke
def test_a_parent_and_its_workers(launch: Launch) -> None:
    """The parent serves no requests and imports no application; `ps` and readiness show parent and workers."""
    server = launch()
    parent, found = server.process.pid, workers(server)
    assert sorted(found.values()) == [1, 2]
    assert titles(server) == {parent: "twistserve: parent"} | {
        pid: f"twistserve: worker {number}" for pid, number in found.items()
    }
    assert {parent_of(pid) for pid in found} == {parent}
    assert sorted(importers(server)) == sorted(found)
    assert server.get("/environ/").text == "True http"
    assert states(server) == {"worker:1": "ready", "worker:2": "ready"}
    assert server.probe("/startup").status == server.probe("/alive").status == 200
    assert_ends_well(server)


@PRELOADED_TOO
def test_checks_run_in_one_worker_for_all(launch: Launch) -> None:
    """Each time in one; when that has died, in another; and what it finds is the answer."""
    server = launch(views=VIEWS + CHECKS)

    def run(probe: str, name: str) -> list[int]:
        """The pids that have run the check, once more than before: a result is good for a second."""
        before = len(notes(server, f"checked-{name}"))

        def asked() -> bool:
            assert server.probe(probe).status == 200, server.output
            return len(notes(server, f"checked-{name}")) > before

        wait_for(asked, "the check to run")
        return notes(server, f"checked-{name}")[before:]

    probes = {"/ready": "readiness", "/alive": "liveness"}
    for _ in range(2):
        for probe, name in probes.items():
            [pid] = run(probe, name)
            assert pid in workers(server)
    os.kill(pid, signal.SIGKILL)
    wait_until_replaced(server, {pid})
    for probe, name in probes.items():
        [other] = run(probe, name)
        assert other in workers(server)
        (server.cwd / f"failing-{name}").touch()
        server.wait_until(probe, 503)
        assert "stocktaking" in server.probe(probe).text


@pytest.mark.parametrize("number", [2, 4])
def test_new_connections_are_spread(launch: Launch, number: int) -> None:
    """Under load no worker takes more than 65 % of them, and none stands by."""
    server = launch("--no-access-log", number=number)
    # Their reactors on one core: what else this machine does keeps them waiting alike then.
    core = min(os.sched_getaffinity(0))
    for pid in workers(server):
        for thread in os.listdir(f"/proc/{pid}/task"):
            os.sched_setaffinity(int(thread), {core})
    shares: list[list[float]] = []
    with Load(server, clients=16) as load:
        before = load.by_pid
        # Several times: what else the machine does may keep one worker waiting for a moment.
        for _ in range(5):
            load.wait_for(400)
            after = load.by_pid
            taken = [after[pid] - before[pid] for pid in workers(server)]
            shares.append(sorted(count / sum(taken) for count in taken))
            before = after
    sys.stdout.write(f"{shares}\n")
    assert load.losses == []
    assert load.by_pid.keys() == workers(server).keys()
    assert median(most for *_, most in shares) <= 0.65
    assert median(least for least, *_ in shares) >= 0.25 / number


def test_one_process_is_the_default(serve: Serve, project: Callable[..., Path]) -> None:
    """Without the option there are no workers, and the process that was started serves by itself."""
    server = serve(cwd=project(VIEWS, revision="REVISION = 'one'\n"), settings="site_settings")
    assert server.get("/who/").text == f"{server.process.pid} one"
    assert [*titles(server)] == [server.process.pid]
    assert server.get("/environ/").text == "False http"
    assert states(server) == {}


@pytest.mark.parametrize(("runner", "values"), [("twistd", ("0", "-2", "two", "1.5", "")), ("manage", ("0", "two"))])
def test_bad_values(serve: Serve, project: Callable[..., Path], runner: str, values: tuple[str, ...]) -> None:
    """One readable line that names the option and the value, and status 1."""
    directory = project()
    for value in values:
        server = serve(f"--workers={value}", cwd=directory, settings="site_settings", runner=runner, until=None)
        assert_failed(server, "--workers", value)


# What runs once


def test_start_up_work_runs_once(launch: Launch, tmp_path: Path) -> None:
    """In the first worker, while the others wait, one more too; /startup names it, and the port is closed."""
    server = launch(
        *("--command", "hold one", "--command", "hold two", "--check-migrations-apply"),
        settings=write_command(tmp_path / "project")
        + "INSTALLED_APPS += ['django.contrib.contenttypes', 'django.contrib.auth']\n"
        + "DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': BASE_DIR / 'db.sqlite3'}}\n",
        until=None,
    )
    for name in ("one", "two"):
        server.wait_until("/startup", 503)
        wait_for(lambda name=name: f"hold {name}" in server.probe("/startup").text, f"hold {name}\n{server.output}")  # type: ignore[misc]
        assert server.probe("/alive").status == 200
        assert server.probe("/ready").status == 503
        assert refuses(server.port)
        server.signal(signal.SIGTTIN)
        wait_for(partial(notes, server, f"ran-{name}"), "the command to begin")
        [running] = notes(server, f"ran-{name}")
        assert imports(server) == []
        (server.cwd / name).touch()
    wait_until_ready(server, 4)
    assert notes(server, "ran-one") == notes(server, "ran-two") == [running]
    assert workers(server)[running] == 1
    assert len(imports(server)) == 4
    assert len(lines_with(server.stdout, "begin one")) == 1
    assert len(lines_with(server.stdout, "auth.0001_initial")) == 1


def test_what_is_said_while_the_workers_start(launch: Launch, tmp_path: Path) -> None:
    """While Pythons start /startup says which; that web ports open it says when there are workers that have some."""
    server = launch("--command", "check", until=None)
    seen: list[str] = []

    def ready() -> bool:
        try:
            reply = server.probe("/startup")
        except OSError:
            return False
        if reply.status == 503:
            seen.append(reply.json()["checks"]["startup"][0]["output"].partition(", for")[0])
        return reply.status == 200

    wait_for(ready, lambda: f"the start\n{server.output}")
    steps = list(dict.fromkeys(seen))
    assert steps.index("starting the workers") == 0
    assert "opening the web ports" not in steps


@PRELOADED_TOO
@pytest.mark.parametrize("runner", ["twistd", "manage"])
def test_a_command_that_fails(launch: Launch, tmp_path: Path, runner: str) -> None:
    """Status 1, no worker, and the command's own error as the last line of standard error."""
    settings = write_command(tmp_path / "project")
    server = launch("--command", "hold failing", until=None, runner=runner, settings=settings)
    assert server.wait() == 1
    assert "hold failing" in server.stderr.splitlines()[-1]
    assert "the shelf is gone" in server.stderr.splitlines()[-1]
    assert imports(server) == []
    assert "Traceback" not in server.output
    assert "looking for the shelf" in server.output


def test_a_reload_before_workers_serve(launch: Launch, tmp_path: Path) -> None:
    """What runs once goes on, and runs once; the worker that it ran in has old code, and makes way for one with new."""
    server = launch("--command", "hold one", until=None, settings=write_command(tmp_path / "project"))
    [running] = wait_for(lambda: notes(server, "ran-one"), f"the command to begin\n{server.output}")
    server.signal(signal.SIGHUP)
    wait_for(lambda: "when they start" in server.stdout, f"the signal to be heard\n{server.output}")
    (server.cwd / "one").touch()
    assert running not in wait_until_replaced(server, {running})
    assert notes(server, "ran-one") == [running]
    assert len(lines_with(server.stdout, "begin one")) == 1


@PRELOADED_TOO
def test_an_end_while_others_wait(launch: Launch, tmp_path: Path) -> None:
    """SIGTERM while the first worker is at what runs once ends all of them at once."""
    server = launch(
        *("--command", "hold one", "--drain-delay", "30", "--graceful-timeout", "30"),
        until=None,
        settings=write_command(tmp_path / "project"),
    )
    wait_for(lambda: notes(server, "ran-one"), f"the command to begin\n{server.output}")
    server.signal(signal.SIGTERM)
    assert ended(server)


@PRELOADED_TOO
def test_a_worker_that_dies_while_it_prepares(launch: Launch, tmp_path: Path) -> None:
    """The start has failed, and the line on standard error says by what."""
    server = launch("--command", "hold one", until=None, settings=write_command(tmp_path / "project"))
    [running] = wait_for(lambda: notes(server, "ran-one"), f"the command to begin\n{server.output}")
    os.kill(running, signal.SIGKILL)
    assert_failed(server, "SIGKILL")


# Where they listen


@PRELOADED_TOO
def test_endpoints(launch: Launch, tmp_path: Path) -> None:
    """Two ports, a Unix socket and TLS are shared, and stay so when every worker has been replaced."""
    certificates, path = tmp_path / "certificates", tmp_path / "socket"
    certificates.mkdir()
    write_certificate(certificates / "one.pem", "one.example")
    one, two, tls = free_port(), free_port(), free_port()
    descriptions = (
        f"tcp:{one}",
        f"tcp:{two}:interface=127.0.0.1",
        f"unix:{path}:mode=600",
        f"tls:{certificates}:port={tls}",
    )
    server = launch(
        *(word for each in descriptions for word in ("--endpoint", each)), "--probe-port", str(one + 1), port=one
    )

    def over_unix() -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("localhost", timeout=PATIENCE)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(PATIENCE)
        connection.sock.connect(str(path))
        return connection

    def answers() -> dict[str, str]:
        makers = {
            "one": lambda: http.client.HTTPConnection("127.0.0.1", one, timeout=PATIENCE),
            "two": lambda: http.client.HTTPConnection("127.0.0.1", two, timeout=PATIENCE),
            "unix": over_unix,
            "tls": lambda: connect_tls(tls, "one.example"),
        }
        found = {}
        for name, make in makers.items():
            try:
                connection = make()
                connection.request("GET", "/environ/")
                found[name] = connection.getresponse().read().decode()
                connection.close()
            except (OSError, http.client.HTTPException, ssl.SSLError) as error:
                found[name] = repr(error)
        return found

    expected = {"one": "True http", "two": "True http", "unix": "True http", "tls": "True https"}
    assert answers() == expected
    before = {*workers(server)}
    server.signal(signal.SIGHUP)
    after = wait_until_replaced(server, before)
    assert answers() == expected
    for pid in after:
        os.kill(pid, signal.SIGKILL)
    wait_until_replaced(server, after)
    assert answers() == expected
    assert path.stat().st_mode & 0o777 == 0o600
    server.signal(signal.SIGTERM)
    assert ended(server)
    assert not path.exists()
    assert all(map(refuses, (one, two, tls)))


def test_systemd_sockets_are_refused(project: Callable[..., Path]) -> None:
    """One line says that workers cannot share them, and what to do."""
    activate = (
        "import os, sys; os.dup2(int(sys.argv[1]), 3);"
        " os.environ |= {'LISTEN_PID': str(os.getpid()), 'LISTEN_FDS': '1', 'LISTEN_FDNAMES': 'web'};"
        " os.execv(sys.argv[2], sys.argv[2:])"
    )
    with socket.create_server(("127.0.0.1", 0)) as listening:
        number = str(listening.fileno())
        options = ("--workers", "2", "--endpoint", "systemd:domain=INET:index=0", "--probe-port", str(free_port()))
        failed = subprocess.run(
            [sys.executable, "-c", activate, number, *command("twistd"), *options],
            check=False,
            cwd=project(),
            env={**os.environ, "DJANGO_SETTINGS_MODULE": "site_settings"},
            pass_fds=[listening.fileno()],
            capture_output=True,
            timeout=PATIENCE,
            text=True,
        )
    assert failed.returncode == 1, failed
    [line] = failed.stderr.splitlines()
    assert re.search("systemd.*--workers", line), line


# Workers that die


@PRELOADED_TOO
def test_the_backlog_of_workers_that_are_killed(launch: Launch) -> None:
    """Connections that no worker has accepted are answered by those that take their places."""
    server = launch()
    old = {*workers(server)}
    suspend(*old)
    connections = [http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE) for _ in range(100)]
    for connection in connections:
        connection.request("GET", "/who/")
    for pid in old:
        os.kill(pid, signal.SIGKILL)
    answered = Counter(connection.getresponse().read().decode() for connection in connections)
    for connection in connections:
        connection.close()
    new = wait_until_replaced(server, old)
    assert sum(answered.values()) == 100
    assert {int(text.split()[0]) for text in answered} <= new
    assert restarts(server) == {"died": 2}


def test_a_worker_that_keeps_dying(launch: Launch) -> None:
    """It is started again with growing pauses, the others serve meanwhile, and it is back when what ails it is over."""
    server = launch()
    killed, _ = workers(server)
    (server.cwd / "broken").write_text("os._exit(3)")
    begun = len(imports(server))
    killed_at = time.monotonic()
    os.kill(killed, signal.SIGKILL)
    wait_for(lambda: len(imports(server)) >= begun + 4, f"four tries\n{server.output}")
    tries = [when for _, when in imports(server)[begun:]]
    waited = [after - before for before, after in pairwise(tries)]
    announced = [float(text) for text in re.findall(r"next worker is started in (\S+) s", server.stdout)]
    sys.stdout.write(f"{tries[0] - killed_at} s, then {waited} after {announced}\n")
    assert announced[0] > 0
    assert all(after > before for before, after in pairwise(announced))
    assert all(seconds >= pause for seconds, pause in zip(waited, announced, strict=False))
    assert server.probe("/ready").status == 200
    assert server.get("/who/").status == 200
    assert lines_with(server.stdout, "status 3")
    (server.cwd / "broken").unlink()
    wait_until_ready(server)


@PRELOADED_TOO
@pytest.mark.parametrize(
    ("broken", "named"),
    [
        ("raise LookupError('the shelf is gone')", ("the shelf is gone", "site_wsgi")),
        ("raise LookupError('the shelf is gone' + 'z' * 100_000)", ("the shelf is gone", "site_wsgi")),
        ("os._exit(3)", ("{process}", "status 3")),
        ("os.kill(os.getpid(), 11)", ("{process}", "SIGSEGV")),
    ],
    ids=["raises", "raises at length", "exits", "crashes"],
)
def test_none_has_ever_become_ready(launch: Launch, broken: str, named: tuple[str, ...]) -> None:
    """The server ends with status 1 and the error, after one try in each worker, or in the preloaded process."""
    server = launch(until=None, site_wsgi=WSGI.replace("if (HERE", f"{broken}\nif (HERE"))
    process, tries = ("preloaded", 1) if is_preloaded(server) else ("worker", 2)
    assert_failed(server, *(part.format(process=process) for part in named))
    assert len(imports(server)) == tries


@PRELOADED_TOO
def test_a_check_that_hangs(launch: Launch) -> None:
    """It is begun once, in one worker, however often and by however many it is asked for, and whatever else is busy."""
    server = launch("--check-timeout", "1", views=VIEWS + CHECKS)
    wait_for(lambda: notes(server, "checked-readiness"), "the check to run")
    (server.cwd / "hanging-readiness").touch()
    server.wait_until("/ready", 503)
    begun = notes(server, "checked-readiness")
    held = [Held(server, f"request-{number}") for number in range(4)]
    with Load(server, clients=4) as load:
        threads = [threading.Thread(target=server.probe, args=("/ready",)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        load.wait_for(200)
        for _ in range(4):
            assert server.probe("/ready").status == 503
            assert server.probe("/alive").status == 200
    assert notes(server, "checked-readiness") == begun
    (server.cwd / "hanging-readiness").unlink()
    release(server)
    assert [each.outcome()[:3] for each in held] == ["200"] * 4
    server.wait_until("/ready", 200)


@PRELOADED_TOO
def test_workers_that_do_not_answer(launch: Launch) -> None:
    """They are killed after a while and replaced; another one serves meanwhile, or there is no life in it.

    Of three workers one is blocked in its reactor and one stands still. Of two others, elsewhere, both do.
    """
    server, dead = launch(number=3), launch(name="dead")
    blocked = block_one(server)
    standing, serving = (pid for pid in workers(server) if pid != blocked)
    silent = {*workers(dead)}
    suspend(standing, *silent)
    began = time.monotonic()
    failed: set[str] = set()
    while {blocked, standing} & titles(server).keys():
        assert time.monotonic() - began < 3 * BOUND, server.output
        assert server.get("/who/").status == 200
        assert (server.probe("/alive").status, server.probe("/ready").status) == (200, 200)
        if time.monotonic() - began > BOUND / 2:
            failed |= {path for path in ("/alive", "/ready") if not dead.answers(path)}
    assert time.monotonic() - began > BOUND - 1.5, "they had their time"
    wait_until_ready(server, 3)
    assert serving in workers(server)
    assert restarts(server) == {"unresponsive": 2}
    wait_until_replaced(dead, silent)
    assert failed == {"/alive", "/ready"}
    assert dead.probe("/alive").status == 200
    assert dead.get("/who/").status == 200


def test_a_parent_that_stands_still(launch: Launch) -> None:
    """When it goes on, longer than a worker may be silent, its workers and their requests do too."""
    server = launch()
    pids = {*workers(server)}
    held = Held(server, "request")
    suspend(server.process.pid)
    assert server.get("/who/").status == 200
    time.sleep(BOUND + 2)
    resume(server.process.pid)
    wait_until_ready(server)
    release(server)
    assert held.outcome() == "200 held request"
    wait_until_ready(server)
    assert {*workers(server)} == pids
    assert restarts(server) == {}


# Replacements on request


@PRELOADED_TOO
def test_a_worker_whose_threads_are_all_stuck(launch: Launch) -> None:
    """Another one comes first, and the old one is gone soon, though its requests never end."""
    server = launch("--threads", "1", "--request-timeout", "1", "--graceful-timeout", "1.5")
    stuck, other = workers(server)
    suspend(other)
    # Of the threads there are at most twice as many as were asked for. The second one is there once the first is stuck.
    first = Held(server, "stuck-0")
    assert first.outcome()[:3] == "504"
    second = Held(server, "stuck-1")
    assert first.pid == second.pid == stuck
    resume(other)
    while stuck in titles(server):
        assert len(ready_in(states(server))) >= 2, server.output
        assert server.probe("/alive").status == 200
    assert second.outcome()[:3] in ("504", "Rem")
    assert other in wait_until_replaced(server, {stuck})
    assert restarts(server) == {"stuck": 1}
    assert lines_with(server.stdout, f"pid {stuck}", "stuck")


def ready_in(found: dict[str, str]) -> list[str]:
    return [name for name, state in found.items() if state == "ready"]


@PRELOADED_TOO
def test_a_worker_with_too_much_memory(launch: Launch) -> None:
    """It is replaced, and answers the request that it has first; the other one is left alone."""
    server = launch("--max-memory", "250")
    held = Held(server, "much", "&megabytes=300")
    wait_for(lambda: "draining" in states(server).values(), f"it to drain\n{server.output}")
    assert len(ready_in(states(server))) == 2
    release(server)
    assert held.outcome() == "200 held much"
    wait_until_replaced(server, {held.pid})
    assert restarts(server) == {"memory": 1}


@PRELOADED_TOO
def test_new_code(launch: Launch) -> None:
    """SIGHUP has all workers run freshly imported code; if that does not start, the old stay and the log says why."""
    server = launch()

    def answers() -> set[str]:
        return {server.get("/who/").text.partition(" ")[2] for _ in range(10)}

    def reload(text: str) -> None:
        (server.cwd / "revision.py").write_text(text)
        server.signal(signal.SIGHUP)

    def files() -> int:
        return len(os.listdir(f"/proc/{server.process.pid}/fd"))

    assert answers() == {"one"}
    pids, open_files = {*workers(server)}, files()
    for text in ("number two", "the third one"):
        reload(f"REVISION = {text!r}\n")
        pids = wait_until_replaced(server, pids)
        assert answers() == {text}

    begun = len(imports(server))
    reload("raise LookupError('the shelf is gone')\n")
    wait_for(lambda: lines_with(server.stdout, "the shelf is gone", "old"), f"the log to say why\n{server.output}")
    wait_until_ready(server)
    assert {*workers(server)} == pids
    assert len(imports(server)) == begun + 1, "one try is enough to know"
    assert answers() == {"the third one"}
    readiness = server.probe("/ready")
    assert (readiness.status, readiness.json()["status"]) == (200, "warn")
    assert "old ones stay" in readiness.json()["checks"]["replacement"][0]["output"]
    assert server.probe("/").text.count("did not start") == 2, "once as what is wrong, once with its probe"
    assert server.probe("/alive").json()["status"] == "pass"

    reload("REVISION = 'all is well again'\n")
    wait_until_replaced(server, pids)
    assert answers() == {"all is well again"}
    assert restarts(server) == {"replacement_failed": 1, "reload": 6}
    assert server.probe("/ready").json()["status"] == "pass"
    wait_for(lambda: files() == open_files, f"{open_files} open files in the parent, not {files()}")
    found = {*children(server.process.pid)}
    assert found == titles(server).keys() - {server.process.pid}, "each process that has ended is reaped"


@PRELOADED_TOO
def test_newer_code_while_new_code_is_starting(launch: Launch) -> None:
    """A second SIGHUP leaves no worker of what was there when the first one came, though that never becomes ready."""
    server = launch()
    pids, begun = {*workers(server)}, len(imports(server))
    (server.cwd / "revision.py").write_text("REVISION = 'number two'\nimport time\ntime.sleep(600)\n")
    server.signal(signal.SIGHUP)
    wait_for(lambda: len(imports(server)) > begun, "the first to import")
    wait_for(lambda: len(lines_with(server.stdout, "loading the WSGI application")) > begun, "the first to import")
    (server.cwd / "revision.py").write_text("REVISION = 'the third one'\n")
    server.signal(signal.SIGHUP)
    wait_until_replaced(server, pids)
    wait_for(
        lambda: {server.get("/who/").text.partition(" ")[2] for _ in range(20)} == {"the third one"},
        f"the newest code\n{server.output}",
    )
    wait_until_ready(server)


def test_new_code_while_the_first_is_starting(launch: Launch, tmp_path: Path) -> None:
    """SIGHUP during what runs once has its worker start anew after it; one while the first start has all start anew."""
    hanging = "REVISION = 'one'\nimport time\ntime.sleep(600)\n"
    settings = write_command(tmp_path / "project")
    server = launch("--command", "hold one", until=None, revision=hanging, settings=settings)
    wait_for(lambda: notes(server, "ran-one"), f"the command to begin\n{server.output}")
    server.signal(signal.SIGHUP)
    wait_for(lambda: lines_with(server.stdout, "SIGHUP", "when they start"), f"the log to say so\n{server.output}")
    (server.cwd / "one").touch()
    wait_for(lambda: len(imports(server)) == 2, f"the workers to import\n{server.output}")
    (server.cwd / "revision.py").write_text("REVISION = 'number two'\n")
    server.signal(signal.SIGHUP)
    wait_until_ready(server)
    assert server.get("/who/").text.endswith(" number two")
    assert len(notes(server, "ran-one")) == 1
    assert restarts(server) == {"reload": 3}


@PRELOADED_TOO
def test_one_more_and_one_less(launch: Launch) -> None:
    """SIGTTIN adds a worker, SIGTTOU takes one away but never the last, and the others go on."""
    server = launch()
    pids = {*workers(server)}
    server.signal(signal.SIGTTIN)
    wait_until_ready(server, 3)
    assert pids <= workers(server).keys()
    for number in (2, 1):
        server.signal(signal.SIGTTOU)
        wait_until_ready(server, number)
    server.signal(signal.SIGTTOU)
    wait_for(lambda: lines_with(server.stdout, "the last worker stays"), f"the last signal\n{server.output}")
    server.signal(signal.SIGTTIN)
    wait_until_ready(server, 2)
    assert server.get("/who/").status == 200
    assert restarts(server) == {"resized": 2}


# Readiness and liveness


def test_readiness_and_liveness(launch: Launch) -> None:
    """Ready with one worker that is; alive as long as one answers, which one does that is still starting."""
    server = launch()
    first, second = workers(server)
    (server.cwd / "closed").touch()
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: sorted(states(server).values()) == ["ready", "starting"], f"one to be starting\n{server.output}")
    assert server.probe("/ready").status == server.probe("/alive").status == 200
    os.kill(second, signal.SIGKILL)
    server.wait_until("/ready", 503)
    assert "worker" in server.probe("/ready").text
    wait_for(lambda: len(imports(server)) == 4, "both to import")
    server.wait_until("/alive", 200)
    assert server.probe("/startup").status == 200
    (server.cwd / "closed").unlink()
    wait_until_ready(server)
    assert server.get("/who/").status == 200


# Orphans


def test_a_parent_that_is_killed_leaves_no_process_behind(launch: Launch, tmp_path: Path) -> None:
    """Whenever that is, all of its processes end by themselves within seconds; what a worker has it answers first."""
    orphans: list[Server] = []

    def begin(name: str, *args: str, **texts: str) -> Server:
        settings = write_command(tmp_path / name)
        orphans.append(launch(*args, name=name, number=3, until=None, settings=settings, **texts))
        return orphans[-1]

    for tenths in (3, 6, 9):
        server = begin(f"after-{tenths}")
        time.sleep(tenths / 10)
        server.kill()
    running = begin("command", "--command", "hold one")
    wait_for(lambda: notes(running, "ran-one"), f"the command to begin\n{running.output}")
    importing = begin("importing", site_wsgi=WSGI.replace("closed", "imported"))
    wait_for(lambda: len(imports(importing)) == 3, f"the workers to import\n{importing.output}")
    serving = wait_until_ready(begin("serving"), 3)
    blocked = wait_until_ready(begin("blocked"), 3)
    block_one(blocked)
    computing = wait_until_ready(begin("computing"), 3)
    hold_up_one(computing)
    held = [Held(serving, f"request-{number}") for number in range(6)]
    for server in (running, importing, serving, blocked, computing):
        server.kill()
    release(serving)
    assert [each.outcome() for each in held] == [f"200 held request-{number}" for number in range(6)]
    for server in orphans:
        wait_until_none_is_left(server, PATIENCE if server is computing else PROMPT)
    assert refuses(serving.port)


@PRELOADED_TOO
def test_a_worker_that_stands_still_ends_when_it_goes_on(launch: Launch) -> None:
    """It cannot end while it is stopped; its parent being gone, it does as soon as it goes on."""
    server = launch()
    standing = min(workers(server))
    suspend(standing)
    server.kill()
    wait_for(lambda: titles(server).keys() == {standing}, f"the others to end\n{server.output}")
    resume(standing)
    wait_until_none_is_left(server)


# The log


def ask_with_marks(server: Server, number: int) -> list[str]:
    """Send requests at the same time; the line that each is to have in the log, without time and duration."""
    marks = [f"{mark:04}-{'x' * (mark * 7 % 1500)}-{mark:04}" for mark in range(number)]

    def ask(some: list[str]) -> None:
        for mark in some:
            server.get(f"/who/?{mark}")

    threads = [threading.Thread(target=ask, args=(marks[offset::8],)) for offset in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    return [f'"GET /who/?{mark} HTTP/1.1" 200 ' for mark in marks]


def assert_whole_and_once(log: str, expected: list[str]) -> None:
    """Each request has its line, beginning with the client and ending with the duration."""
    lines = lines_with(log, "GET /who/?")
    found = Counter(
        re.sub(r'.*?(?:\[[^]]*\] )?127\.0\.0\.1 - - \[[^]]+\] (".*?" 200 )\d+ "-" "-" [\d.]+', r"\1", line)
        for line in lines
    )
    assert found == Counter(expected)


@PRELOADED_TOO
def test_a_daemon(launch: Launch) -> None:
    """Without -n and with a log file: the workers are the daemon's, and their lines are in its log, whole and once."""
    server = launch(runner="daemon", until=None)
    assert server.wait() == 0, server.output
    log = server.cwd / "twistd.log"
    try:
        wait_for(log.exists, "the log file")
        wait_until_ready(server)
        parent = int((server.cwd / "twistd.pid").read_text())
        assert {parent_of(pid) for pid in workers(server)} == {parent}
        expected = ask_with_marks(server, 400)
        os.kill(parent, signal.SIGTERM)
        wait_until_none_is_left(server)
    except AssertionError as error:
        raise AssertionError(f"{error}\n--- log\n{log.read_text() if log.exists() else ''}") from error
    finally:
        kill_all(server)
    text = log.read_text()
    assert_whole_and_once(text, expected)
    assert len(lines_with(text, "serving on")) == 2
    assert "Traceback" not in text
    assert not (server.cwd / "twistd.pid").exists()
    assert (server.stdout, server.stderr) == ("", "")


@PRELOADED_TOO
@pytest.mark.parametrize("runner", ["twistd", "twist"])
def test_the_log_on_standard_output(launch: Launch, runner: str) -> None:
    """The lines of all workers are there, whole and once."""
    server = launch(runner=runner)
    expected = ask_with_marks(server, 400)
    assert server.terminate() == 0
    assert_whole_and_once(server.stdout, expected)
    assert len(lines_with(server.stdout, "serving on")) == 2
    assert server.stderr == ""


def test_the_log_in_a_pipe(project: Callable[..., Path]) -> None:
    """As containers have it: no line is mixed with another, though several processes write them."""
    port, directory = free_port(), project(VIEWS, revision="REVISION = 'one'\n")
    process = subprocess.Popen(
        [*command("twistd"), "--workers", "2", "--port", str(port)],
        cwd=directory,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "site_settings"},
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    written: list[bytes] = []
    reader = threading.Thread(target=written.extend, args=(process.stdout,), daemon=True)
    reader.start()
    nowhere = Path(os.devnull)
    server = Server(process, port, port + 1, nowhere, nowhere, directory)
    try:
        wait_until_ready(server)
        expected = ask_with_marks(server, 400)
        assert server.terminate() == 0
    finally:
        kill_all(server)
        reader.join(PATIENCE)
        process.stdout.close()
        process.wait()
    assert_whole_and_once(b"".join(written).decode(), expected)


@PRELOADED_TOO
def test_a_manage_py_that_extends_the_path(launch: Launch, tmp_path: Path) -> None:
    """What manage.py makes importable the workers can import too."""
    directory = tmp_path / "project"
    (directory / "src").mkdir(parents=True)
    (directory / "src" / "shelves.py").write_text("NAME = 'from src'\n")
    server = launch(
        runner="manage",
        revision="from shelves import NAME as REVISION\n",
        manage=(
            "import os, sys\n"
            "sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), 'src'))\n"
            "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'site_settings')\n"
            "from django.core.management import execute_from_command_line\n"
            "execute_from_command_line(sys.argv)\n"
        ),
    )
    assert server.get("/who/").text.endswith(" from src")
    expected = ask_with_marks(server, 100)
    assert server.terminate() == 0
    assert_whole_and_once(server.stdout, expected)


@PRELOADED_TOO
def test_the_stacks_of_all(launch: Launch) -> None:
    """SIGQUIT to the parent has every process log where its threads stand, and requests are answered all the same."""
    server = launch()
    held = Held(server, "request")
    server.signal(signal.SIGQUIT)
    wait_for(lambda: len(lines_with(server.stdout, "received SIGQUIT")) == 3, f"the stacks\n{server.output}")
    wait_for(lambda: "in hold" in server.stdout, f"where the view stands\n{server.output}")
    release(server)
    assert held.outcome() == "200 held request"
