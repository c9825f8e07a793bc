"""Applications that need Python's main thread while they are set up: they have it, and the probes answer meanwhile."""

from __future__ import annotations

import os
import signal
import textwrap
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.support.functional.harness import AT_ONCE, Serve, Server, lines_with, wait_for
from tests.support.functional.workers import titles, wait_until_ready, wait_until_replaced, workers

Project = Callable[..., Path]

RUNNERS = [
    ("twistd", []),
    ("twist", []),
    ("manage", []),
    ("twistd", ["--workers", "2"]),
    ("manage", ["--workers", "2"]),
]
IDS = ["twistd", "twist", "manage", "workers", "manage-workers"]
EACH = pytest.mark.parametrize(("runner", "words"), RUNNERS, ids=IDS)

VIEWS = """
import signal, threading
from django.db import connection
from django.http import HttpResponse
from django.urls import path
from twisted.internet import reactor
from twisted.internet.threads import blockingCallFromThread
import site_noted

def spawn(request):
    from twisted.internet.utils import getProcessValue
    return HttpResponse(str(blockingCallFromThread(reactor, getProcessValue, "/bin/sh", ["-c", "exit 7"])))

urlpatterns = [
    path("", lambda request: HttpResponse("hello")),
    path("spawn/", spawn),
    path("connections/", lambda request: HttpResponse(str(site_noted.open_in_main_thread()))),
]
"""
NOTED = """
import os, threading
connections = []

def note(name, main=True):
    assert not main or threading.current_thread() is threading.main_thread()
    with open(os.path.join(os.path.dirname(__file__), name), "a") as file:
        file.write(f"{os.getpid()}\\n")

def open_in_main_thread():
    return [each.connection is not None for each in connections]
"""
APP = """
import asyncio, ctypes, signal, subprocess, threading, time
from django.apps import AppConfig
from django.db import connections
from site_noted import connections as noted_connections, note

class Config(AppConfig):
    name = "site_app"

    def ready(self):
        def handle(number, frame):
            note(f"handled-{signal.Signals(number).name}")

"""
COMMAND = """
import asyncio, signal, time
from django.core.management.base import BaseCommand
import site_noted

class Command(BaseCommand):
    def handle(self, **options):
"""
WAITS = {
    "sleep": "time.sleep(600)",
    "lock": "threading.Event().wait()",
    "child": "subprocess.run(['sleep', '600'])",
    "swallows": "while True:\n try: time.sleep(600)\n except BaseException: pass",
    "computes": "while True: pass",
    "c": "while True: ctypes.CDLL(None).poll(None, 0, 600_000)",
}
"""What a step may be at for ever."""
SETTINGS = """
INSTALLED_APPS += ["site_app.Config"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3"}}
"""


@pytest.fixture
def app(project: Project) -> Callable[..., Path]:
    r"""A project whose application does something when it is ready: `app("statement\nstatement")`."""

    def make(ready: str = "", settings: str = "") -> Path:
        text = APP + textwrap.indent(textwrap.dedent(ready), " " * 8)
        return project(VIEWS, SETTINGS + settings, site_app=text, site_noted=NOTED)

    return make


def write_command(directory: Path, name: str, text: str) -> None:
    commands = directory / "site_commands" / "management" / "commands"
    commands.mkdir(parents=True)
    (commands / f"{name}.py").write_text(COMMAND + textwrap.indent(text, " " * 8))


def noted(server: Server, name: str) -> list[int]:
    """The processes that have noted something."""
    path = server.cwd / name
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def start(serve: Serve, directory: Path, runner: str, *words: str, until: str | None = "/ready") -> Server:
    return serve(*words, runner=runner, cwd=directory, settings="site_settings", until=until)


# What an application does when it is ready


@EACH
def test_a_handler_of_our_signal(serve: Serve, app: Callable[..., Path], runner: str, words: list[str]) -> None:
    """It is called in the main thread of each process that serves, and the drain goes its way."""
    server = start(serve, app("signal.signal(signal.SIGTERM, handle)"), runner, *words)
    serving = [*workers(wait_until_ready(server))] if words else [server.process.pid]
    assert server.get("/").text == "hello"
    assert server.terminate() == 0
    assert {*serving} <= {*noted(server, "handled-SIGTERM")}
    assert lines_with(server.output, "the application has a handler of SIGTERM: it is called too")
    assert lines_with(server.output, "all services have stopped")


@EACH
def test_an_event_loop(serve: Serve, app: Callable[..., Path], runner: str, words: list[str]) -> None:
    """asyncio makes one by itself in the main thread alone; to run it and to add a handler of a signal works too."""
    ready = """
    asyncio.get_event_loop_policy()
    asyncio.set_event_loop(asyncio.new_event_loop())
    loop = asyncio.get_event_loop()
    loop.add_signal_handler(signal.SIGTERM, print)
    loop.run_until_complete(asyncio.sleep(0))
    """
    server = start(serve, app(ready), runner, *words)
    assert server.get("/").text == "hello"
    assert server.terminate() == 0
    assert "Traceback" not in server.output


