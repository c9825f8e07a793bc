"""A project's own logging that is slow or raises: it costs lines, and neither probes, nor connections, nor states."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.functional.harness import PROMPT, Server, wait_for
from tests.support.functional.logs import (
    VIEWS,
    Launch,
    alive,
    ask_again_and_again,
    dropped,
    ends,
    handlers_logging,
    launching_with_streams,
    leave_in_the_middle,
    wait_until_released,
)
from tests.support.functional.workers import titles, wait_until_none_is_left, wait_until_ready

Project = Callable[..., Path]

PLACES = pytest.mark.parametrize("place", ["root", "twistserve", "twistserve.access", "twistserve.lifecycle"])
RUNNERS = pytest.mark.parametrize("runner", ["twistd", "twist", "manage"])

HANDLERS = """
import logging, os, sys, threading, time
from pathlib import Path
HERE = Path(__file__).resolve().parent

def note(name, text):
    with open(HERE / name, "a") as record:
        record.write(f"{text}\\n")

def notes(name):
    return (HERE / name).exists()

class Slow(logging.Handler):
    def emit(self, record):
        time.sleep(1)
        note("emitted", f"{record.name} {record.getMessage()}")

class VerySlow(logging.Handler):
    def emit(self, record):
        note("begun", record.getMessage())
        time.sleep(600)

class SlowFormatter(logging.Formatter):
    def format(self, record):
        time.sleep(600)
        return super().format(record)

class SlowFilter(logging.Filter):
    def filter(self, record):
        time.sleep(600)
        return True

class NotingFilter(logging.Filter):
    def filter(self, record):
        note("seen", f"{record.levelname} {record.name} {record.getMessage()}")
        return True

class Plain(logging.StreamHandler):
    def __init__(self):
        super().__init__(sys.stdout)

def error():
    kind = (HERE / "error").read_text().strip()
    return {"SystemExit": SystemExit(7), "KeyboardInterrupt": KeyboardInterrupt(), "OSError": OSError(28, "full"),
            "RecursionError": RecursionError("deep"), "Hostile": Hostile()}.get(kind) or ValueError("of the project")

class Hostile(Exception):
    def __str__(self):
        raise RuntimeError("no text of the error")
    __repr__ = __str__

def maybe_raise():
    if (HERE / "error").exists():
        note("raised", "once more")
        raise error()

class RaisingHandler(logging.Handler):
    def emit(self, record):
        maybe_raise()

class RaisingHandle(logging.Handler):
    def handle(self, record):
        maybe_raise()

class RaisingFormatter(logging.Formatter):
    def format(self, record):
        maybe_raise()
        return super().format(record)

class RaisingFilter(logging.Filter):
    def filter(self, record):
        maybe_raise()
        return True

class ThreadHandler(logging.Handler):
    def emit(self, record):
        note("threads", f"{record.name} {threading.get_ident()} {record.thread}")
"""

LOGGERS = {
    "handler": handlers_logging("site_handlers.RaisingHandler", "{place}"),
    "handle": handlers_logging("site_handlers.RaisingHandle", "{place}"),
    "formatter": handlers_logging("site_handlers.Plain", "{place}", "site_handlers.RaisingFormatter"),
    "filter of the handler": handlers_logging("site_handlers.Plain", "{place}").replace(
        "'class'", "'filters': ['own'], 'class'"
    ),
    "filter of the logger": handlers_logging("site_handlers.Plain", "{place}").replace(
        "'level': 'DEBUG'", "'filters': ['own'], 'level': 'DEBUG'"
    ),
}
FILTERS = "LOGGING['filters'] = {'own': {'()': 'site_handlers.RaisingFilter'}}\n"
FACTORY = """
import logging, site_handlers
class Record(logging.LogRecord):
    def __init__(self, *args, **kwargs):
        if args[0] != "shop":
            site_handlers.maybe_raise()
        super().__init__(*args, **kwargs)
logging.setLogRecordFactory(Record)
"""


KINDS = [*LOGGERS, "record factory"]


def raising(kind: str, place: str) -> str:
    """Settings with something that raises while there is a file `error`: the kind of error is its text."""
    if kind == "record factory":
        return FACTORY
    if kind == "filter of the logger":  # which is asked of lines of this very logger alone
        place = {"root": "twistserve.access", "twistserve": "twistserve.lifecycle"}.get(place, place)
    return LOGGERS[kind].replace("{place}", place) + (FILTERS if kind.startswith("filter") else "")


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    with launching_with_streams(tmp_path) as launcher:
        yield launcher


def assert_unhurt(server: Server) -> None:
    """Clients that leave are forgotten, requests and probes are answered."""
    leave_in_the_middle(server, 12)
    wait_until_released(server)
    for _ in range(12):
        assert server.get("/", timeout=20).text == "hello"
    assert server.get("/nope", timeout=20).status in (404, 500)
    alive(server)
    wait_until_released(server)


# Slow


@RUNNERS
def test_a_handler_that_takes_a_second(launch: Launch, project: Project, runner: str) -> None:
    """Its lines come late; /alive answers at once, again and again, and so do requests."""
    settings = handlers_logging("site_handlers.Slow")
    server = launch(cwd=project(VIEWS, settings=settings, site_handlers=HANDLERS), runner=runner, until="/startup")
    for _ in range(20):
        assert server.get("/", timeout=10).text == "hello"
    began = time.monotonic()
    for _ in range(20):
        alive(server, 3)
    assert time.monotonic() - began < 10
    emitted = server.cwd / "emitted"
    wait_for(lambda: emitted.exists() and "start-up" in emitted.read_text(), "its first lines")


@PLACES
@RUNNERS
def test_a_handler_that_never_returns(launch: Launch, project: Project, runner: str, place: str) -> None:
    """It holds up neither the start, nor requests, nor probes, nor a connection's end."""
    directory = project(VIEWS, settings=handlers_logging("site_handlers.VerySlow", place), site_handlers=HANDLERS)
    server = launch("--max-connections", "10", cwd=directory, runner=runner)
    leave_in_the_middle(server, 12)
    wait_until_released(server)
    for _ in range(12):
        assert server.get("/", timeout=20).text == "hello"
    alive(server, 3)
    wait_for((directory / "begun").exists, "the handler to be called")


