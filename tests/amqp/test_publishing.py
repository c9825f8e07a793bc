"""Publishing: confirmed, or an error that says why not."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from pika import exceptions
from pika.spec import Basic, BasicProperties
from twisted.internet.defer import Deferred, fail, succeed
from twisted.python import threadable

from tests.support.amqp import PikaConnection, Reactor, configuration
from twistserve.amqp import PublishError
from twistserve.amqp import publishing as module
from twistserve.amqp.broker import broker_of
from twistserve.amqp.failures import ConnectionFailed
from twistserve.amqp.publishing import Publisher

SECONDS = 10.0


class Bench:
    """A publisher whose connections the test makes."""

    def __init__(self, *connections: Any) -> None:
        self.reactor = Reactor()
        self.connections = list(connections)
        self.tell_blocked: Any = None
        self.publisher = Publisher(broker_of(configuration(amqp_host="rabbit")), self.connect, SECONDS, self.reactor)

    def connect(self, on_blocked: Any) -> Deferred[Any]:
        self.tell_blocked = on_blocked
        connection = self.connections.pop(0)
        return connection if isinstance(connection, Deferred) else succeed(connection)

    def publish(self) -> list[Any]:
        found: list[Any] = []
        published = self.publisher.publish("shop", "done", b"body", BasicProperties())
        published.addCallbacks(found.append, lambda failure: found.append(failure.value))
        return found


def test_one_connection_for_all() -> None:
    """Opened when the first is published, and confirmed one by one."""
    connection, opening = PikaConnection(), Deferred[Any]()
    bench = Bench(opening)
    first, second = bench.publish(), bench.publish()
    opening.callback(connection)
    assert [call[0] for call in connection.made.calls] == ["confirm_delivery", "basic_publish", "basic_publish"]
    connection.made.published[1].callback(Basic.Ack())
    assert (first, second) == ([], [None])
    connection.made.published[0].callback(Basic.Ack())
    assert first == [None]


def test_nothing_is_published_before_the_channel_confirms() -> None:
    """It would count as confirmed, and the confirms of others would not be found."""
    connection, confirming = PikaConnection(), Deferred[Any]()
    connection.made.answers["confirm_delivery"] = confirming
    bench = Bench(connection)
    first, second = bench.publish(), bench.publish()
    assert connection.made.published == []
    confirming.callback(None)
    assert len(connection.made.published) == 2
    assert (first, second) == ([], [])


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (exceptions.UnroutableError([]), "no queue is bound there"),
        (exceptions.NackError([]), "the broker has refused it"),
        (exceptions.ChannelClosedByBroker(404, "NOT_FOUND - no exchange 'shop'"), "the broker says NOT_FOUND"),
        (exceptions.StreamLostError("EOF"), "EOF"),
    ],
)
def test_what_is_not_confirmed(error: Exception, said: str) -> None:
    """The exchange and the routing key are named."""
    connection = PikaConnection()
    bench = Bench(connection)
    found = bench.publish()
    connection.made.published[0].errback(error)
    assert isinstance(found[0], PublishError)
    assert str(found[0]).startswith("not published to the exchange 'shop' with the routing key 'done': ")
    assert said in str(found[0])


def test_after_a_failure_it_connects_again() -> None:
    """When the next is published."""
    connection = PikaConnection()
    bench = Bench(fail(ConnectionFailed("the broker is gone")), connection)
    assert "the broker is gone" in str(bench.publish()[0])
    bench.publish()
    connection.made.is_open = connection.is_open = False
    again = PikaConnection()
    bench.connections.append(again)
    bench.publish()
    assert len(again.made.published) == 1


def test_a_broker_that_blocks_publishers(caplog: pytest.LogCaptureFixture) -> None:
    """The log says so at once, the error when the time is up; what it has not read is never published."""
    caplog.set_level("INFO")
    connection = PikaConnection()
    bench = Bench(connection)
    found = bench.publish()
    bench.tell_blocked("low on memory")
    assert "blocks publishers: low on memory; what handlers publish waits for 10 s (--publish-timeout)" in caplog.text
    bench.reactor.advance(SECONDS)
    assert "within the 10 s of --publish-timeout: the broker blocks publishers (low on memory)" in str(found[0])
    assert connection.told == ["abort"]
    bench.tell_blocked(None)
    assert "takes what is published again" in caplog.text


def test_a_broker_that_is_slow() -> None:
    """Others may wait on the same connection: it stays."""
    connection = PikaConnection()
    bench = Bench(connection)
    found = bench.publish()
    bench.reactor.advance(SECONDS)
    assert isinstance(found[0], PublishError)
    assert connection.told == []


def test_one_that_gives_up_waiting_for_the_connection() -> None:
    """The others wait on."""
    opening = Deferred[Any]()
    bench = Bench(opening)
    first = bench.publish()
    bench.reactor.advance(SECONDS / 2)
    second = bench.publish()
    bench.reactor.advance(SECONDS / 2)
    assert isinstance(first[0], PublishError)
    connection = PikaConnection()
    opening.callback(connection)
    connection.made.published[0].callback(Basic.Ack())
    assert second == [None]


def test_other_errors_travel() -> None:
    """They are nobody's fault but ours."""
    connection = PikaConnection()
    bench = Bench(connection)
    found = bench.publish()
    connection.made.published[0].errback(ZeroDivisionError())
    assert isinstance(found[0], ZeroDivisionError)


def test_from_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits for the confirm; and gives up when the reactor does not answer. The reactor's own thread may not."""
    bench = Bench(fail(ConnectionFailed("gone")))
    with pytest.raises(PublishError, match="gone"):
        bench.publisher.publish_from_thread("", "q", b"", BasicProperties())
    monkeypatch.setattr(module, "MARGIN", -SECONDS)
    monkeypatch.setattr(bench.reactor, "callFromThread", lambda *_: None)
    with pytest.raises(PublishError, match="the reactor has ended"):
        bench.publisher.publish_from_thread("", "q", b"", BasicProperties())
    monkeypatch.setattr(threadable, "ioThread", threading.get_ident())
    with pytest.raises(RuntimeError, match="the reactor's thread must not"):
        bench.publisher.publish_from_thread("", "q", b"", BasicProperties())


def test_closing() -> None:
    """With a connection or without."""
    bench = Bench(PikaConnection())
    closed: list[Any] = []
    bench.publisher.close().addCallback(closed.append)
    connection = bench.connections[0]
    bench.publish()
    bench.publisher.close().addCallback(closed.append)
    assert (closed, connection.told) == ([None, None], ["close"])
