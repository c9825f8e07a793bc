"""A session: messages come, what becomes of them is told the broker, and its end is told once."""

from __future__ import annotations

from typing import Any

import pytest
from pika import exceptions
from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from tests.support.amqp import PikaChannel, PikaConnection, Reactor, configuration
from twistserve.amqp import connection as connection_module
from twistserve.amqp.broker import broker_of
from twistserve.amqp.failures import ConnectionFailed
from twistserve.amqp.plan import Plan
from twistserve.amqp.session import Session, open_session

BROKER = broker_of(configuration(amqp_host="rabbit"))


class Bench:
    """A session of a queue."""

    def __init__(self) -> None:
        self.channel = PikaChannel()
        self.connection = PikaConnection(self.channel)
        self.bodies: list[bytes] = []
        self.lost: list[BaseException] = []
        self.session = Session(self.connection, self.channel, self.receive, Reactor())
        self.session.lost = self.lost.append
        self.session.consume("orders")

    def receive(self, session: Session, delivery: Any, properties: Any, body: bytes) -> None:
        assert session is self.session
        self.bodies.append(body)


def test_messages_come_and_are_told_of() -> None:
    """Acknowledged, rejected or requeued."""
    bench = Bench()
    bench.channel.deliver(b"one", 1)
    bench.channel.deliver(b"two", 2)
    assert bench.bodies == [b"one", b"two"]
    assert bench.session.acknowledge(1)
    assert bench.session.reject(2, requeue=True)
    assert bench.channel.calls[1:] == [("basic_ack", 1), ("basic_nack", 2, {"requeue": True})]


def test_its_loss() -> None:
    """Is told once, and nothing can be acknowledged any more."""
    bench = Bench()
    reason = exceptions.ChannelClosedByBroker(406, "PRECONDITION_FAILED")
    bench.channel.close_by(reason)
    assert bench.lost == [reason]
    assert not bench.session.acknowledge(1)
    assert not bench.session.reject(1, requeue=False)
    assert "close" in bench.connection.told
    bench.session.cancel()
    assert [call[0] for call in bench.channel.calls] == ["basic_consume"]


def test_a_consumer_that_the_broker_cancels() -> None:
    """The session is over: the queue is gone."""
    bench = Bench()
    reason = exceptions.ConsumerCancelled()
    bench.channel.queue.errback(Failure(reason))
    assert bench.lost == [reason]
    assert bench.connection.told == ["close", "abort"]


def test_cancelling_and_closing() -> None:
    """Messages on their way come yet; and a close that we ask for is no loss."""
    bench = Bench()
    bench.session.cancel()
    bench.session.cancel()
    assert [call[0] for call in bench.channel.calls] == ["basic_consume", "basic_cancel"]
    bench.channel.deliver(b"late")
    assert bench.bodies == [b"late"]
    bench.channel.queue.errback(Failure(exceptions.ConsumerCancelled()))
    assert bench.session.is_open
    closed: list[Any] = []
    bench.session.close().addCallback(closed.append)
    bench.channel.on_closed.callback(None)
    assert (closed, bench.lost) == ([None], [])


def opened(monkeypatch: pytest.MonkeyPatch, connection: Deferred[Any]) -> Any:
    monkeypatch.setattr(connection_module, "connect", lambda *_: connection)
    found: list[Any] = []
    open_session(BROKER, Plan(queue="orders"), lambda *_: None, Reactor()).addBoth(found.append)
    return found[0]


def test_opening(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connected, declared, consuming."""
    connection = PikaConnection()
    assert isinstance(opened(monkeypatch, succeed(connection)), Session)
    assert [call[0] for call in connection.made.calls] == ["basic_qos", "queue_declare", "basic_consume"]


def test_what_cannot_be_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """No connection; or a queue that is declared differently, and then the connection is closed."""
    problem = ConnectionFailed("gone")
    assert opened(monkeypatch, fail(problem)).value is problem
    connection = PikaConnection()
    connection.made.failing["queue_declare"] = exceptions.ChannelClosedByBroker(406, "PRECONDITION_FAILED - durable")
    failure = opened(monkeypatch, succeed(connection))
    assert "PRECONDITION_FAILED - durable" in str(failure.value)
    assert failure.value.final
    assert connection.told == ["abort"]
