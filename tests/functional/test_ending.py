"""The end of the process: what is registered with atexit runs, nothing holds the end up, and the status is right."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.functional.harness import (
    AT_ONCE,
    PATIENCE,
    Serve,
    Server,
    fetch,
    free_port,
    start,
    wait_for,
    write_project,
)
from tests.support.functional.workers import titles, wait_until_ready, workers

RUNNERS = ("twistd", "twist", "manage")
GRACE = "0.5"
END = 10.0
"""Seconds for the end after --drain-delay and --graceful-timeout."""

SETTINGS = """
import atexit, os, sys, threading, time
from concurrent.futures import ThreadPoolExecutor

def note(text):
    with open(BASE_DIR / "ended", "a") as record:
        record.write(f"{os.getpid()} {text}\\n")

def first():
    note("first")

def second():
    note("second")

atexit.register(first)
atexit.register(second)
"""
STUCK = """
import ctypes
libc = ctypes.CDLL(None)
mutex = ctypes.create_string_buffer(64)

def stand_still():
    # Returns for no signal, and gives up Python's lock.
    libc.pthread_mutex_lock(mutex)
    libc.pthread_mutex_lock(mutex)
"""
VIEWS = """
import re, time
from concurrent.futures import ThreadPoolExecutor
from django.conf import settings
from django.http import HttpResponse
from django.urls import path
import site_settings
executor = ThreadPoolExecutor()

def leave(request):
    executor.submit(time.sleep, 90)
    return HttpResponse("left")

def stop_reactor_thread(request):
    from twisted.internet import reactor
    reactor.callFromThread(reactor.callLater, 0.3, site_settings.stand_still)
    return HttpResponse("stopped")

urlpatterns = [path("leave/", leave), path("stop/", stop_reactor_thread)]
"""
HANDLER = """
import logging, time
from pathlib import Path
HERE = Path(__file__).resolve().parent

class Stuck(logging.Handler):
    def emit(self, record):
        pass
    def flush(self):
        if (HERE / "now").exists():
            time.sleep(90)
"""
HOLD_UPS = {
    "executor": ("", "ThreadPoolExecutor-"),
    "thread": (
        "threading.Thread(target=time.sleep, args=(90,), name='of the settings').start()\n",
        "the thread of the settings is at",
    ),
    "flush": (
        "LOGGING = {'version': 1, 'disable_existing_loggers': False, 'handlers': {'stuck': {'class': 'handler.Stuck'},"
        " 'out': {'class': 'logging.StreamHandler', 'stream': 'ext://sys.stdout'}},"
        " 'root': {'handlers': ['stuck', 'out'], 'level': 'INFO'}}\n",
        "handler.py:11 flush",
    ),
    "sleep": ("atexit.register(time.sleep, 90)\n", "the main thread is at"),
    "C": (STUCK + "def in_c():\n    stand_still()\natexit.register(in_c)\n", "stand_still < "),
}
"""What holds the end up: the settings that do it, and what the log must name."""

Launch = Callable[..., Server]


@pytest.fixture(autouse=True)
def _deliver_interrupts() -> Iterator[None]:
    """Let the servers receive SIGINT even where the tests run in the background, with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def launch(serve: Serve, tmp_path: Path) -> Iterator[Launch]:
    """Start a server of the project above, in a directory of its own; none of its processes outlives the test."""
    servers: list[Server] = []

    def launcher(
        *args: str, name: str = "project", settings: str = "", until: str | None = "/ready", **kwargs: object
    ) -> Server:
        directory = write_project(tmp_path / name, VIEWS, SETTINGS + settings, handler=HANDLER)
        words = ("--graceful-timeout", GRACE, *args)
        server = serve(*words, cwd=directory, settings="site_settings", until=until, **kwargs)
        servers.append(server)
        if until is not None and "--workers" in args:
            wait_until_ready(server)
        return server

    yield launcher
    for server in servers:
        for pid in titles(server):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def ended(server: Server) -> list[str]:
    """What ran at the end, in its order, with the process."""
    record = server.cwd / "ended"
    return record.read_text().splitlines() if record.exists() else []


