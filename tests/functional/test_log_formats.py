"""One log: every line of a start, of requests, of a warning, a reload and a drain has the format that was asked for."""

from __future__ import annotations

import os
import re
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.functional.harness import PROMPT, Server, raw, release, wait_for, write_project
from tests.support.functional.logs import (
    VIEWS,
    Launch,
    Line,
    ends,
    launching_with_streams,
    leave_in_the_middle,
    lines_of,
    read_log,
    the_line,
)
from tests.support.functional.workers import Held, wait_until_none_is_left, wait_until_ready, wait_until_replaced
from tests.support.functional.workers import workers as workers_of

FORMS = pytest.mark.parametrize("form", ["text", "combined", "json"])
RUNNERS = pytest.mark.parametrize("runner", ["twistd", "twist", "manage", "daemon"])

WSGI = """
import logging, warnings
warnings.warn("warned at import")
logging.getLogger("shop").warning("logged at import")
from django.core.wsgi import get_wsgi_application
application = get_wsgi_application()
"""
COMMAND = """
import logging, sys, warnings
from django.core.management.base import BaseCommand

class Command(BaseCommand):
    def handle(self, *args, **options):
        self.stdout.write("written by the command")
        self.stdout.write("one of two\\ntwo of two")
        self.stdout.write(self.style.SUCCESS("in green by the command"))
        self.stderr.write("complained by the command")
        logging.getLogger("shop").warning("logged by the command")
        warnings.warn("warned by the command")
"""


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    with launching_with_streams(tmp_path) as launcher:
        yield launcher


@pytest.fixture
def saying(tmp_path: Path) -> Callable[..., Path]:
    """A project that logs at import, with the command `say`."""

    def write(settings: str = "", **modules: str) -> Path:
        settings = f"INSTALLED_APPS += ['saying']\n{settings}"
        directory = write_project(tmp_path / "project", VIEWS, settings, **{"site_wsgi": WSGI, **modules})
        commands = directory / "saying" / "management" / "commands"
        commands.mkdir(parents=True)
        (commands / "say.py").write_text(COMMAND)
        return directory

    return write


class Log:
    """The log of a server in a format, wherever its runner has it: of a daemon, its file."""

    def __init__(self, server: Server, form: str, runner: str) -> None:
        self.server = server
        self.form = form
        self._file = server.cwd / "twistd.log" if runner == "daemon" else None
        if self._file:
            assert server.wait() == 0, server.output
            wait_for(self._is_ready, lambda: f"the daemon to be ready\n{self.text}")

    @property
    def text(self) -> str:
        if self._file is None:
            return self.server.stdout + self.server.stderr
        return self._file.read_text() if self._file.exists() else ""

    @property
    def lines(self) -> list[Line]:
        return read_log(self.text, self.form)

    @property
    def pid(self) -> int:
        return int((self.server.cwd / "twistd.pid").read_text()) if self._file else self.server.process.pid

    def end(self) -> list[Line]:
        """End the server while a request is in flight; every line of its log."""
        held = Held(self.server, "last", "&number=1")
        os.kill(self.pid, signal.SIGTERM)
        self.server.probe("/ready")
        release(self.server)
        assert held.outcome() == "200 held last"
        if self._file is None:
            assert self.server.wait() == 0, self.text
        wait_until_none_is_left(self.server)
        if self._file:
            assert self.server.output == "--- stdout\n\n--- stderr\n"
        return self.lines

    def _is_ready(self) -> bool:
        with suppress(OSError):
            return self.server.probe("/ready").status == 200
        return False


def ask_for_everything(server: Server, form: str) -> None:
    """A page, errors of client and server, a warning, lines of the application, clients that misbehave."""
    assert server.get("/").status == 200
    assert server.get("/nope").status == 404
    assert server.get("/fail/").status == 500
    for path in ("/warn/", "/non-ascii/", "/shout/?text=a%0Ab"):
        assert server.get(path).status == 200
    raw(server.port, b'GET /?" HTTP/1.1\r\nHost: a\r\nUser-Agent: x" y\\ \xff\r\nConnection: close\r\n\r\n')
    raw(server.port, b"nonsense\r\n\r\n")
    leave_in_the_middle(server, 2)
    if form == "json":
        assert server.get("/print/").status == 200


