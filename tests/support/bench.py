"""Deadlines of requests on a clock, with an application that notes what it is told of them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from tests.support.functional.harness import wait_for
from tests.support.http1 import Connection, Lab, get
from twistserve.http.deadlines import Deadlines
from twistserve.threads.pool import RequestThreadPool
from twistserve.threads.reactor_queue import ReactorQueue
from twistserve.wsgi.environ import EnvironMaker
from twistserve.wsgi.forwarded import TrustedPeers
from twistserve.wsgi.handler import DjangoHandler


class Bench:
    """A site whose requests go through a WSGI application on `threads` threads, with a deadline of two seconds if any.

    What threads hand to the reactor is done when `deliver` is called.
    """

    def __init__(self, application: Callable[..., Any], threads: int = 1, deadlines: bool = True) -> None:
        self.calls: list[Callable[[], object]] = []
        self.pool = RequestThreadPool(threads)
        lab = Lab()
        self.clock = lab.clock
        self.deadlines = Deadlines(2, self.clock) if deadlines else None
        environs = EnvironMaker(TrustedPeers(()))
        returns = ReactorQueue(self.calls.append)
        lab.site.handler = DjangoHandler(application, self.pool, returns, environs, self.deadlines)
        self.site = lab.site
        self.connect = lab.connect

    def deliver(self) -> None:
        """What the reactor does between two events."""
        while self.calls:
            self.calls.pop(0)()

    def ask(self, path: bytes = b"/") -> Connection:
        connection = self.connect()
        connection.feed(get(path))
        return connection

    def wait_for_threads(self) -> None:
        wait_for(lambda: not (self.pool.snapshot().busy or self.pool.snapshot().queued), "the threads to be idle")
        self.deliver()


class Application:
    """Notes the paths it is called with, and does not respond before `go_on` is set."""

    def __init__(self) -> None:
        self.called: list[str] = []
        self.begun, self.go_on = threading.Event(), threading.Event()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        self.called.append(environ["PATH_INFO"])
        self.begun.set()
        assert self.go_on.wait(30)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [environ["PATH_INFO"].encode()]
