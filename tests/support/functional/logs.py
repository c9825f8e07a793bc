"""What the tests of the log share: a project that logs in every way, standard streams of any kind, lines read back."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.support.functional.harness import PATIENCE, Server, command, free_port, wait_for
from tests.support.functional.workers import kill_all

SETTINGS = "site_settings"

VIEWS = """
import logging, os, sys, time, warnings
from pathlib import Path
from django.http import HttpResponse
from django.urls import path
HERE = Path(__file__).resolve().parent
log = logging.getLogger("shop")

def hello(request):
    return HttpResponse("hello")

def shout(request):
    log.warning("said %s", request.GET["text"])
    return HttpResponse("said")

def non_ascii(request):
    log.warning("price \\u20ac \\U0001f409 \\udcff \\xfc")
    return HttpResponse("said")

def many(request):
    for number in range(int(request.GET["number"])):
        log.warning("many-%05d %s", number, "x" * 200)
    return HttpResponse("said")

def fail(request):
    raise LookupError("the shelf \\u20ac is gone")

def warn(request):
    warnings.warn("warned by the view")
    return HttpResponse("warned")

def printing(request):
    print("printed to stdout")
    print("printed to stderr", file=sys.stderr)
    return HttpResponse("printed")

def upload(request):
    request.body
    return HttpResponse("uploaded")

def hold(request):
    (HERE / f"entered-{request.GET['name']}").write_text(f"{os.getpid()} ")
    while not (HERE / "go").exists():
        time.sleep(0.02)
    for number in range(int(request.GET.get("number", 0))):
        log.warning("at the end %05d", number)
    return HttpResponse(f"held {request.GET['name']}")

urlpatterns = [
    path("", hello), path("shout/", shout), path("non-ascii/", non_ascii), path("many/", many), path("fail/", fail),
    path("warn/", warn), path("print/", printing), path("upload/", upload), path("hold/", hold),
]
"""
"""A view for each way in which an application makes lines."""


def handlers_logging(handler: str, where: str = "root", formatter: str = "") -> str:
    """Settings whose LOGGING gives `where` (a logger, or "root") the handler class `handler`, at level DEBUG."""
    logger = "'root': {'handlers': ['own'], 'level': 'DEBUG'}"
    if where != "root":
        logger = f"'loggers': {{'{where}': {{'handlers': ['own'], 'level': 'DEBUG'}}}}"
    formatters = f"'formatters': {{'own': {{'()': '{formatter}'}}}}, " if formatter else ""
    chosen = ", 'formatter': 'own'" if formatter else ""
    return (
        "LOGGING = {'version': 1, 'disable_existing_loggers': False, "
        f"{formatters}'handlers': {{'own': {{'class': '{handler}'{chosen}}}}}, {logger}}}\n"
    )


Launch = Callable[..., Server]


@contextmanager
def launching_with_streams(logs: Path) -> Iterator[Launch]:
    """Starts servers whose standard streams are anything.

    `launch("--threads", "1", cwd=..., redirect=">/dev/full", stdout=a_descriptor, until="/ready")`. `redirect` is a
    shell's; `limits` are shell commands before it, such as `ulimit -f 16`. None of the processes outlives the block.
    """
    servers: list[Server] = []

    def launcher(
        *args: str,
        cwd: Path,
        redirect: str = "",
        limits: str = ":",
        stdout: int | None = None,
        stderr: int | None = None,
        runner: str = "twistd",
        env: dict[str, str] | None = None,
        until: str | None = "/ready",
    ) -> Server:
        port = free_port()
        environ = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("TWISTSERVE_", "DJANGO_", "PROMETHEUS_", "KUBERNETES_", "PYTHON"))
        }
        environ |= {"DJANGO_SETTINGS_MODULE": SETTINGS} | (env or {})
        stdout_path, stderr_path = logs / f"{port}.stdout", logs / f"{port}.stderr"
        with stdout_path.open("wb") as out, stderr_path.open("wb") as err:
            process = subprocess.Popen(
                ["sh", "-c", f'{limits}; exec "$@" {redirect}', "sh", *command(runner), *args, "--port", str(port)],
                cwd=cwd,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=out if stdout is None else stdout,
                stderr=err if stderr is None else stderr,
            )
        server = Server(process, port, port + 1, stdout_path, stderr_path, cwd, environ)
        servers.append(server)
        return server if until is None else server.wait_until(until)

    try:
        yield launcher
    finally:
        for server in servers:
            kill_all(server)
            server.kill()
            sys.stdout.write(server.output)


class Pipe:
    """A pipe to be a server's standard output: nobody reads it until `read()` or `hang_up()`."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        self._written: list[bytes] = []
        self._reader = threading.Thread(target=self._read, daemon=True)

    def given(self) -> None:
        """Close this process's end for writing, once the server has it."""
        os.close(self.writing)
        self.writing = -1

    def hang_up(self) -> None:
        """Be a reader that has gone."""
        os.close(self.reading)
        self.reading = -1

    def read(self) -> None:
        """Begin to read, in a thread, to the end."""
        self._reader.start()

    @property
    def text(self) -> str:
        return b"".join(self._written).decode(errors="replace")

    def rest(self) -> str:
        """All that was written, once every writer has closed it."""
        self._reader.join(PATIENCE)
        assert not self._reader.is_alive(), "somebody still holds the pipe"
        return self.text

    def close(self) -> None:
        for descriptor in (self.writing, self.reading):
            if descriptor >= 0 and not self._reader.is_alive():
                os.close(descriptor)

    def _read(self) -> None:
        while chunk := os.read(self.reading, 65536):
            self._written.append(chunk)