def assert_complete(lines: list[Line], form: str, times: int = 1) -> None:
    """What `ask_for_everything` and the start and the end must have left, in lines that have been read."""
    access = [line for line in lines if line["logger"] == "twistserve.access"]
    for path, status, level in (("/", 200, "INFO"), ("/nope", 404, "WARNING"), ("/fail/", 500, "ERROR")):
        line = the_line(access, f'"path": "{path}"' if form == "json" else f'"GET {path} HTTP/1.1"')
        assert int(line["status"] if form != "text" else line["message"].split('" ')[1][:3]) == status
        assert form == "combined" or line["level"] == level
    not_found = the_line(lines, "Not Found: /nope")
    assert (not_found["logger"], not_found["level"]) == ("django.request", "WARNING")
    failed = the_line(lines, "Internal Server Error: /fail/")
    assert (failed["logger"], failed["level"]) == ("django.request", "ERROR")
    if form == "json":
        assert failed["exception"].startswith("Traceback (most recent call last):\n")
        assert failed["exception"].rstrip().endswith("LookupError: the shelf \u20ac is gone")
    else:
        first = the_line(lines, "Traceback (most recent call last)")
        last = the_line(lines, "LookupError: the shelf \u20ac is gone")
        between = lines[lines.index(first) : lines.index(last)]
        assert {(line["logger"], line["level"]) for line in (*between, last)} == {("django.request", "ERROR")}
    for words, logger in (("warned by the view", "py.warnings"), ("price ", "shop"), ("at the end 00000", "shop")):
        assert (the_line(lines, words)["logger"], the_line(lines, words)["level"]) == (logger, "WARNING")
    assert len([line for line in lines if "warned at import" in line.text]) == times
    assert len([line for line in lines if "logged at import" in line.text]) == times
    for words in ("received SIGTERM", "written by the command", "one of two", "in green by the command"):
        the_line(lines, words)
    for words in ("complained by the command", "logged by the command", "warned by the command"):
        the_line(lines, words)
    assert "\x1b" not in "".join(line.text for line in lines)
    if form == "json":
        assert the_line(lines, "printed to stdout")["message"] == "printed to stdout"
        assert the_line(lines, "printed to stderr")["message"] == "printed to stderr"
        assert the_line(lines, "said a")["message"] == "said a\nb"


# Every line


@FORMS
@RUNNERS
def test_every_line(launch: Launch, saying: Callable[..., Path], runner: str, form: str) -> None:
    """Every line, from the first to the last, has the format; none is missing, none is there twice."""
    server = launch(
        *("--log-format", form, "--command", "say"),
        cwd=saying(),
        runner=runner,
        until=None if runner == "daemon" else "/ready",
    )
    log = Log(server, form, runner)
    ask_for_everything(server, form)
    assert_complete(log.end(), form)


@FORMS
@RUNNERS
def test_every_line_with_workers(launch: Launch, saying: Callable[..., Path], runner: str, form: str) -> None:
    """The same with two workers and a reload by SIGHUP; and each line of a worker tells which."""
    server = launch(
        *("--log-format", form, "--command", "say", "--workers", "2"),
        cwd=saying(),
        runner=runner,
        until=None if runner == "daemon" else "/ready",
    )
    log = Log(server, form, runner)
    wait_until_ready(server)
    pids = {*workers_of(server)}
    os.kill(log.pid, signal.SIGHUP)
    wait_until_replaced(server, pids)
    ask_for_everything(server, form)
    lines = log.end()
    assert_complete(lines, form, times=4)
    the_line(lines, "replacing all workers")
    if form == "json":
        for line in lines:
            if line["logger"] in ("twistserve.access", "django.request", "stdout", "py.warnings") and (
                "command" not in line["message"]
            ):
                assert line.get("worker"), f"this line does not tell its worker: {line.text}"


@FORMS
@pytest.mark.parametrize("debug", [True, False])
def test_every_line_with_debug(launch: Launch, saying: Callable[..., Path], form: str, debug: bool) -> None:
    """DEBUG changes nothing of the formats, and what Django has to say comes once."""
    directory = saying(settings=f"DEBUG = {debug}\n")
    server = launch("--log-format", form, "--command", "say", "--log-level", "DEBUG", cwd=directory)
    ask_for_everything(server, form)
    assert_complete(Log(server, form, "twistd").end(), form)


@FORMS
@pytest.mark.parametrize("runner", ["twistd", "twist", "manage"])
def test_every_line_of_a_start_that_fails(launch: Launch, saying: Callable[..., Path], runner: str, form: str) -> None:
    """What the log has until the start fails has the format; only the last line, on standard error, is for people."""
    directory = saying(site_wsgi=f"{WSGI}\nraise LookupError('the shelf is gone')\n")
    server = launch("--log-format", form, "--command", "say", cwd=directory, runner=runner, until=None)
    assert server.wait() == 1
    lines = read_log(server.stdout, form)
    the_line(lines, "written by the command")
    the_line(lines, "logged at import")
    assert "the shelf is gone" in server.output


