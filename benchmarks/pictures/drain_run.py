"""A drain as its clients see it: a real server gets SIGTERM while requests run, arrive and keep connections."""

from __future__ import annotations

import http.client
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.functional.harness import PATIENCE, Server, start, wait_for, write_project

BEFORE = 3.1
"""Seconds of the run before SIGTERM."""
DELAY = 5
"""--drain-delay, as in Kubernetes."""
LONG = 11.0
"""Seconds that the long request takes; it begins with the run."""
EVERY = 0.25
"""Seconds between two requests of a client."""
LOST = -1
"""Stands for a status where a connection ended without a response."""
VIEWS = f"""
import time
from django.http import HttpResponse
from django.urls import path

def report(request):
    time.sleep({LONG})
    return HttpResponse("report")

urlpatterns = [path("", lambda request: HttpResponse("hello")), path("report/", report)]
"""


@dataclass
class Run:
    """What happened when, in seconds from SIGTERM."""

    readiness: list[tuple[float, int]] = field(default_factory=list)
    """When `/ready` was asked, and the status: 0 where it was refused, `LOST` where the connection ended without."""
    liveness: list[tuple[float, int]] = field(default_factory=list)
    new: list[tuple[float, int]] = field(default_factory=list)
    """The same of requests that each make a connection."""
    kept: list[tuple[float, int, bool]] = field(default_factory=list)
    """The same of requests on a kept connection, and whether the response ended it: then it is made anew."""
    idle: tuple[float, float] = (0, 0)
    """When a connection had its only response, and when the server closed it."""
    long: tuple[float, float, int] = (0, 0, 0)
    """When the long request was sent, when its response was complete, and its status."""
    ended: float = 0
    """When the process was gone."""
    exit_status: int = -1

    @property
    def port_closed(self) -> float:
        """When the first connection was refused."""
        return min(moment for moment, status, *_ in (*self.new, *self.kept) if not status)


def measure() -> Run:
    """Start a server, end it under load, and tell what its clients saw; about fifteen seconds.

    Raises SystemExit if a request was lost, which the document that shows the run denies.
    """
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        project = write_project(directory / "project", VIEWS)
        options = (f"--drain-delay={DELAY}", "--log-level=warning", "--no-access-log")
        server = start(*options, cwd=project, logs=directory, settings="site_settings")
        try:
            server.wait_until("/ready")
            run = _drain(server)
        finally:
            server.kill()
    asked = (*run.new, *run.kept)
    lost = [(moment, status) for moment, status, *_ in asked if status != 200 and (status or moment < DELAY)]
    if lost or (run.long[2], run.exit_status) != (200, 0):
        raise SystemExit(f"requests were lost: {lost} of {run}")
    return run


def _drain(server: Server) -> Run:
    clients = _Clients(server)
    repeated = (clients.probe_readiness, clients.probe_liveness, clients.ask_anew, clients.ask_again)
    threads = [
        *(threading.Thread(target=once) for once in (clients.ask_long, clients.be_idle)),
        *(threading.Thread(target=clients.repeat, args=(ask,)) for ask in repeated),
    ]
    for thread in threads:
        thread.start()
    run = clients.run
    try:
        wait_for(lambda: clients.now() >= 0, "the moment of SIGTERM")
        server.signal(signal.SIGTERM)
        run.exit_status = server.wait()
        run.ended = clients.now()
    finally:
        clients.ended.set()
        for thread in threads:
            thread.join()
    return run


class _Clients:
    """Clients that note what they see; each method is for a thread of its own."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.run = Run()
        self.ended = threading.Event()
        self._origin = time.monotonic() + BEFORE
        self._kept = _connection(server.port)

    def now(self) -> float:
        """Seconds from the moment of SIGTERM."""
        return time.monotonic() - self._origin

    def repeat(self, ask: Callable[[], None]) -> None:
        """Ask until the end."""
        due = time.monotonic()
        while not self.ended.wait(max(0, due - time.monotonic())):
            ask()
            due += EVERY

    def probe_readiness(self) -> None:
        self.run.readiness.append((self.now(), _status(self.server.probe_port, "/ready")))

    def probe_liveness(self) -> None:
        self.run.liveness.append((self.now(), _status(self.server.probe_port, "/alive")))

    def ask_anew(self) -> None:
        self.run.new.append((self.now(), _status(self.server.port, "/")))

    def ask_again(self) -> None:
        """On the kept connection, which http.client makes anew where the response before has ended it."""
        asked = self.now()
        try:
            self._kept.request("GET", "/")
            response = self._kept.getresponse()
            response.read()
            self.run.kept.append((asked, response.status, self._kept.sock is None))
        except OSError as error:
            self._kept.close()
            self.run.kept.append((asked, _failed(error), False))

    def be_idle(self) -> None:
        connection = _connection(self.server.port)
        connection.request("GET", "/")
        connection.getresponse().read()
        began = self.now()
        with suppress(OSError):
            connection.sock.recv(1)
        self.run.idle = began, self.now()

    def ask_long(self) -> None:
        began = self.now()
        connection = _connection(self.server.port)
        connection.request("GET", "/report/")
        response = connection.getresponse()
        response.read()
        self.run.long = began, self.now(), response.status


def _connection(port: int) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)


def _status(port: int, path: str) -> int:
    """The status of a response over a connection of its own, or what stands for there being none."""
    connection = _connection(port)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except OSError as error:
        return _failed(error)
    finally:
        connection.close()


def _failed(error: OSError) -> int:
    return 0 if isinstance(error, ConnectionRefusedError) else LOST