@RUNNERS
def test_the_end_with_a_handler_that_never_returns(launch: Launch, project: Project, runner: str) -> None:
    """It does not hold up the end of the process beyond 10 seconds after --graceful-timeout."""
    directory = project(VIEWS, settings=handlers_logging("site_handlers.VerySlow"), site_handlers=HANDLERS)
    server = launch("--graceful-timeout", "2", cwd=directory, runner=runner)
    server.get("/")
    wait_for((directory / "begun").exists, "the handler to be called")
    server.signal(15)
    assert server.wait(2 + 10 + PROMPT) == 0


@pytest.mark.parametrize("kind", ["formatter", "filter of the handler", "filter of the logger"])
def test_what_belongs_to_a_handler_never_returns(launch: Launch, project: Project, kind: str) -> None:
    """A slow formatter or filter is no other matter than a slow handler."""
    settings = raising(kind, "twistserve").replace("site_handlers.Raising", "site_handlers.Slow")
    server = launch("--max-connections", "10", cwd=project(VIEWS, settings=settings, site_handlers=HANDLERS))
    assert_unhurt(server)


@pytest.mark.parametrize("kind", ["formatter", "filter of the handler"])
def test_what_belongs_to_a_handler_of_the_root_never_returns(launch: Launch, project: Project, kind: str) -> None:
    """Nor is one of the root logger's handler, of the start and of requests that log nothing themselves."""
    settings = raising(kind, "root").replace("site_handlers.Raising", "site_handlers.Slow")
    server = launch("--max-connections", "10", cwd=project(VIEWS, settings=settings, site_handlers=HANDLERS))
    leave_in_the_middle(server, 12)
    wait_until_released(server)
    assert server.get("/", timeout=20).text == "hello"
    alive(server)


def test_filters_are_asked_of_lines_alone(launch: Launch, project: Project) -> None:
    """A filter of the project, which may count or send what it sees, sees nothing that nobody has logged."""
    settings = raising("filter of the handler", "root").replace("site_handlers.Raising", "site_handlers.Noting")
    directory = project(VIEWS, settings=settings, site_handlers=HANDLERS)
    server = launch(cwd=directory)
    assert server.get("/").text == "hello"
    ends(server, PROMPT)
    assert "INFO" in (directory / "seen").read_text()
    assert [line for line in (directory / "seen").read_text().splitlines() if line.startswith("ERROR")] == []


def test_a_slow_handler_with_workers(launch: Launch, project: Project) -> None:
    """Workers and their parent are not held up either, and end in time."""
    directory = project(VIEWS, settings=handlers_logging("site_handlers.VerySlow"), site_handlers=HANDLERS)
    server = launch("--workers", "2", "--max-connections", "10", "--graceful-timeout", "2", cwd=directory)
    wait_until_ready(server)
    for _ in range(40):
        assert server.get("/", timeout=20).text == "hello"
    alive(server, 3)
    server.signal(15)
    assert server.wait(2 + 10 + PROMPT) == 0
    wait_until_none_is_left(server)


def test_a_slow_handler_holds_up_only_who_calls_it(launch: Launch, project: Project) -> None:
    """The application's own call of a slow handler is synchronous; meanwhile everything else is answered."""
    directory = project(VIEWS, settings=handlers_logging("site_handlers.Slow", "shop"), site_handlers=HANDLERS)
    server = launch(cwd=directory)
    began = time.monotonic()
    assert server.get("/shout/?text=slowly").text == "said"
    assert time.monotonic() - began >= 1
    assert (directory / "emitted").read_text() == "shop said slowly\n", "the handler has returned before the view"


