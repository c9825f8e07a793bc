"""Connections to the broker by pika's Twisted adapter. Reactor thread.

Imported when a connection is wanted: the adapter imports the reactor.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from pika.adapters.twisted_connection import TwistedProtocolConnection
from twisted.internet.defer import Deferred, inlineCallbacks, succeed
from twisted.internet.protocol import Factory, connectionDone
from twisted.python.failure import Failure

from twistserve.amqp.broker import CONNECT, Broker
from twistserve.amqp.failures import as_text, failed


class Connection(TwistedProtocolConnection):  # type: ignore[misc]
    """A connection that remembers why it could not be opened, and tells when the broker blocks publishers."""

    def __init__(self, parameters: Any, reactor: Any, on_blocked: Callable[[str | None], None]) -> None:
        super().__init__(parameters, reactor)
        self.reason: BaseException | None = None
        """Why it was closed, if the broker has said so, or why it could not be opened."""
        self._impl.add_on_connection_blocked_callback(lambda _, frame: on_blocked(as_text(frame.method.reason)))
        self._impl.add_on_connection_unblocked_callback(lambda _, frame: on_blocked(None))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It is closed: pika forgets what the broker has said when the transport is closed cleanly after that."""
        self.reason = self._impl._error
        super().connectionLost(reason)

    def _on_connection_failed(self, connection: Any, error: Any = None) -> None:
        self.reason = self.reason or error
        super()._on_connection_failed(connection, error)

    def close(self, *arguments: Any) -> Deferred[Any] | None:
        """Fires when it is closed; None if it is."""
        closed: Deferred[Any] | None = self.closed
        if not self._impl.is_closing:
            super().close(*arguments)
        return closed

    def close_within(self, seconds: float, reactor: Any) -> Deferred[Any]:
        """Fires when it is closed: the broker has that long to say goodbye, and has all that was said before."""
        closed = self.close()
        if closed is None:
            return succeed(None)
        return closed.addTimeout(seconds, reactor).addErrback(lambda failure: self.abort())

    def abort(self) -> None:
        """Close it without a word."""
        if self.transport is not None:
            self.transport.abortConnection()


@inlineCallbacks
def connect(broker: Broker, reactor: Any, on_blocked: Callable[[str | None], None] = lambda reason: None) -> Any:
    """Fires with an open `Connection`, within `CONNECT` seconds. Fails with `ConnectionFailed`, or `StartError`.

    `on_blocked` is called with the reason when the broker takes nothing that is published, and with None when it does
    again.
    """
    _quieten_pika()
    endpoint = broker.endpoint(reactor)
    parameters = broker.parameters()
    factory = Factory.forProtocol(lambda: Connection(parameters, reactor, on_blocked))
    connection: Any = None
    try:
        connection = yield endpoint.connect(factory)
        if connection.ready is not None:
            ready: Deferred[Any] = connection.ready
            yield ready.addTimeout(CONNECT, reactor)
        if not connection.is_open:
            raise ConnectionError("the connection was lost")
    except Exception as error:
        reason = error if connection is None else connection.reason or error
        if connection is not None:
            connection.abort()
        raise failed(reason, f"the broker {broker}") from error
    return connection


def _quieten_pika() -> None:
    """Leave it to us to say what is wrong, unless the project has set the level of pika's logger."""
    pika = logging.getLogger("pika")
    if pika.level == logging.NOTSET:
        pika.setLevel(logging.CRITICAL)