@pytest.mark.parametrize("form", ["text", "json"])
def test_what_settings_log(launch: Launch, saying: Callable[..., Path], form: str) -> None:
    """Under twistd, where the settings are imported once the log is there, their lines and warnings have its format."""
    settings = "import logging, warnings\nlogging.getLogger('shop').warning('early')\nwarnings.warn('warned early')\n"
    server = launch("--log-format", form, cwd=saying(settings=settings))
    ends(server, PROMPT)
    lines = lines_of(server, form)
    assert the_line(lines, "shop", "early")["level"] == "WARNING"
    the_line(lines, "warned early")


# Times


@pytest.mark.parametrize(("workers", "form"), [("1", "text"), ("1", "combined"), ("2", "text"), ("2", "json")])
@pytest.mark.parametrize("zone", ["", "TIME_ZONE = 'Asia/Kathmandu'", "TIME_ZONE = 'America/St_Johns'\nUSE_TZ = False"])
def test_times_agree(launch: Launch, saying: Callable[..., Path], zone: str, workers: str, form: str) -> None:
    """Whatever TIME_ZONE is, and before Django has set it as after: every line tells the time as it is."""
    began = datetime.now(UTC).timestamp()
    server = launch("--log-format", form, "--workers", workers, cwd=saying(settings=f"{zone}\n"), env={"TZ": "EST5"})
    server.get("/")
    server.get("/shout/?text=x")
    ends(server, PROMPT)
    ended = datetime.now(UTC).timestamp()
    lines = lines_of(server, form)
    offsets = set()
    for line in lines:
        if "clock" in line:
            when = datetime.strptime(line["clock"], "%d/%b/%Y:%H:%M:%S %z")
        else:
            when = datetime.fromisoformat(line["time"].replace(",", "."))
        offsets.add(when.utcoffset())
        assert began - 2 <= when.timestamp() <= ended + 2, f"not between {began} and {ended}: {line.text}"
        if found := re.search(r"\[(\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})\]", line.text):
            when = datetime.strptime(found[1], "%d/%b/%Y:%H:%M:%S %z")
            assert began - 2 <= when.timestamp() <= ended + 2, line.text
    assert len(offsets) == 1, f"one log, one offset: {offsets}\n{server.output}"


# What is said once, and what is not said


OF_ADDRESSES = ("twistserve.access", "twistserve.composition.announcement")
"""Loggers whose lines have addresses of clients, and those for people to open."""


@FORMS
@RUNNERS
def test_each_port_is_announced_once(launch: Launch, saying: Callable[..., Path], runner: str, form: str) -> None:
    """There is one line that tells of a port when it opens; the addresses to look at come when all of them are open."""
    until = None if runner == "daemon" else "/ready"
    server = launch("--log-format", form, cwd=saying(), runner=runner, until=until)
    lines = Log(server, form, runner).end()
    for port in (server.port, server.probe_port):
        the_line([line for line in lines if line["logger"] not in OF_ADDRESSES], str(port))


def test_each_port_is_announced_once_by_each_worker(launch: Launch, saying: Callable[..., Path]) -> None:
    """With workers the probe port has one line, the web port at most one of each worker."""
    server = launch("--workers", "2", cwd=saying())
    wait_until_ready(server)
    ends(server, PROMPT)
    lines = [line for line in lines_of(server, "text") if line["logger"] not in OF_ADDRESSES]
    the_line(lines, f":{server.probe_port}")
    counted = Counter(line["worker"] for line in lines if f":{server.port}" in line.text)
    assert set(counted.values()) == {1}
    assert len(counted) <= 2


NOISE = re.compile(r"[Ff]actory|starting on|Port \d+ Closed|[Mm]ain loop|Log opened|reactor class")


@pytest.mark.parametrize("form", ["text", "json"])
@RUNNERS
def test_factories_and_ports_at_debug_only(launch: Launch, saying: Callable[..., Path], runner: str, form: str) -> None:
    """Twisted's lines about factories that start and ports that close are not in the log of a normal start and end."""
    until = None if runner == "daemon" else "/ready"
    server = launch("--log-format", form, cwd=saying(), runner=runner, until=until)
    log = Log(server, form, runner)
    server.get("/")
    assert [line.text for line in log.end() if NOISE.search(line["message"])] == []