@pytest.mark.parametrize("raising", ["raise SystemExit(3)", "raise KeyboardInterrupt", "raise LookupError('lost')"])
def test_a_handler_that_raises(serve: Serve, app: Callable[..., Path], raising: str) -> None:
    """As one may that is written for another server: the end takes its course, and its status stays."""
    server = start(serve, app(f"def stop(*_): {raising}\nsignal.signal(signal.SIGTERM, stop)"), "twistd")
    assert server.terminate() == 0
    assert len(lines_with(server.output, "handler of SIGTERM has raised")) == 1


def test_a_handler_that_takes_its_time(serve: Serve, app: Callable[..., Path]) -> None:
    """Nobody waits for it: requests that arrive during the delay are answered, and the probes too."""
    ready = "def stop(*_): note('begun'); time.sleep(3); note('done')\nsignal.signal(signal.SIGTERM, stop)"
    server = start(serve, app(ready), "twistd", "--drain-delay", "1.5")
    began = time.monotonic()
    server.signal(signal.SIGTERM)
    wait_for(lambda: noted(server, "begun"), f"the handler\n{server.output}")
    assert server.probe("/alive").status == 200
    assert server.get("/").text == "hello"
    assert time.monotonic() - began < 1.5
    assert server.wait() == 0
    assert noted(server, "done")


@pytest.mark.parametrize("how", ["SIG_IGN", "SIG_DFL"])
@pytest.mark.parametrize("runner", ["twistd", "twist"])
def test_a_signal_that_is_switched_off(serve: Serve, app: Callable[..., Path], runner: str, how: str) -> None:
    """The service needs it, and says so; processes that it starts are reaped too."""
    ready = f"[signal.signal(each, signal.{how}) for each in (signal.SIGTERM, signal.SIGCHLD)]"
    server = start(serve, app(ready), runner)
    assert server.get("/spawn/").text == "7"
    assert server.terminate() == 0
    assert len(lines_with(server.output, "has switched SIGTERM off")) == 1
    assert len(lines_with(server.output, "has switched SIGCHLD off")) == 1


@pytest.mark.parametrize("runner", ["twistd", "manage"])
def test_a_handler_of_the_settings(serve: Serve, app: Callable[..., Path], runner: str) -> None:
    """They are imported before there is a reactor, which would replace it."""
    settings = "import signal, site_noted\nsignal.signal(signal.SIGINT, lambda n, f: site_noted.note('interrupted'))\n"
    server = start(serve, app(settings=settings), runner)
    server.signal(signal.SIGINT)
    assert server.wait() == 0
    assert noted(server, "interrupted") == [server.process.pid]


def test_a_reactor_that_keeps_the_main_thread(serve: Serve, app: Callable[..., Path]) -> None:
    """Any but ours: the log says what is not possible, and the rest is as ever."""
    server = start(serve, app(), "asyncio")
    assert server.get("/spawn/").text == "7"
    assert server.terminate() == 0
    assert lines_with(server.output, "the reactor keeps the main thread")


# What runs once before serving


@EACH
def test_a_command_with_a_handler(serve: Serve, app: Callable[..., Path], runner: str, words: list[str]) -> None:
    """What --command runs has the main thread too."""
    directory = app(settings='INSTALLED_APPS += ["site_commands"]\n')
    write_command(
        directory,
        "noting",
        "signal.signal(signal.SIGTERM, lambda *_: site_noted.note('handled-by-command'))\nsite_noted.note('ran')",
    )
    server = start(serve, directory, runner, *words, "--command", "noting")
    [ran] = noted(server, "ran")
    assert server.terminate() == 0
    assert ran in noted(server, "handled-by-command")


def test_connections_of_the_start_up_are_closed(serve: Serve, app: Callable[..., Path]) -> None:
    """The main thread lives on, but asks the database nothing any more."""
    ready = "connections['default'].ensure_connection()\nnoted_connections.append(connections['default'])"
    server = start(serve, app(ready), "twistd")
    assert server.get("/connections/").text == "[False]"
    assert server.terminate() == 0


@pytest.mark.parametrize("words", [["--command", "waiting"], ["--workers", "2", "--command", "waiting"]])
def test_a_handler_that_exits_during_a_command(serve: Serve, app: Callable[..., Path], words: list[str]) -> None:
    """The command has not been run, and nothing is served without it; SIGTERM to the service ends it with status 0."""
    directory = app("signal.signal(signal.SIGTERM, lambda *_: exit(0))", 'INSTALLED_APPS += ["site_commands"]\n')
    write_command(directory, "waiting", "site_noted.note('begun')\ntime.sleep(600)")
    for to_worker in (False, True) if "--workers" in words else (False,):
        server = start(serve, directory, "twistd", *words, until=None)
        [pid] = wait_for(partial(noted, server, "begun"), f"the command\n{server.output}")
        os.kill(pid if to_worker else server.process.pid, signal.SIGTERM)
        assert server.wait() == (1 if to_worker else 0), server.output
        assert "-> ready" not in server.output
        assert bool(lines_with(server.stderr, "was at what runs once: received SIGTERM")) is to_worker
        (directory / "begun").unlink()