def hold_up(launch: Launch, kind: str, *args: str, runner: str = "twistd") -> Server:
    """A server whose end would be held up in this way."""
    server = launch(*args, name=kind, settings=HOLD_UPS[kind][0], runner=runner)
    if kind == "executor":
        assert server.get("/leave/").text == "left"
    (server.cwd / "now").touch()
    return server


def has_stopped(server: Server) -> bool:
    return "all services have stopped" in server.stdout + server.stderr


def wait_until_stopped(server: Server) -> None:
    wait_for(lambda: has_stopped(server), f"the services to stop\n{server.output}")


# What is registered with atexit


@pytest.mark.parametrize("runner", RUNNERS)
def test_functions_run_in_pythons_order(launch: Launch, runner: str) -> None:
    """Those of the settings, each once, the last registered first, before the process ends with status 0."""
    server = launch(runner=runner)
    assert server.terminate() == 0
    assert ended(server) == [f"{server.process.pid} second", f"{server.process.pid} first"]


def test_functions_run_in_each_process(launch: Launch) -> None:
    """In the parent, which has the settings, and each worker; also where one of them runs a command first."""
    server = wait_until_ready(launch("--workers", "2", "--command", "check"))
    pids = {str(server.process.pid), *map(str, workers(server))}
    assert ended(server) == []
    assert server.terminate() == 0
    assert len(pids) == 3
    for pid in pids:
        assert [line for line in ended(server) if line.split()[0] == pid] == [f"{pid} second", f"{pid} first"]


def test_functions_run_in_a_daemon(tmp_path: Path) -> None:
    """twistd without -n forks after the settings are imported: they run once, in the daemon."""
    directory = write_project(tmp_path / "project", VIEWS, SETTINGS)
    server = start(cwd=directory, logs=tmp_path, runner="daemon", settings="site_settings")
    pid_file = directory / "twistd.pid"
    try:
        assert server.wait() == 0
        wait_for(lambda: server_is_ready(server), f"the daemon to serve\n{server.output}")
        pid = int(pid_file.read_text())
        assert ended(server) == []
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: not Path(f"/proc/{pid}").exists(), "the daemon to end")
        assert ended(server) == [f"{pid} second", f"{pid} first"]
    finally:
        for pid in titles(server):
            os.kill(pid, signal.SIGKILL)


def server_is_ready(server: Server) -> bool:
    with suppress(OSError):
        return server.probe("/ready").status == 200
    return False


@pytest.mark.parametrize("runner", RUNNERS)
def test_functions_run_that_were_registered_before_ours(launch: Launch, tmp_path: Path, runner: str) -> None:
    """A sitecustomize is imported before the program itself: opentelemetry-instrument works that way."""
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "sitecustomize.py").write_text(
        "import atexit, os\n"
        "def earliest():\n"
        "    with open('ended', 'a') as record:\n"
        "        record.write(f'{os.getpid()} earliest\\n')\n"
        "atexit.register(earliest)\n"
    )
    server = launch(runner=runner, env={"PYTHONPATH": str(tmp_path / "path")})
    assert server.terminate() == 0
    assert [line.split()[1] for line in ended(server)] == ["second", "first", "earliest"]


def test_each_function_runs_once(launch: Launch) -> None:
    """One that is registered by a thread past the end of the services runs once too, and before the others."""
    late = """
class Lately(threading.Thread):
    def run(self):
        threading.main_thread().join(0.1)
        while not threading._SHUTTING_DOWN:
            time.sleep(0.01)
        atexit.register(note, "late")
Lately().start()
atexit.register(print, "said by a function at the end")
"""
    server = launch(settings=late)
    assert server.terminate() == 0
    assert [line.split()[1] for line in ended(server)] == ["late", "second", "first"]
    assert server.output.count("said by a function at the end") == 1


def test_a_function_that_raises_keeps_no_other_from_running(launch: Launch) -> None:
    """Its error is printed; the status stays."""
    server = launch(settings="atexit.register(lambda: 1 / 0)\natexit.register(sys.exit, 3)\n")
    assert server.terminate() == 0
    assert [line.split()[1] for line in ended(server)] == ["second", "first"]
    assert "ZeroDivisionError" in server.stderr


# The bound


