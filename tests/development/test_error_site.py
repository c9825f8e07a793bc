"""The parent's own responses: when it has the sockets, and when it lets go of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from tests.support.composition import configuration
from tests.support.http1 import Transport, get
from twistserve.development.error_page import WAITS
from twistserve.development.error_site import ErrorSite
from twistserve.errors import StartError


class Reactor(Clock):
    """A Clock that has no turns to shorten."""

    before_waiting = None


class Listening:
    """A listener that notes whom it accepts for, and how it is closed."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.names: list[Any] = []
        self.site: Any = None
        self.closed: list[bool] = []

    def open(self, factory: Any) -> Deferred[None]:
        self.site = factory
        factory.doStart()
        return succeed(None) if self.error is None else fail(self.error)

    def pause(self, paused: bool) -> None:
        raise AssertionError("nothing is paused here")

    def close(self, last: bool = True) -> Deferred[Any]:
        self.closed.append(last)
        self.site.doStop()
        return succeed(None)

    def connect(self) -> Any:
        """A connection and what it writes to."""
        connection = self.site.buildProtocol(None)
        transport = Transport()
        connection.makeConnection(transport)
        return connection, transport

    def ask(self, request: bytes) -> bytes:
        connection, transport = self.connect()
        connection.dataReceived(request)
        return bytes(transport.value())


class Bench:
    """An error site, and the listeners that it has had so far."""

    def __init__(self) -> None:
        self.reactor = Reactor()
        self.web: list[Listening] = []
        self.probes: list[Listening] = []
        self.error: Exception | None = None
        self.raises: Exception | None = None
        self.site = ErrorSite(configuration(), self.maker(self.web), self.maker(self.probes), self.reactor)

    def maker(self, made: list[Listening]) -> Callable[[], list[Any]]:
        def make() -> list[Any]:
            if self.raises is not None:
                raise self.raises
            made.append(Listening(self.error))
            return [made[-1]]

        return make


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_it_responds_to_requests_and_probes(bench: Bench) -> None:
    """By the error, each on its own sockets."""
    bench.site.open("no module named 'shop'", "Traceback: x")
    response = bench.web[0].ask(get(b"/any"))
    assert response.startswith(b"HTTP/1.1 500 ")
    assert b"no module named 'shop'" in response
    assert bench.probes[0].ask(get(b"/ready")).startswith(b"HTTP/1.1 503 ")
    assert bench.probes[0].ask(get(b"/alive")).startswith(b"HTTP/1.1 200 ")


def test_it_leaves_what_comes_to_others(bench: Bench) -> None:
    """It is not the last that accepts, connections that are quiet are closed, and nothing of it goes on."""
    bench.site.open("no", "")
    connection, transport = bench.web[0].connect()
    connection.dataReceived(get(b"/"))
    assert not transport.disconnecting
    bench.site.close()
    assert (bench.web[0].closed, bench.probes[0].closed) == ([False], [False])
    bench.reactor.pump([0.1] * 100)
    assert transport.disconnecting
    connection.connectionLost(Failure(ConnectionDone()))
    bench.reactor.pump([0.1] * 100)
    assert bench.reactor.getDelayedCalls() == []


def test_pages_that_wait_are_told_first(bench: Bench) -> None:
    """Their connections end with that, so that they come back to the process that serves."""
    bench.site.open("no", "")
    page = bench.web[0].ask(get(b"/", b"Accept: text/html"))
    waits = re.search(re.escape(WAITS.encode()) + rb"\w+", page)
    assert waits is not None
    connection, transport = bench.web[0].connect()
    connection.dataReceived(get(b"/", b"Accept: " + waits[0], method=b"HEAD"))
    assert transport.value() == b""
    bench.site.close()
    assert transport.value().startswith(b"HTTP/1.1 200 ")
    assert b"Connection: close" in transport.value()
    assert transport.disconnecting


def test_each_error_has_sockets_of_its_own(bench: Bench) -> None:
    """What was closed is not opened again; closing what is closed does nothing."""
    bench.site.open("one", "")
    bench.site.close()
    bench.site.open("two", "")
    assert b"two" in bench.web[1].ask(get(b"/"))
    bench.site.close()
    bench.site.close()
    assert [each.closed for each in (*bench.web, *bench.probes)] == [[False]] * 4


def test_sockets_that_cannot_be_opened(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """A line says so, and the parent waits for a change all the same."""
    bench.error = StartError("--endpoint: 'tcp:80' cannot be opened")
    bench.site.open("no", "")
    assert "--endpoint: 'tcp:80' cannot be opened" in caplog.text
    bench.site.close()


def test_sockets_that_cannot_be_used(bench: Bench) -> None:
    """A certificate that is gone, say: nobody responds, until the project starts."""
    bench.raises = StartError("--endpoint: no such file")
    bench.site.open("no", "")
    bench.site.close()
    bench.raises = None
    bench.site.open("no", "")
    assert bench.web[0].ask(get(b"/")).startswith(b"HTTP/1.1 500 ")
