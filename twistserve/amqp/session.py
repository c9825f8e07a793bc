"""A connection on which messages come, from its opening to its loss. Reactor thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.python.failure import Failure

from twistserve.amqp.broker import Broker
from twistserve.amqp.failures import failed
from twistserve.amqp.plan import Plan

CLOSE = 2.0
"""Seconds that the broker has to say goodbye."""

Received = Callable[["Session", Any, Any, bytes], None]
"""Told of each message: the session, its delivery, its properties and its body."""


class Session:
    """A channel that consumes. Delivery tags are its own: after its loss the broker delivers anew what they stood for.

    `lost` is called once, with why, unless `close` was called.
    """

    def __init__(self, connection: Any, channel: Any, on_message: Received, reactor: Any) -> None:
        self._connection = connection
        self._channel = channel
        self._on_message = on_message
        self._reactor = reactor
        self._tag = ""
        self._ended = False
        self.lost: Callable[[BaseException], None] = lambda reason: None
        channel.on_closed.addCallback(self._closed)

    def consume(self, queue: str) -> Deferred[None]:
        """Have the messages of a queue come."""

        def begin(found: tuple[Any, str]) -> None:
            messages, self._tag = found
            self._next(messages)

        consuming: Deferred[Any] = self._channel.basic_consume(queue)
        return consuming.addCallback(begin)

    def _next(self, messages: Any) -> None:
        messages.get().addCallbacks(self._received, self._stopped, callbackArgs=(messages,))

    def _received(self, received: Any, messages: Any) -> None:
        _, delivery, properties, body = received
        self._on_message(self, delivery, properties, body)
        self._next(messages)

    def _stopped(self, failure: Failure) -> None:
        """The broker has cancelled the consumer, or we have, or the channel is closed."""
        if self._tag:
            self._closed(failure.value)
            self._connection.abort()

    def _closed(self, reason: Any) -> None:
        if not self._ended:
            self._ended = True
            self._connection.close()
            self.lost(self._connection.reason or reason)

    @property
    def is_open(self) -> bool:
        """Whether what is acknowledged reaches the broker."""
        return not self._ended and bool(self._channel.is_open)

    def acknowledge(self, tag: int) -> bool:
        """Say that a message was handled; False if the session is lost."""
        if self.is_open:
            self._channel.basic_ack(tag)
            return True
        return False

    def reject(self, tag: int, requeue: bool) -> bool:
        """Give a message back to the queue, or to the dead-letter exchange if there is one; False as above."""
        if self.is_open:
            self._channel.basic_nack(tag, requeue=requeue)
            return True
        return False

    def cancel(self) -> None:
        """Have no more messages come; those that are on their way come yet."""
        if self.is_open and self._tag:
            tag, self._tag = self._tag, ""
            self._channel.basic_cancel(tag).addErrback(lambda failure: None)

    def close(self) -> Deferred[Any]:
        """Fires when the broker has what we said and the connection is closed, within `CLOSE` seconds."""
        self._ended = True
        closed: Deferred[Any] = self._connection.close_within(CLOSE, self._reactor)
        return closed


@inlineCallbacks
def open_session(broker: Broker, plan: Plan, on_message: Received, reactor: Any) -> Any:
    """Fires with a `Session` that consumes. Fails with `ConnectionFailed`, or `StartError`."""
    from twistserve.amqp.connection import connect

    connection = yield connect(broker, reactor)
    try:
        channel = yield connection.channel()
        session = Session(connection, channel, on_message, reactor)
        yield plan.declare(channel)
        yield session.consume(plan.queue)
    except Exception as error:
        connection.abort()
        raise failed(error, f"the broker {broker}") from error
    return session
