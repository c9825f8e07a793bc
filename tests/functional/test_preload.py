"""--preload: what is different with workers that are forked from a process with the application.

What is the same for all workers is tested in test_workers*.py, in both ways (`PRELOADED_TOO`).
"""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.functional.harness import (
    PATIENCE,
    PROMPT,
    Serve,
    Server,
    assert_failed,
    lines_with,
    refuses,
    release,
    wait_for,
)
from tests.support.functional.processes import state
from tests.support.functional.workers import (
    Held,
    Launch,
    Load,
    assert_ends_well,
    ended,
    hold_up_one,
    launching,
    parent_of,
    restarts,
    states,
    suspend,
    titles,
    wait_until_none_is_left,
    wait_until_ready,
    wait_until_replaced,
    workers,
)
from tests.support.functional.workers_project import VIEWS, WSGI, importers, notes, write_command

PRELOADED = "twistserve: preloaded"
SOON = 0.2
"""Seconds in which a replacement is to be ready."""


@pytest.fixture
def launch(serve: Serve, tmp_path: Path) -> Iterator[Launch]:
    with launching(serve, tmp_path, preload=True) as launcher:
        yield launcher


def preloaded(server: Server) -> list[int]:
    """The processes with the application that workers are forked from."""
    return [pid for pid, title in titles(server).items() if title == PRELOADED]