def test_loggers_of_the_application_stay_synchronous(launch: Launch, project: Project) -> None:
    """A handler runs in the thread that logs, where that is the application's, and never in the reactor's."""
    directory = project(
        VIEWS,
        settings=handlers_logging("site_handlers.ThreadHandler"),
        site_handlers=HANDLERS,
    )
    server = launch(cwd=directory)
    for _ in range(10):
        server.get("/shout/?text=x")
    server.get("/nope")
    ends(server, PROMPT)
    notes = [line.split() for line in (directory / "threads").read_text().splitlines()]
    threads = {(ran, logged) for name, ran, logged in notes if name == "shop"}
    assert threads
    assert all(ran == logged for ran, logged in threads)
    reactors = {logged for name, _, logged in notes if name == "twistserve.lifecycle"}
    ours = {ran for name, ran, _ in notes if name.startswith("twistserve")}
    assert len(ours) == 1, "one thread runs it for what our threads log"
    assert ours.isdisjoint(reactors), "one thread runs it for what our threads log"


# Raising


@pytest.mark.parametrize("place", ["root", "twistserve"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_raises_from_the_start(launch: Launch, project: Project, kind: str, place: str) -> None:
    """The start succeeds, requests are answered, connections released, and SIGTERM ends the process with status 0."""
    assert_unhurt_from_the_start(
        launch, project(VIEWS, settings=raising(kind, place), site_handlers=HANDLERS), "ValueError"
    )


@pytest.mark.parametrize("place", ["root", "twistserve"])
@pytest.mark.parametrize("kind", KINDS)
def test_system_exit_from_the_start(launch: Launch, project: Project, kind: str, place: str) -> None:
    """SystemExit is no reason to exit where logging raises it."""
    directory = project(VIEWS, settings=raising(kind, place), site_handlers=HANDLERS)
    assert_unhurt_from_the_start(launch, directory, "SystemExit")


def assert_unhurt_from_the_start(launch: Launch, directory: Path, error: str) -> None:
    """A server of this project, where something raises an error from the start, becomes ready, serves and ends."""
    (directory / "error").write_text(error)
    server = launch("--max-connections", "10", cwd=directory)
    assert_unhurt(server)
    assert server.probe("/ready").status == 200
    ends(server, PROMPT)
    assert (directory / "raised").exists()


@pytest.mark.parametrize("error", ["ValueError", "SystemExit", "KeyboardInterrupt", "RecursionError", "Hostile"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_raises_while_serving(launch: Launch, project: Project, kind: str, error: str) -> None:
    """The same where it begins later."""
    directory = project(VIEWS, settings=raising(kind, "root"), site_handlers=HANDLERS)
    server = launch("--max-connections", "10", cwd=directory)
    (directory / "error").write_text(error)
    assert_unhurt(server)
    ends(server, PROMPT)
    assert (directory / "raised").exists()


@pytest.mark.parametrize("kind", ["handle", "filter of the logger", "record factory"])
@pytest.mark.parametrize("runner", ["twist", "manage"])
def test_what_raises_under_other_commands(launch: Launch, project: Project, kind: str, runner: str) -> None:
    """The same under twist and manage.py serve."""
    directory = project(VIEWS, settings=raising(kind, "root"), site_handlers=HANDLERS)
    (directory / "error").write_text("ValueError")
    server = launch("--max-connections", "10", cwd=directory, runner=runner)
    assert_unhurt(server)
    ends(server, PROMPT)


@pytest.mark.parametrize("error", ["ValueError", "SystemExit"])
@pytest.mark.parametrize("kind", ["handle", "filter of the logger", "record factory"])
def test_what_raises_with_workers(launch: Launch, project: Project, kind: str, error: str) -> None:
    """The same in workers and their parent: none of them dies of it."""
    directory = project(VIEWS, settings=raising(kind, "root"), site_handlers=HANDLERS)
    (directory / "error").write_text(error)
    server = launch("--workers", "2", "--max-connections", "10", cwd=directory)
    wait_until_ready(server)
    pids = titles(server).keys()
    assert_unhurt(server)
    assert titles(server).keys() == pids
    ends(server, PROMPT)
    wait_until_none_is_left(server)


def test_lines_that_a_handler_refuses_are_counted(launch: Launch, project: Project) -> None:
    """A line that the project's handler could not take is lost, and counted; it is written once that handler can."""
    directory = project(VIEWS, settings=raising("filter of the logger", "twistserve.access"), site_handlers=HANDLERS)
    server = launch(cwd=directory)
    (directory / "error").write_text("ValueError")
    for _ in range(5):
        server.get("/?lost")
    wait_for(lambda: dropped(server) == 5, lambda: f"5 lines to be counted, not {dropped(server)}")
    (directory / "error").unlink()
    server.get("/?written")
    wait_for(lambda: "GET /?written" in server.output, "the line of a later request")
    assert "GET /?lost" not in server.stdout


def test_more_lines_than_a_handler_takes(launch: Launch, project: Project) -> None:
    """The queue before a handler of the project is bounded too: what does not fit is counted, and serving goes on."""
    directory = project(VIEWS, settings=handlers_logging("site_handlers.VerySlow"), site_handlers=HANDLERS)
    server = launch(cwd=directory)

    def loses() -> bool:
        ask_again_and_again(server, 1000)
        return dropped(server) > 0

    wait_for(loses, "lines to be counted", 120)
    alive(server, 3)
