"""Publishes messages and waits for the broker's confirms, on a connection of its own.

The broker that blocks publishers stops reading from their connections: what is acknowledged must not wait behind that.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as OutOfTime
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, inlineCallbacks, succeed
from twisted.internet.defer import TimeoutError as TooLate
from twisted.python.failure import Failure
from twisted.python.threadable import isInIOThread

from twistserve.amqp.broker import CONNECT, Broker
from twistserve.amqp.failures import ConnectionFailed
from twistserve.amqp.session import CLOSE
from twistserve.errors import StartError
from twistserve.logs import get_logger

logger = get_logger(__name__)

MARGIN = 5.0
"""Seconds more that a thread waits: the reactor may be busy."""

OnBlocked = Callable[[str | None], None]
Connect = Callable[[OnBlocked], Deferred[Any]]
"""Opens a connection of pika's; what it is given is told when the broker blocks publishers."""


class PublishError(Exception):
    """A message was not published for certain: the broker has not confirmed it, or has no queue for it."""


class Publisher:
    """Connects when something is published for the first time. `seconds` are for the connection and the confirm."""

    def __init__(self, broker: Broker, connect: Connect, seconds: float, reactor: Any) -> None:
        self._broker = broker
        self._connect = connect
        self._seconds = seconds
        self._reactor = reactor
        self._connection: Any = None
        self._channel: Any = None
        self._waiting: list[Deferred[Any]] = []
        """Callers that wait for the channel that is being opened."""
        self._opening = False
        self._blocked: str | None = None

    def publish_from_thread(self, exchange: str, routing_key: str, body: bytes, properties: Any) -> None:
        """Publish, and wait for the confirm. Any thread but the reactor's. Raises `PublishError`."""
        if isInIOThread():
            raise RuntimeError("publishing waits for the broker, which the reactor's thread must not")
        future: Future[None] = Future()

        def begin() -> None:
            published = self.publish(exchange, routing_key, body, properties)
            published.addCallbacks(future.set_result, lambda failure: future.set_exception(failure.value))

        self._reactor.callFromThread(begin)
        try:
            future.result(self._seconds + MARGIN)
        except OutOfTime:
            raise PublishError("the reactor has ended") from None

    def publish(self, exchange: str, routing_key: str, body: bytes, properties: Any) -> Deferred[None]:
        """Fires when the broker has confirmed the message. Fails with `PublishError`. Reactor thread."""
        where = f"the exchange {exchange!r} with the routing key {routing_key!r}"
        published: Deferred[Any] = self._publish(exchange, routing_key, body, properties)
        published.addTimeout(self._seconds, self._reactor)
        return published.addCallbacks(lambda result: None, lambda failure: self._explain(failure, where))

    @inlineCallbacks
    def _publish(self, exchange: str, routing_key: str, body: bytes, properties: Any) -> Any:
        channel = self._channel if self._channel is not None and self._channel.is_open else (yield self._opened())
        # mandatory: the broker tells when it has no queue for it, and would drop it otherwise.
        yield channel.basic_publish(exchange, routing_key, body, properties, mandatory=True)

    def _explain(self, failure: Failure, where: str) -> Failure:
        from pika import exceptions

        error = failure.value
        text = str(error) or type(error).__name__
        if isinstance(error, (TooLate, CancelledError)):
            text = f"no confirm within the {self._seconds:g} s of --publish-timeout"
            if self._blocked is not None:
                text += f": the broker blocks publishers ({self._blocked})"
                # What it has not read must not be published later: the handler is told that it was not.
                self._connection.abort()
        elif isinstance(error, exceptions.UnroutableError):
            text = "no queue is bound there"
        elif isinstance(error, exceptions.NackError):
            text = "the broker has refused it: its queue is full, perhaps"
        elif isinstance(error, exceptions.ChannelClosedByBroker):
            text = f"the broker says {error.reply_text}"
        elif not isinstance(error, (ConnectionFailed, StartError, exceptions.AMQPError)):
            return failure
        return Failure(PublishError(f"not published to {where}: {text}"))

    def _opened(self) -> Deferred[Any]:
        """A channel that confirms; the same for all who ask while it is opened."""
        waiter: Deferred[Any] = Deferred(self._waiting.remove)
        self._waiting.append(waiter)
        if not self._opening:
            self._opening = True
            opened: Deferred[Any] = self._open()
            opened.addTimeout(2 * CONNECT, self._reactor).addBoth(self._tell)
        return waiter

    def _tell(self, result: Any) -> None:
        self._opening = False
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(result)

    @inlineCallbacks
    def _open(self) -> Any:
        if self._connection is None or not self._connection.is_open:
            self._blocked = None
            self._connection = yield self._connect(self._note_blocked)
        channel = yield self._connection.channel()
        yield channel.confirm_delivery()
        # Not before: pika takes what is published until then for confirmed, and counts the others wrong.
        self._channel = channel
        return channel

    def _note_blocked(self, reason: str | None) -> None:
        self._blocked = reason
        if reason is not None:
            logger.warning(
                "the broker %s blocks publishers: %s; what handlers publish waits for %g s (--publish-timeout)",
                self._broker,
                reason,
                self._seconds,
            )
        else:
            logger.info("the broker %s takes what is published again", self._broker)

    def close(self) -> Deferred[Any]:
        """Fires when the connection is closed, if there is one; callers that wait get an error."""
        if self._connection is None:
            return succeed(None)
        closed: Deferred[Any] = self._connection.close_within(CLOSE, self._reactor)
        return closed
