"""Connections that clients keep, while what they are connected to ends: no request is lost.

The clients look before they send, as connection pools do: one whose other end has closed is not used.
"""

from __future__ import annotations

import http.client
import os
import random
import select
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.functional.harness import PATIENCE, Serve, Server, free_port, wait_for
from tests.support.functional.workers import wait_until_ready, workers

REQUESTS = int(os.environ.get("KEPT_CONNECTIONS_REQUESTS", "3000"))
"""Of each test; 20,000 take some 20 seconds each."""
CLIENTS = 16
VIEWS = """
from django.http import HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

@csrf_exempt
def post(request):
    return HttpResponse(request.body)

urlpatterns = [path("", post)]
"""


class CarefulClients:
    """POST on connections that they keep, until they are told to stop; `losses` is what went wrong."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.responses = 0
        self.kept = 0
        """Responses on connections that had one before."""
        self.losses: list[str] = []
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(CLIENTS)]

    def __enter__(self) -> CarefulClients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(PATIENCE)

    def wait_for(self, responses: int) -> None:
        """Wait for so many more."""
        before = self.responses
        wait_for(lambda: self.responses - before >= responses or self.losses, f"{responses} responses", 300)

    def _run(self, number: int) -> None:
        connection: http.client.HTTPConnection | None = None
        rest = random.Random(number)
        asked = 0
        while not self._stopping.is_set():
            if connection is not None and _has_ended(connection):
                connection.close()
                connection = None
            if connection is None:
                connection, asked = self._connect(), 0
                if connection is None:
                    continue
            try:
                connection.request("POST", "/", body=b"body")
                response = connection.getresponse()
                assert (response.status, response.read()) == (200, b"body")
            except (OSError, http.client.HTTPException, AssertionError) as error:
                self.losses.append(f"request {asked} of its connection: {error!r}")
                break
            with self._lock:
                self.responses += 1
                self.kept += asked > 0
            asked += 1
            if response.will_close:
                connection.close()
                connection = None
            # Now and then a client has nothing to ask for a while.
            time.sleep(rest.choice((0, 0, 0, 0, 0.001, 0.01, 0.1 * rest.random())))
        if connection is not None:
            connection.close()

    def _connect(self) -> http.client.HTTPConnection | None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.connect()
        except OSError:
            time.sleep(0.02)
            return None
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection


def _has_ended(connection: http.client.HTTPConnection) -> bool:
    """Whether the server has closed the connection, as far as the client can see now."""
    return connection.sock is None or bool(select.select([connection.sock], [], [], 0)[0])


@pytest.fixture
def launch(serve: Serve, project: Callable[..., Path]) -> Callable[..., Server]:
    directory = project(views=VIEWS)

    def launcher(*args: str, port: int) -> Server:
        given = ("--no-access-log", "--port", str(port), *args)
        return serve(*given, cwd=directory, settings="site_settings", port=port)

    return launcher


@pytest.mark.parametrize("delay", ["0", "1"])
def test_restarts(launch: Callable[..., Server], delay: str) -> None:
    """One process after another: those that end take no request that they do not respond to."""
    port = free_port()
    server = launch("--drain-delay", delay, port=port)
    with CarefulClients(port) as clients:
        for _ in range(6):
            clients.wait_for(REQUESTS // 7)
            server.signal(signal.SIGTERM)
            assert server.wait() == 0
            server = launch("--drain-delay", delay, port=port)
        clients.wait_for(REQUESTS // 7)
    assert clients.losses == []
    # During the delay each connection has one response.
    assert clients.kept > REQUESTS / 2


def test_workers_that_are_replaced(launch: Callable[..., Server]) -> None:
    """After so many requests each, which is often here."""
    port = free_port()
    server = wait_until_ready(launch("--workers", "2", "--max-lifetime", "300", port=port))
    before = set(workers(server))
    with CarefulClients(port) as clients:
        clients.wait_for(REQUESTS)
        wait_for(lambda: clients.losses or not before & set(workers(server)), "all workers to be others")
    assert clients.losses == []
    assert clients.kept > REQUESTS / 2


def test_workers_that_are_reloaded(launch: Callable[..., Server]) -> None:
    """One by one, again and again."""
    port = free_port()
    server = wait_until_ready(launch("--workers", "2", port=port))
    with CarefulClients(port) as clients:
        for _ in range(6):
            clients.wait_for(REQUESTS // 6)
            before = set(workers(server))
            server.signal(signal.SIGHUP)
            wait_for(lambda before=before: not before & set(workers(server)), "new workers")  # type: ignore[misc]
    assert clients.losses == []
    assert clients.kept > REQUESTS / 2
