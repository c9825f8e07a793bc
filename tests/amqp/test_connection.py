"""Connections, by pika's own frames in place of a broker."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
from pika import frame, spec
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectError, ConnectionDone
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.python.failure import Failure

from tests.support.amqp import Reactor, configuration
from twistserve.amqp import connection as module
from twistserve.amqp.broker import CONNECT, Broker, broker_of
from twistserve.amqp.connection import connect
from twistserve.amqp.failures import ConnectionFailed

CAPABILITIES = {"capabilities": {"authentication_failure_close": True, "connection.blocked": True}}


class Transport(StringTransportWithDisconnection):
    """Notes that it was aborted."""

    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True
        if self.connected:
            self.loseConnection()


class Bench:
    """Connects to a broker that is played by the test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: Exception | None = None) -> None:
        self.reactor = Reactor()
        self.transport = Transport()
        self.error = error
        self.blocked: list[str | None] = []
        self.found: list[Any] = []
        monkeypatch.setattr(Broker, "endpoint", lambda *_: SimpleNamespace(connect=self.connect))
        broker = broker_of(configuration(amqp_host="rabbit"))
        connect(broker, self.reactor, self.blocked.append).addBoth(self.found.append)

    def connect(self, factory: Any) -> Deferred[Any]:
        if self.error is not None:
            return fail(self.error)
        self.connection = factory.buildProtocol(None)
        self.transport.protocol = self.connection
        self.connection.makeConnection(self.transport)
        connected: Deferred[Any] = Deferred()
        connected.callback(self.connection)
        return connected

    def say(self, method: Any) -> None:
        self.connection.dataReceived(frame.Method(0, method).marshal())

    def open(self) -> None:
        self.say(spec.Connection.Start(0, 9, CAPABILITIES, b"PLAIN", b"en_US"))
        self.say(spec.Connection.Tune(2047, 131072, 0))
        self.say(spec.Connection.OpenOk())

    @property
    def failure(self) -> ConnectionFailed:
        [found] = self.found
        assert isinstance(found, Failure)
        assert isinstance(found.value, ConnectionFailed)
        return found.value


def test_a_connection_opens_and_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    """And aborts if the broker does not say goodbye."""
    bench = Bench(monkeypatch)
    assert bench.found == []
    bench.open()
    assert bench.found == [bench.connection]
    closed: list[Any] = []
    bench.connection.close_within(2.0, bench.reactor).addCallback(closed.append)
    assert bench.connection.close() is not None
    assert closed == []
    bench.reactor.advance(2.0)
    assert bench.transport.aborted
    assert len(closed) == 1
    bench.connection.close_within(2.0, bench.reactor).addCallback(closed.append)
    assert len(closed) == 2


def test_what_it_tells_of_blocking(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason, and None when it is over."""
    bench = Bench(monkeypatch)
    bench.open()
    bench.say(spec.Connection.Blocked("low on memory"))
    bench.say(spec.Connection.Unblocked())
    assert bench.blocked == ["low on memory", None]
    bench.transport.loseConnection()


def test_credentials_that_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the broker's reason; waiting does not help."""
    bench = Bench(monkeypatch)
    bench.say(spec.Connection.Start(0, 9, CAPABILITIES, b"PLAIN", b"en_US"))
    bench.say(spec.Connection.Close(403, "ACCESS_REFUSED", 0, 0))
    bench.transport.loseConnection()
    assert str(bench.failure) == "the broker amqp://rabbit:5672 refuses the user or the password: ACCESS_REFUSED"
    assert bench.failure.final


def test_one_that_is_lost_while_it_opens(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that is starting does so: it is tried again."""
    bench = Bench(monkeypatch)
    bench.connection.connectionLost(Failure(ConnectionDone()))
    assert not bench.failure.final


def test_one_that_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """What listens there need not speak AMQP."""
    bench = Bench(monkeypatch)
    bench.reactor.advance(CONNECT)
    assert "has not answered in time" in str(bench.failure)
    assert bench.transport.aborted


def test_one_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """As its endpoint says."""
    assert "cannot be reached" in str(Bench(monkeypatch, ConnectError()).failure)


def test_pika_is_quiet_unless_the_project_has_it_speak(monkeypatch: pytest.MonkeyPatch) -> None:
    """We say what is wrong."""
    logger = logging.getLogger("pika")
    monkeypatch.setattr(logger, "level", logging.NOTSET)
    module._quieten_pika()
    assert logger.level == logging.CRITICAL
    logger.setLevel(logging.INFO)
    module._quieten_pika()
    assert logger.level == logging.INFO
    logger.setLevel(logging.CRITICAL)
