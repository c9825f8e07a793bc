"""POSTs over a fake transport: no cookie, no redirect, no name server that could hold anything up."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol
from twisted.internet.testing import MemoryReactorClock, StringTransportWithDisconnection
from twisted.python.failure import Failure

from twistserve.webhooks import client as posting
from twistserve.webhooks.client import poster

URL = "http://hooks.example:8080/events?token=1"


class Reactor(MemoryReactorClock):
    """A reactor without a network, whose threads' calls are run by the test."""

    def __init__(self) -> None:
        super().__init__()
        self.called: queue.Queue[Callable[[], None]] = queue.Queue()

    def callFromThread(self, function: Any, *args: Any) -> None:
        self.called.put(lambda: function(*args))


class Wire:
    """A POST, from the look-up of the host to the connection's end."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *addresses: tuple[int, tuple[Any, ...]]) -> None:
        self.asked: list[tuple[str, int]] = []
        self.threads: list[bool] = []

        def getaddrinfo(host: str, port: int, **kwargs: Any) -> list[Any]:
            self.asked.append((host, port))
            self.threads.append(threading.current_thread().daemon)
            if not addresses:
                raise socket.gaierror("no such host")
            return [(family, socket.SOCK_STREAM, 6, "", address) for family, address in addresses]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        self.reactor = Reactor()
        # What sends a request's body, by turns of the installed reactor.
        turns = task.Cooperator(scheduler=lambda function: self.reactor.callLater(0, function))
        monkeypatch.setattr(task, "_theCooperator", turns)
        self.post: Deferred[int] = poster(self.reactor)(URL, b"{}", {"X-Test": "1"})
        self.reactor.called.get(timeout=30)()

    def connect(self) -> StringTransportWithDisconnection:
        """Accept the connection; returns its other end."""
        host, port, factory, *_ = self.reactor.tcpClients[-1]
        assert (host, port) == ("192.0.2.1", 8080)
        protocol = factory.buildProtocol(None)
        assert isinstance(protocol, Protocol)
        self.protocol = protocol
        self.transport = StringTransportWithDisconnection()
        self.transport.protocol = self.protocol
        self.protocol.makeConnection(self.transport)
        self.reactor.pump([0] * 3)
        return self.transport


FOUR = (socket.AF_INET, ("192.0.2.1", 8080))
SIX = (socket.AF_INET6, ("2001:db8::1", 8080, 0, 0))


def test_a_post_is_complete_when_its_answer_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """It fires with the status at the end of the body, and the connection is closed."""
    wire = Wire(monkeypatch, FOUR)
    transport = wire.connect()
    head, body = transport.value().split(b"\r\n\r\n")
    assert head.startswith(b"POST /events?token=1 HTTP/1.1\r\n")
    assert b"\r\nHost: hooks.example:8080" in head
    assert b"\r\nX-Test: 1" in head
    assert body == b"{}"
    wire.protocol.dataReceived(b"HTTP/1.1 202 Accepted\r\nContent-Length: 4\r\n\r\nta")
    assert not wire.post.called
    wire.protocol.dataReceived(b"ke")
    assert wire.post.result == 202
    assert not transport.connected
    assert wire.asked == [("hooks.example", 8080)]


def test_a_redirect_is_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its status is what the post comes to."""
    wire = Wire(monkeypatch, FOUR)
    wire.connect()
    wire.protocol.dataReceived(b"HTTP/1.1 307 Away\r\nLocation: http://other.example/\r\nContent-Length: 0\r\n\r\n")
    assert wire.post.result == 307
    assert len(wire.reactor.tcpClients) == 1


def test_an_endless_answer_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond a limit the connection is closed; the status counts."""
    wire = Wire(monkeypatch, FOUR)
    transport = wire.connect()
    wire.protocol.dataReceived(b"HTTP/1.1 200 OK\r\n\r\n")
    wire.protocol.dataReceived(b"x" * posting.ANSWER_LIMIT)
    assert not wire.post.called
    wire.protocol.dataReceived(b"x")
    assert wire.post.result == 200
    assert not transport.connected


def test_an_answer_that_breaks_off_has_its_status(monkeypatch: pytest.MonkeyPatch) -> None:
    """The receiver has said that it took the event."""
    wire = Wire(monkeypatch, FOUR)
    wire.connect()
    wire.protocol.dataReceived(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nta")
    wire.protocol.connectionLost(Failure(ConnectionDone()))
    assert wire.post.result == 200


@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nta"])
def test_a_cancelled_post_closes_its_connection(monkeypatch: pytest.MonkeyPatch, begun: bytes) -> None:
    """Before a response, and in the middle of one."""
    wire = Wire(monkeypatch, FOUR)
    transport = wire.connect()
    wire.protocol.dataReceived(begun)
    wire.post.addBoth(lambda result: None)
    wire.post.cancel()
    assert wire.post.called
    assert transport.disconnecting or not transport.connected


def test_an_unknown_host_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host without an address fails the POST; it was looked up on a thread that nobody waits for."""
    wire = Wire(monkeypatch)
    failures: list[Failure] = []
    wire.post.addErrback(failures.append)
    assert "hooks.example" in str(failures[0].value)
    assert wire.threads == [True]


def test_every_address_has_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that does not respond is followed by the next."""
    wire = Wire(monkeypatch, SIX, FOUR)
    assert wire.reactor.tcpClients[0][0] == "2001:db8::1"
    wire.reactor.advance(0.3)
    wire.connect()
    wire.protocol.dataReceived(b"HTTP/1.1 204 Taken\r\n\r\n")
    assert wire.post.result == 204