def test_nothing_holds_the_end_up_beyond_the_bound(launch: Launch) -> None:
    """Ten seconds after the time of requests the process is gone, with status 0, and the log names what is cut off."""
    servers = {kind: hold_up(launch, kind) for kind in HOLD_UPS}
    signalled = {}
    for kind, server in servers.items():
        signalled[kind] = time.monotonic()
        server.signal(signal.SIGTERM)
    for kind, server in servers.items():
        assert server.wait() == 0, kind
        took = time.monotonic() - signalled[kind]
        sys.stdout.write(f"{kind}: {took:.2f} s\n")
        assert took <= float(GRACE) + END, kind
        [line] = [line for line in server.output.splitlines() if "cut off at the end of its time" in line]
        assert HOLD_UPS[kind][1] in line, kind
        assert ("were not called" in line) == (kind in {"executor", "thread"}), kind
    assert "site_settings.second, site_settings.first" in servers["thread"].output


@pytest.mark.parametrize(
    ("kind", "runner"), [(kind, "twistd") for kind in HOLD_UPS] + [("C", "twist"), ("C", "manage")]
)
def test_a_second_signal_ends_what_holds_the_end_up(launch: Launch, kind: str, runner: str) -> None:
    """Within a second, with status 0, though the reactor has ended and Python may run no handler of a signal."""
    server = hold_up(launch, kind, "--graceful-timeout", "60", runner=runner)
    server.signal(signal.SIGTERM)
    wait_until_stopped(server)
    assert_gone_at_second(server, signal.SIGINT)
    assert HOLD_UPS[kind][1] in server.output


def assert_gone_at_second(server: Server, number: int, status: int = 0) -> None:
    time.sleep(0.3)
    assert server.process.poll() is None, server.output
    began = time.monotonic()
    server.signal(number)
    assert server.wait() == status, server.output
    took = time.monotonic() - began
    sys.stdout.write(f"ended {took:.2f} s after the second signal\n")
    assert took <= AT_ONCE


def test_a_reactor_that_stands_still_is_cut_off(launch: Launch) -> None:
    """The reactor's thread in C code that returns for no signal: the bound holds, and so does the second signal."""
    one, two = (launch(name=name, settings=STUCK) for name in ("one", "two"))
    for server in (one, two):
        assert server.get("/stop/").text == "stopped"
    wait_for(lambda: not server_is_ready_soon(one), "the reactor to stand still")
    began = time.monotonic()
    for server in (one, two):
        server.signal(signal.SIGTERM)
    assert_gone_at_second(two, signal.SIGTERM)
    assert one.wait() == 0
    assert time.monotonic() - began <= float(GRACE) + END
    assert "stand_still" in one.output


def server_is_ready_soon(server: Server) -> bool:
    with suppress(OSError):
        return fetch(server.probe_port, "/ready", timeout=0.5).status == 200
    return False


def test_workers_that_hold_the_end_up(launch: Launch) -> None:
    """Each process is cut off at its bound, the workers so early that the parent's own is kept."""
    server = hold_up(launch, "sleep", "--workers", "2")
    began = time.monotonic()
    assert server.terminate() == 0
    assert time.monotonic() - began <= float(GRACE) + END
    assert titles(server) == {}
    assert server.output.count("cut off at the end of its time") == 3


def test_a_worker_that_drains_early_has_the_rest_of_its_time(launch: Launch) -> None:
    """Its function takes longer than a worker may be silent that serves."""
    slow = "def slow():\n    time.sleep(12)\n    note('slow')\natexit.register(slow)\n"
    server = launch("--workers", "2", "--graceful-timeout", "30", settings=slow)
    old = min(workers(server))
    os.kill(old, signal.SIGTERM)
    wait_for(lambda: not Path(f"/proc/{old}").exists(), "the worker to be replaced")
    assert f"{old} slow" in ended(server)
    assert "is killed" not in server.output


def test_webhooks_have_their_five_seconds_when_workers_are_cut_off(launch: Launch) -> None:
    """A receiver that does not answer is waited for as documented, and the bound of all is kept."""
    with socket.create_server(("127.0.0.1", 0)) as receiver:
        url = f"http://127.0.0.1:{receiver.getsockname()[1]}/"
        server = hold_up(launch, "sleep", "--workers", "2", "--webhook-url", url)
        began = time.monotonic()
        assert server.terminate() == 0
        assert time.monotonic() - began <= float(GRACE) + END
    [stopped] = [line for line in server.stdout.splitlines() if "all services have stopped" in line and "[" not in line]
    [given_up] = [line for line in server.stdout.splitlines() if "given up at the end of the process" in line]
    assert server.stdout.index(given_up) < server.stdout.index(stopped)
    assert "webhooks is being stopped" not in server.output