def test_a_handler_of_an_event_loop_during_a_command(serve: Serve, app: Callable[..., Path]) -> None:
    """It gets the signal, and the service does too: it does not go on to serve."""
    directory = app(settings='INSTALLED_APPS += ["site_commands"]\n')
    text = """
    async def main():
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        site_noted.note("begun")
        await stop.wait()
        site_noted.note("stopped")
    asyncio.run(main())
    """
    write_command(directory, "waiting", textwrap.dedent(text))
    server = start(serve, directory, "twistd", "--command", "waiting", until=None)
    wait_for(lambda: noted(server, "begun"), f"the command\n{server.output}")
    assert server.terminate() == 0
    assert "-> ready" not in server.output


def test_a_handler_of_a_worker_that_is_replaced(serve: Serve, app: Callable[..., Path]) -> None:
    """It is called once, when the worker drains, however the signal has come."""
    server = start(serve, app("signal.signal(signal.SIGTERM, handle)"), "twistd", "--workers", "2")
    one, two = workers(wait_until_ready(server))
    os.kill(one, signal.SIGTERM)
    wait_until_replaced(server, {one})
    assert noted(server, "handled-SIGTERM") == [one]
    os.kill(two, signal.SIGTERM)
    assert server.terminate() == 0
    assert noted(server, "handled-SIGTERM").count(two) == 1


def test_a_pid_file(serve: Serve, app: Callable[..., Path]) -> None:
    """It is removed though the main thread does not come back: a container that starts anew has the same pids."""
    directory = app(f"note('begun')\n{WAITS['swallows']}")
    server = start(serve, directory, "with a pid file", until=None)
    wait_for(lambda: noted(server, "begun"), f"the step to begin\n{server.output}")
    assert (directory / "twistd.pid").read_text() == str(server.process.pid)
    assert server.terminate() == 0
    assert not (directory / "twistd.pid").exists()


def test_functions_registered_with_atexit_run_once(serve: Serve, app: Callable[..., Path]) -> None:
    """Where the main thread comes back while the other one calls them."""
    ready = """
    import atexit
    atexit.register(lambda: (note("atexit", False), time.sleep(1)))
    note("begun")
    try: time.sleep(600)
    finally: time.sleep(0.8)
    """
    server = start(serve, app(ready), "twistd", until=None)
    wait_for(lambda: noted(server, "begun"), f"the step to begin\n{server.output}")
    assert server.terminate() == 0
    assert noted(server, "atexit") == [server.process.pid]


# The end of a step


@pytest.mark.parametrize("words", [[], ["--workers", "2"]], ids=["alone", "workers"])
@pytest.mark.parametrize("kind", WAITS)
def test_the_end_of_a_step(serve: Serve, app: Callable[..., Path], kind: str, words: list[str]) -> None:
    """Whatever it waits for, the probes answer, and SIGTERM ends the process at once and with status 0."""
    server = start(serve, app(f"note('begun')\n{WAITS[kind]}"), "twistd", *words, until=None)
    wait_for(lambda: noted(server, "begun"), f"the step to begin\n{server.output}")
    wait_for(lambda: server.probe("/startup").status == 503, "the probe port")
    assert "setting Django up" in server.probe("/startup").text
    assert server.probe("/alive").status == 200
    began = time.monotonic()
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    assert time.monotonic() - began < AT_ONCE
    assert "Traceback" not in server.output
    assert not [pid for pid, title in titles(server).items() if "sleep" not in title], server.output


def test_what_is_interrupted_can_clean_up(serve: Serve, app: Callable[..., Path]) -> None:
    """Its `finally` clauses run, as with Ctrl-C under manage.py; that takes its half a second, and no more."""
    ready = "try:\n note('begun')\n time.sleep(600)\nfinally:\n note('cleaned')"
    server = start(serve, app(ready), "twistd", until=None)
    wait_for(lambda: noted(server, "begun"), f"the step to begin\n{server.output}")
    assert server.terminate() == 0
    assert noted(server, "cleaned") == [server.process.pid]


def test_what_does_not_come_to_an_end_is_named(serve: Serve, app: Callable[..., Path]) -> None:
    """With the place in the application, and what is registered with atexit runs all the same."""
    settings = "import atexit, site_noted\natexit.register(lambda: open(BASE_DIR / 'atexit', 'w').close())\n"
    server = start(serve, app(f"note('begun')\n{WAITS['swallows']}", settings), "twistd", until=None)
    wait_for(lambda: noted(server, "begun"), f"the step to begin\n{server.output}")
    assert server.terminate() == 0
    [line] = lines_with(server.output, "ending in the middle of the start-up")
    assert "ready" in line
    assert os.path.exists(server.cwd / "atexit")