def threads_of(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/task"))


# While all is well


@pytest.mark.smoke
@pytest.mark.parametrize("runner", ["twistd", "twist", "manage"])
def test_the_application_is_imported_once(launch: Launch, runner: str) -> None:
    """In a process of its own, which has one thread and no port; the workers are the parent's children all the same."""
    server = launch(runner=runner)
    parent, found = server.process.pid, workers(server)
    [pid] = preloaded(server)
    assert sorted(found.values()) == [1, 2]
    assert titles(server).keys() == {parent, pid, *found}
    assert importers(server) == [pid]
    assert {parent_of(each) for each in (pid, *found)} == {parent}
    assert threads_of(pid) == 1
    assert {server.get("/who/").text for _ in range(20)} <= {f"{each} one" for each in found}
    assert server.get("/environ/").text == "True http"
    assert_ends_well(server)


def test_a_replacement_is_ready_soon(launch: Launch) -> None:
    """The log says after how long: nothing is imported for it."""
    server = launch("--max-age", "600")
    for _ in range(5):
        victim = min(workers(server))
        os.kill(victim, signal.SIGKILL)
        wait_until_replaced(server, {victim})
    took = [float(text) for text in re.findall(r"worker \d+ \(pid \d+\) is ready after (\S+) s", server.stdout)][2:]
    assert len(took) == 5
    # The machine is busy with other tests.
    assert min(took) <= SOON, took
    assert len(importers(server)) == 1


def test_what_each_worker_has_of_its_own(launch: Launch) -> None:
    """Random numbers, and what is registered for forked processes, once in each."""
    server = launch(
        site_wsgi=WSGI
        + "import random\n"
        + "os.register_at_fork(after_in_child=lambda: (HERE / f'forked-{os.getpid()}').touch())\n",
        views=VIEWS
        + "import random\n"
        + "urlpatterns += [path('random/', lambda request: HttpResponse(f'{os.getpid()} {random.random()}'))]\n",
    )
    first: dict[str, str] = {}

    def both_asked() -> bool:
        pid, number = server.get("/random/").text.split()
        first.setdefault(pid, number)
        return len(first) == 2

    wait_for(both_asked, "both workers to be asked")
    assert len(set(first.values())) == 2
    assert {path.name for path in server.cwd.glob("forked-*")} == {f"forked-{pid}" for pid in workers(server)}


def test_a_handler_of_the_applications(launch: Launch) -> None:
    """One of SIGTERM that it has installed while it was imported is called in each worker, and in no other process."""
    server = launch(
        site_wsgi=WSGI
        + "import signal\n"
        + "signal.signal(signal.SIGTERM, lambda number, frame: (HERE / f'told-{os.getpid()}').touch())\n"
    )
    found = workers(server)
    for pid in preloaded(server):
        os.kill(pid, signal.SIGTERM)
    server.signal(signal.SIGTERM)
    assert ended(server)
    assert {path.name for path in server.cwd.glob("told-*")} == {f"told-{pid}" for pid in found}


def test_what_views_import_later(launch: Launch) -> None:
    """From directories that the application has made importable, also where it has changed into another one."""
    server = launch(
        site_wsgi=WSGI
        + "import sys\n"
        + "(HERE / 'late').mkdir()\n"
        + "(HERE / 'late' / 'shelf.py').write_text('NAME = \"late\"')\n"
        + "(HERE / 'elsewhere').mkdir()\n"
        + "(HERE / 'elsewhere' / 'shelf.py').write_text('NAME = \"elsewhere\"')\n"
        + "sys.path.append(str(HERE / 'late'))\n"
        + "os.chdir(HERE / 'elsewhere')\n",
        views=VIEWS
        + "def late(request):\n"
        + "    import shelf\n"
        + "    return HttpResponse(shelf.NAME)\n"
        + "urlpatterns += [path('late/', late)]\n",
        until=None,
    ).wait_until("/ready")
    assert server.get("/late/").text == "late"


@pytest.mark.parametrize("handler", ["signal.SIG_IGN", "lambda number, frame: os.waitpid(-1, os.WNOHANG)"])
def test_children_that_the_application_waits_for(launch: Launch, handler: str) -> None:
    """Its handler of SIGCHLD is called in workers alone: the preloaded process forks children that it must not reap."""
    server = launch(site_wsgi=WSGI + f"import signal\nsignal.signal(signal.SIGCHLD, {handler})\n")
    for _ in range(5):
        victim = min(workers(server))
        os.kill(victim, signal.SIGTERM)
        wait_until_replaced(server, {victim})
    assert "ERROR" not in server.stdout


def test_a_process_that_the_application_has_started(launch: Launch) -> None:
    """With multiprocessing, while it was imported: the end of a worker does not end it, that of the others does."""
    server = launch(
        site_wsgi=WSGI
        + "import multiprocessing\n"
        + "helper = multiprocessing.get_context('fork').Process(target=time.sleep, args=(600,), daemon=True)\n"
        + "helper.start()\n"
        + "(HERE / 'helper').write_text(str(helper.pid))\n"
    )
    helper, victim = int((server.cwd / "helper").read_text()), min(workers(server))
    os.kill(victim, signal.SIGTERM)
    wait_until_replaced(server, {victim})
    assert state(helper) == "S"
    server.signal(signal.SIGTERM)
    assert ended(server)


def test_the_log_file_is_the_parents(launch: Launch) -> None:
    """One that is rotated and removed keeps no room on the disk: no other process has it open."""
    server = launch(runner="with a log file")
    log = str(server.cwd / "twistd.log")
    having = [
        title
        for pid, title in titles(server).items()
        if log in {os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()}
    ]
    assert having == ["twistserve: parent"]


def test_a_reactor_that_the_settings_import(launch: Launch) -> None:
    """By name, in the parent: the worker's own takes its place."""
    server = launch(
        settings="from twisted.internet import reactor\n",
        views=VIEWS
        + "import site_settings\n"
        + "from twisted.internet import threads\n"
        + "def ask(request):\n"
        + "    asked = threads.blockingCallFromThread(site_settings.reactor, os.getpid)\n"
        + "    return HttpResponse(f'{asked == os.getpid()} {site_settings.reactor.running}')\n"
        + "urlpatterns += [path('ask/', ask)]\n",
    )
    assert server.get("/ask/").text == "True True"


# What an application may not do


@pytest.mark.parametrize(
    ("code", "named"),
    [
        (
            "import threading\nthreading.Thread(target=time.sleep, args=(60,), name='stock', daemon=True).start()\n",
            ("'stock'", "site_wsgi.py, line", "leave --preload out"),
        ),
        ("import _thread\n_thread.start_new_thread(lambda: time.sleep(60), ())\n", ("without a name", "site_wsgi.py")),
        (
            "from concurrent.futures import ThreadPoolExecutor\npool = ThreadPoolExecutor(1, 'clerk')\n"
            "pool.submit(int).result()\n",
            ("'clerk_0'", "site_wsgi.py, line"),
        ),
        ("from twisted.internet import reactor\n", ("reactor", "site_wsgi.py", "leave --preload out")),
        ("import daphne.server\n", ("reactor", "leave --preload out")),
    ],
    ids=["a thread", "a thread of _thread", "an executor", "a reactor", "daphne"],
)
def test_what_an_application_must_not_start(launch: Launch, code: str, named: tuple[str, ...]) -> None:
    """The start fails, and one line says what it is, where it comes from, and what to do."""
    server = launch(until=None, site_wsgi=WSGI + code)
    assert_failed(server, "--preload", *named)


def test_a_connection(launch: Launch) -> None:
    """To another server: its workers would share it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        code = f"import socket\nkept = socket.create_connection(('127.0.0.1', {port}))\n"
        server = launch(until=None, site_wsgi=WSGI + code)
        assert_failed(server, "--preload", f"127.0.0.1:{port}", "leave --preload out")


def test_a_query_while_it_is_imported(launch: Launch) -> None:
    """The connection is closed before the fork, and the log says which database it was."""
    server = launch(
        settings="DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': BASE_DIR / 'db.sqlite3'}}\n",
        site_wsgi=WSGI
        + "from django.db import connection\n"
        + "with connection.cursor() as cursor:\n    cursor.execute('SELECT 1')\n",
    )
    assert lines_with(server.stdout, "[preloaded]", "'default'", "each worker connects anew")
    for pid in workers(server):
        open_files = {os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()}
        assert not any(name.endswith("db.sqlite3") for name in open_files)


def test_one_process_is_refused(serve: Serve, project: Callable[..., Path]) -> None:
    """There is nothing to fork from it with one process."""
    server = serve("--preload", cwd=project(), settings="site_settings", until=None)
    assert_failed(server, "--preload", "--workers is 1")


# The start


def test_start_up_work_runs_once(launch: Launch, tmp_path: Path) -> None:
    """In a process that ends then; nothing imports the application before that, and no worker is there."""
    server = launch("--command", "hold go", until=None, settings=write_command(tmp_path / "project"))
    [running] = wait_for(lambda: notes(server, "ran-go"), f"the command to begin\n{server.output}")
    wait_for(lambda: "hold go" in server.probe("/startup").text, f"/startup to say so\n{server.output}")
    assert workers(server).keys() == {running}
    assert importers(server) == []
    assert refuses(server.port)
    server.signal(signal.SIGHUP)
    wait_for(lambda: "when they start" in server.stdout, f"the signal to be heard\n{server.output}")
    server.signal(signal.SIGTTIN)
    release(server)
    wait_until_ready(server, 3)
    assert running not in workers(server)
    assert sorted(workers(server).values()) == [1, 2, 3]
    assert importers(server) == preloaded(server)
    assert notes(server, "ran-go") == [running]
    assert restarts(server) == {}


def test_the_preloaded_process_is_killed_before_it_imports_the_application(launch: Launch, tmp_path: Path) -> None:
    """Another one does it, when what is to run once has run."""
    server = launch("--command", "hold go", until=None, settings=write_command(tmp_path / "project"))
    wait_for(lambda: notes(server, "ran-go"), f"the command to begin\n{server.output}")
    [killed] = preloaded(server)
    os.kill(killed, signal.SIGKILL)
    wait_for(lambda: lines_with(server.stdout, "the preloaded process has ended", "SIGKILL"), "the log")
    release(server)
    wait_until_ready(server)
    assert importers(server) == preloaded(server) != [killed]


def test_what_startup_says_while_the_application_is_imported(launch: Launch) -> None:
    """The step that it is at; SIGTERM then ends all at once."""
    server = launch(until=None, site_wsgi="import time\ntime.sleep(600)\n")
    server.wait_until("/startup", 503)
    wait_for(lambda: "loading the WSGI application" in server.probe("/startup").text, f"the step\n{server.output}")
    assert server.probe("/alive").status == 200
    server.signal(signal.SIGTERM)
    assert ended(server)


def test_new_code_while_the_first_is_imported(launch: Launch) -> None:
    """SIGHUP has it imported anew: the process that imports old code, and may never end that, is ended."""
    server = launch(until=None, revision="REVISION = 'one'\nimport time\ntime.sleep(600)\n")
    wait_for(lambda: importers(server), f"the import to begin\n{server.output}")
    (server.cwd / "revision.py").write_text("REVISION = 'number two'\n")
    server.signal(signal.SIGHUP)
    wait_until_ready(server)
    assert server.get("/who/").text.endswith(" number two")
    assert importers(server)[1:] == preloaded(server)


# What dies


def test_the_preloaded_process_is_killed(launch: Launch) -> None:
    """The workers lose nothing; another one is started, at once or when it is needed, which workers are forked from."""
    server = launch()
    found = {*workers(server)}
    held = Held(server, "request")
    with Load(server) as load:
        for _ in range(2):
            [pid] = preloaded(server)
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda pid=pid: lines_with(server.stdout, "the preloaded process has ended", "SIGKILL"), "the log")  # type: ignore[misc]
            load.wait_for(100)
            assert {*workers(server)} == found
            victim = min(found - {held.pid})
            os.kill(victim, signal.SIGKILL)
            killed_at = time.monotonic()
            found = wait_until_replaced(server, {victim})
            assert pid not in preloaded(server)
    release(server)
    assert held.outcome() == "200 held request"
    assert all(killed_at - 2 * PATIENCE < when for when, _ in load.losses)
    assert len(load.losses) <= 2 * 8, "those that were in flight in the workers that were killed"
    assert {parent_of(pid) for pid in found} == {server.process.pid}


def test_a_preloaded_process_that_is_stopped(launch: Launch) -> None:
    """It is killed when a worker is not forked in time, and another one forks it."""
    server = launch()
    standing, victim = *preloaded(server), min(workers(server))
    suspend(standing)
    os.kill(victim, signal.SIGKILL)
    wait_until_replaced(server, {victim})
    assert standing not in titles(server)
    assert lines_with(server.stdout, "has not forked a worker within")


def test_a_worker_that_keeps_dying(launch: Launch) -> None:
    """It is forked again with growing pauses, and the others serve meanwhile."""
    server = launch(
        site_wsgi=WSGI
        + "def die():\n    if (HERE / 'fatal').exists():\n        os._exit(3)\n"
        + "os.register_at_fork(after_in_child=die)\n"
    )
    killed, other = workers(server)
    before = preloaded(server)
    (server.cwd / "fatal").touch()
    os.kill(killed, signal.SIGKILL)
    wait_for(lambda: len(lines_with(server.stdout, "next worker is started in")) >= 2, f"pauses\n{server.output}")
    assert server.probe("/ready").status == 200
    assert server.get("/who/").text == f"{other} one"
    (server.cwd / "fatal").unlink()
    wait_until_ready(server)
    assert lines_with(server.stdout, "has died: status 3")
    assert preloaded(server) == before


def test_readiness_and_liveness(launch: Launch) -> None:
    """While all workers wait for the application to be imported again there is life, but none is ready."""
    server = launch()
    (server.cwd / "closed").touch()
    for pid in (*preloaded(server), *workers(server)):
        os.kill(pid, signal.SIGKILL)
    server.wait_until("/ready", 503)
    wait_for(lambda: len(importers(server)) == 2, "the application to be imported again")
    # The second that has died early is started after a pause.
    wait_for(lambda: list(states(server).values()) == ["starting", "starting"], "both to be starting")
    server.wait_until("/alive", 200)
    (server.cwd / "closed").unlink()
    wait_until_ready(server)


def test_new_code_that_cannot_be_imported(launch: Launch) -> None:
    """The old process stays with the old workers, and what dies then is forked from it."""
    server = launch()
    before = preloaded(server)
    (server.cwd / "revision.py").write_text("raise LookupError('the shelf is gone')\n")
    server.signal(signal.SIGHUP)
    wait_for(lambda: lines_with(server.stdout, "the shelf is gone", "old workers stay"), f"the log\n{server.output}")
    wait_for(lambda: preloaded(server) == before, "the new process to end")
    victim = min(workers(server))
    os.kill(victim, signal.SIGKILL)
    wait_until_replaced(server, {victim})
    assert {server.get("/who/").text.partition(" ")[2] for _ in range(10)} == {"one"}
    assert server.probe("/ready").json()["status"] == "warn"


def test_new_code_that_takes_long(launch: Launch) -> None:
    """SIGTERM to the process that imports it gives it up, and the old workers stay."""
    server = launch()
    found, before = workers(server), preloaded(server)
    (server.cwd / "revision.py").write_text("import time\ntime.sleep(600)\n")
    server.signal(signal.SIGHUP)
    wait_for(lambda: len(importers(server)) == 2, "the import to begin")
    assert sorted(states(server).values()) == ["ready", "ready", "starting"]
    os.kill(importers(server)[1], signal.SIGTERM)
    wait_for(lambda: lines_with(server.stdout, "SIGTERM", "the old workers stay"), f"the log\n{server.output}")
    wait_until_ready(server)
    assert workers(server) == found
    assert preloaded(server) == before


def test_orphans_are_reaped(launch: Launch) -> None:
    """A process that a worker has left behind becomes a child of the parent, which reaps it when it ends."""
    views = VIEWS + (
        "import subprocess\n"
        "def leave(request):\n"
        "    subprocess.run(['sh', '-c', 'sleep 0.2 & echo $! > orphan'])\n"
        "    return HttpResponse('left')\n"
        "urlpatterns += [path('leave/', leave)]\n"
    )
    server = launch(views=views)
    assert server.get("/leave/").text == "left"
    pid = int((server.cwd / "orphan").read_text())
    wait_for(lambda: not Path(f"/proc/{pid}").exists(), "the orphan to be reaped")


# Orphans


def test_a_parent_that_is_killed_leaves_no_process_behind(launch: Launch) -> None:
    """Whenever that is, all of its processes end by themselves; what a worker has it answers first."""
    servers = [launch(name=f"after-{tenths}", until=None) for tenths in (2, 4, 8)]
    for tenths, server in zip((2, 2, 4), servers, strict=True):
        time.sleep(tenths / 10)
        server.kill()
    importing = launch(name="importing", until=None, site_wsgi="import re\nre.match(r'(a+)+$', 'a' * 60 + 'b')\n")
    wait_for(lambda: lines_with(importing.stdout, "loading the WSGI application"), "the import")
    computing = launch(name="computing")
    hold_up_one(computing)
    serving = launch(name="serving")
    held = [Held(serving, f"request-{number}") for number in range(4)]
    for server in (importing, computing, serving):
        server.kill()
    release(serving)
    assert [each.outcome() for each in held] == [f"200 held request-{number}" for number in range(4)]
    for server in (*servers, importing, serving):
        wait_until_none_is_left(server, PROMPT)
    wait_until_none_is_left(computing, PATIENCE)


def test_a_signal_to_all_processes(launch: Launch) -> None:
    """As a terminal and systemd send them: the parent decides, and the log has no error."""
    for number in (signal.SIGINT, signal.SIGTERM):
        server = launch(name=f"project-{number}")
        for pid in titles(server):
            # The parent may have ended some by then.
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        assert ended(server)
        assert "ERROR" not in server.stdout