def test_a_second_signal_ends_workers_that_hold_the_end_up(launch: Launch) -> None:
    """Within a second, all of them."""
    server = hold_up(launch, "C", "--workers", "2", "--graceful-timeout", "60")
    server.signal(signal.SIGTERM)
    wait_for(lambda: server.stdout.count("all services have stopped") >= 2, f"the workers to stop\n{server.output}")
    assert_gone_at_second(server, signal.SIGTERM)
    wait_for(lambda: titles(server) == {}, "the workers to be gone")


def test_c_code_that_keeps_the_lock_is_ended_by_the_kernel(launch: Launch) -> None:
    """No thread of Python can run: the kernel's alarm ends the process a second after the bound."""
    regex = "import re\natexit.register(re.match, r'(a+)+$', 'a' * 60 + 'b')\n"
    server = launch(settings=regex)
    began = time.monotonic()
    server.signal(signal.SIGTERM)
    assert server.wait() == -signal.SIGALRM
    assert time.monotonic() - began <= float(GRACE) + END + 2


# Starts that fail, and that are given up


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that the test itself listens on."""
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        yield port


@pytest.mark.parametrize("runner", RUNNERS)
def test_a_start_that_fails_ends_with_status_1(launch: Launch, runner: str, taken: int) -> None:
    """Before anything runs or later: the functions are called, and the one line on standard error stays one."""
    early = launch("--port", str(taken), name="early", runner=runner, until=None, port=taken)
    late = launch("--command", "no_such_command", name="late", runner=runner, until=None)
    for server in (early, late):
        assert server.wait() == 1, server.output
        assert [line.split()[1] for line in ended(server)] == ["second", "first"]
        assert len(server.stderr.splitlines()) == 1


def test_a_start_that_fails_is_bounded(launch: Launch, taken: int) -> None:
    """What the settings have begun does not keep a process whose start has failed for more than ten seconds."""
    thread = HOLD_UPS["thread"][0]
    early = launch("--port", str(taken), name="early", settings=thread, until=None, port=taken)
    late = launch("--command", "no_such_command", "--graceful-timeout", "60", name="late", settings=thread, until=None)
    workers = launch("--workers", "2", "--wsgi", "nothing.here", name="workers", settings=thread, until=None)
    failed = {}
    for server in (early, late, workers):
        wait_for(lambda server=server: server.stderr or server.process.poll() is not None, "the start to fail")  # type: ignore[misc]
        failed[server.port] = time.monotonic()
    for server in (early, late, workers):
        assert server.wait() == 1, server.output
        assert time.monotonic() - failed[server.port] <= END, server.output
    assert "the thread of the settings is at" in early.output


@pytest.mark.parametrize("runner", ["twistd", "twist"])
def test_functions_run_if_the_import_of_the_settings_is_given_up(launch: Launch, runner: str) -> None:
    """SIGTERM ends the process with status 0 while the settings are imported, and what they registered is called."""
    slow = "(BASE_DIR / 'reached').touch()\ntime.sleep(600)\n"
    server = launch(settings=slow, runner=runner, until=None)
    wait_for((server.cwd / "reached").exists, f"the settings to be reached\n{server.output}")
    assert server.terminate() == 0
    assert [line.split()[1] for line in ended(server)] == ["second", "first"]


def test_an_import_of_the_settings_that_is_given_up_is_bounded(launch: Launch) -> None:
    """In ten seconds, and in one after a second signal, whatever a function does."""
    slow = HOLD_UPS["C"][0] + "(BASE_DIR / 'reached').touch()\ntime.sleep(600)\n"
    one, two = (launch(settings=slow, name=name, until=None) for name in ("one", "two"))
    for server in (one, two):
        wait_for((server.cwd / "reached").exists, f"the settings to be reached\n{server.output}")
    began = time.monotonic()
    for server in (one, two):
        server.signal(signal.SIGTERM)
    assert_gone_at_second(two, signal.SIGTERM)
    assert one.wait(PATIENCE) == 0
    assert time.monotonic() - began <= END