@contextmanager
def a_pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    try:
        yield pipe
    finally:
        pipe.close()


# What the server says of itself


def metric(server: Server, name: str) -> float:
    """The value of a metric without labels, as the probe port tells it."""
    text = server.probe("/metrics").text
    [line] = [line for line in text.splitlines() if line.startswith(f"{name} ")]
    return float(line.split()[1])


def dropped(server: Server) -> float:
    return metric(server, "twistserve_log_lines_dropped_total")


def connections(server: Server) -> float:
    return metric(server, "twistserve_http_connections")


def wait_until_released(server: Server) -> None:
    """Wait until no connection is in the books."""
    wait_for(lambda: connections(server) == 0, lambda: f"no connection, not {connections(server)}\n{server.output}")


def alive(server: Server, seconds: float = 5.0) -> None:
    """/alive answers within so many seconds."""
    assert server.probe("/alive", timeout=seconds).status == 200


def ends(server: Server, seconds: float) -> None:
    """A SIGTERM ends the server within so many seconds, with status 0."""
    server.signal(15)
    assert server.wait(seconds) == 0, server.output


# Clients


def leave_in_the_middle(server: Server, number: int, agent: bytes = b"leaver") -> None:
    """Clients that leave in the middle of a request's body, one by one, half of them with a reset."""
    for each in range(number):
        with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as client:
            client.sendall(
                b"POST /upload/ HTTP/1.1\r\nHost: localhost\r\nUser-Agent: %s\r\nContent-Length: 1000\r\n\r\nabc"
                % agent
            )
            if each % 2:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def ask_again_and_again(server: Server, number: int, path: str = "/", timeout: float = 20.0) -> None:
    """So many requests on one connection, each answered within the timeout."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=timeout)
    try:
        for _ in range(number):
            connection.request("GET", path)
            response = connection.getresponse()
            response.read()
            assert response.status == 200
    finally:
        connection.close()


def in_background(work: Callable[[], Any]) -> threading.Thread:
    """Do something in a thread, whatever comes of it."""

    def run() -> None:
        with suppress(OSError, http.client.HTTPException):
            work()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


# Lines


LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
PREFIX = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)) "
    rf"(?P<level>{'|'.join(LEVELS)}) (?:\[(?P<worker>worker-\d+)\] )?(?P<logger>[\w.-]+): (?P<message>.*)"
)
ACCESS = re.compile(
    r"(?P<remote>\S+) - - \[(?P<clock>[^]]+)\] "
    r'"(?P<request>[^"]*)" (?P<status>\d{3}) (?P<bytes>\d+|-) "(?P<referrer>[^"]*)" "(?P<agent>[^"]*)" [\d.]+(?: .*)?'
)
RFC3339_MILLISECONDS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}(?:Z|[+-]\d\d:\d\d)")


class Line(dict[str, Any]):
    """A line of the log: time, level, logger, message, and what else an object of json has; `text` is as written."""

    text = ""


def text_line(text: str) -> Line:
    found = PREFIX.fullmatch(text)
    assert found, f"this line has not the prefix of the others: {text!r}"
    line = Line(found.groupdict())
    datetime.fromisoformat(line["time"].replace(",", "."))
    if line["logger"] == "twistserve.access":
        assert ACCESS.fullmatch(line["message"]), f"this line is no access line in combined format: {text!r}"
    return line


def json_line(text: str) -> Line:
    try:
        line = Line(json.loads(text))
    except ValueError as error:
        raise AssertionError(f"this line is no object of JSON: {text!r}: {error}") from None
    missing = {"time", "level", "logger", "message"} - line.keys()
    assert not missing, f"this line has no {missing}: {text!r}"
    assert RFC3339_MILLISECONDS.fullmatch(line["time"]), f"this line's time is not RFC 3339 with milliseconds: {text!r}"
    assert line["level"] in LEVELS, f"this line's level is none of Python's: {text!r}"
    assert line["logger"], f"this line has no logger: {text!r}"
    return line


def combined_line(text: str) -> Line:
    if found := ACCESS.fullmatch(text):
        return Line(found.groupdict(), level="INFO", logger="twistserve.access", message=text)
    line = text_line(text)
    assert line["logger"] != "twistserve.access", f"this access line is not bare: {text!r}"
    return line


PARSERS = {"text": text_line, "combined": combined_line, "json": json_line}


def read_log(text: str, form: str) -> list[Line]:
    """Read every line of a log in a format; an AssertionError says which line is wrong."""
    lines: list[Line] = []
    for number, each in enumerate(text.removesuffix("\n").split("\n") if text else (), 1):
        try:
            line = PARSERS[form](each)
        except (AssertionError, ValueError) as error:
            raise AssertionError(f"line {number} of {form}: {error}\n{text}") from None
        line.text = each
        lines.append(line)
    return lines


def the_line(lines: list[Line], *words: str) -> Line:
    """The one line that has all these words."""
    found = [line for line in lines if all(word in line.text for word in words)]
    assert len(found) == 1, f"{len(found)} lines with {words}: {found}\n" + "\n".join(line.text for line in lines)
    return found[0]


def lines_of(server: Server, form: str = "json") -> list[Line]:
    """Every line that the server has written to its standard output and error."""
    return read_log(server.stdout, form) + read_log(server.stderr, form)


def wait_for_text(server: Server, *words: str) -> None:
    wait_for(lambda: all(word in server.output for word in words), lambda: f"{words} in the log\n{server.output}")
