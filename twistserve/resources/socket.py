"""A connection that has become a WebSocket: bounds on what waits, pings, and a close frame in the drain.

Reactor thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from twisted.internet.interfaces import IConsumer, IPushProducer
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from twistserve.http.access_log import escape
from twistserve.http.connections import Unanswered
from twistserve.http.request import Request
from twistserve.logs import get_logger
from twistserve.logs.containment import contain
from twistserve.logs.context import serving
from twistserve.metrics import catalogue as metrics
from twistserve.net.transport import Server, untaken_by_peer
from twistserve.net.websocket_wire import MessageTooBig

logger = get_logger(__name__)

MOST_WAITING = 1 << 20
"""Bytes that wait for a client that reads slowly: a few thousand short messages. One that is so far behind is better
off with a new connection."""
MOST_OF_A_MESSAGE = 16 << 20
"""Bytes of a message that comes, if --max-body-size is not less: unlike a body it is kept in memory."""
SOON = 0.01
"""Seconds to the drain of a WebSocket that begins in one."""
CLOSING = 5.0
"""Seconds that a client has for taking the close frame and closing."""
GOING_AWAY, TOO_BIG, FAILED = 1001, 1009, 1011
"""Codes of close frames (RFC 6455 section 7.4)."""


@implementer(IConsumer, IPushProducer)
class Socket(Protocol):
    """The transport of `wire`, which speaks the protocol; a connection of the site.

    A client that has been silent for half of --keep-alive-timeout is sent a ping, and one that is silent on is dead.
    """

    transport: Any
    deadline = 0.0
    """When `timed_out` is to be called, in reactor seconds."""

    def __init__(self, wire: Any, site: Any, request: Request, peer: Any) -> None:
        self._wire = wire
        self._site = site
        self._request = request
        self._peer = peer
        self.most = min(site.limits.max_body, MOST_OF_A_MESSAGE)
        self._before_opening: list[bytes] | None = []
        """What was written before the response to the handshake was."""
        self._ends_at_once = False
        """Whether the protocol has closed before it began."""
        self._reason = "closed"
        self._heard_at = 0.0
        self._closing = self._full = False
        self._waiting = self._untaken = 0
        self._producer: Any = None

    # The connection

    def connectionMade(self) -> None:
        """Go on where HTTP has ended."""
        transport = self.transport
        eager = isinstance(transport, Server) and not getattr(transport, "TLS", False)
        self._send = transport.send if eager else transport.writeSequence
        self._site.upgraded.add(self)
        self._hear()
        transport.registerProducer(self, True)

    def open(self, response: bytes) -> None:
        """Respond to the handshake."""
        before, self._before_opening = self._before_opening or [], None
        self._send((response, *before))
        if self._ends_at_once:
            self.loseConnection()
        elif self._site.connections.draining:
            # Soon, for the protocol has still to be told that it has a WebSocket.
            self.deadline = self._site.clock() + SOON

    def dataReceived(self, data: bytes) -> None:
        """Frames have come."""
        self._heard_at = self._site.clock()
        if self._closing:
            return
        try:
            self._wire.dataReceived(data)
        except MessageTooBig:
            self._log("is closed: a message has more than %d bytes", self.most)
            self.close(TOO_BIG, "too_big")
        except Exception:
            if self._has_ended():
                # What had come before the end cannot be responded to any more.
                logger.debug("the WebSocket %s failed at its end", escape(self._request.target), exc_info=True)
                return
            with serving(self._request):
                logger.exception("the WebSocket %s failed", escape(self._request.target))
            self.close(FAILED, "failed")

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        """Tell the protocol, and leave the site."""
        self._closing = True
        self._site.upgraded.discard(self)
        contain(metrics.websocket_closes.labels(self._reason).inc)
        try:
            self._wire.connectionLost(reason)
        except Exception:
            with serving(self._request):
                logger.exception("the WebSocket %s failed when it was lost", escape(self._request.target))
        finally:
            self._site.connections.left(self)

    def timed_out(self) -> None:
        """The deadline has passed."""
        if self._closing:
            self.abortConnection()
            return
        if self._site.connections.draining:
            self.drain()
            return
        now, kept = self._site.clock(), self._site.limits.keep_alive_timeout
        silent = now - self._heard_at
        if self._full:
            before, self._untaken = self._untaken, untaken_by_peer(self.transport)
            if self._untaken == before:
                self._break_off("too_slow", "has taken nothing for %g s", kept)
            else:
                self.deadline = now + kept
        elif silent >= kept:
            self._break_off("silent", "has been silent for %g s, and has not answered a ping", silent)
        elif silent >= kept / 2:
            self.deadline = self._heard_at + kept
            self._wire.ping()
        else:
            self.deadline = self._heard_at + kept / 2

    def announce(self) -> None:
        """There is no way to; the drain follows."""

    def drain(self) -> None:
        """Tell the client that the service goes away; it may come back at once, to another."""
        self.close(GOING_AWAY, "going_away")

    def unanswered(self) -> Iterator[Unanswered]:
        """No requests."""
        return iter(())

    def close(self, code: int, reason: str) -> None:
        """Send a close frame, and end; `reason` is the metric's label."""
        if self._closing:
            return
        self._reason = reason
        if self._before_opening is not None:
            self.abortConnection()
            return
        try:
            self._wire.loseConnection(code)
        except Exception:
            self.abortConnection()

    def _has_ended(self) -> bool:
        return self._closing

    def _hear(self) -> None:
        self._heard_at = self._site.clock()
        self.deadline = self._heard_at + self._site.limits.keep_alive_timeout / 2

    def _break_off(self, reason: str, text: str, value: float) -> None:
        self._log(f"is closed: its client {text}", value)
        self._reason = reason
        self.abortConnection()

    def _log(self, text: str, *values: object) -> None:
        with serving(self._request):
            logger.warning(
                f"the WebSocket %s of %s {text}", escape(self._request.target), self._request.remote, *values
            )

    # The transport of the wire

    def write(self, data: bytes) -> None:
        """Send frames; a client that is too far behind is left."""
        if self._before_opening is not None:
            self._before_opening.append(data)
        elif not self._closing:
            if self._full:
                self._waiting += len(data)
                if self._waiting > MOST_WAITING:
                    self._break_off("too_slow", "reads too slowly: %d bytes wait for it", self._waiting)
                    return
            self._send((data,))

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """The same."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """Close our side when what was written is sent, and wait for the client to close."""
        if self._before_opening is not None:
            self._ends_at_once = True
            return
        if self._closing:
            return
        self._closing = True
        self.deadline = self._site.clock() + CLOSING
        if self._full:
            # For the client's end.
            self.transport.resumeProducing()
        self.transport.unregisterProducer()
        if hasattr(self.transport, "getPeerCertificate") or not hasattr(self.transport, "loseWriteConnection"):
            self.transport.loseConnection()
        else:
            # Closed with input unread, the kernel resets the connection, and the close frame may be lost.
            self.transport.loseWriteConnection()

    def abortConnection(self) -> None:
        """End now."""
        self._closing = True
        self.transport.abortConnection()

    def getPeer(self) -> Any:
        """The client's address."""
        return self._peer

    def getHost(self) -> Any:
        """Our address."""
        return self.transport.getHost()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Let a producer that pushes write as the client reads."""
        if not streaming:
            raise ValueError("a WebSocket takes producers that push")
        self._producer = producer
        if self._full:
            producer.pauseProducing()

    def unregisterProducer(self) -> None:
        """The producer is done."""
        self._producer = None

    # The producer for the transport

    def pauseProducing(self) -> None:
        """The client reads more slowly than is written: what it sends may wait too, for it may ask for more.

        The transport says so with each further write.
        """
        if self._full:
            return
        self._full, self._waiting = True, 0
        self._untaken = untaken_by_peer(self.transport)
        self.deadline = self._site.clock() + self._site.limits.keep_alive_timeout
        self.transport.pauseProducing()
        if self._producer is not None:
            self._producer.pauseProducing()

    def resumeProducing(self) -> None:
        """It has read."""
        self._full = False
        self._hear()
        self.transport.resumeProducing()
        if self._producer is not None:
            self._producer.resumeProducing()

    def stopProducing(self) -> None:
        """The connection is gone; `connectionLost` follows, unless this raises."""
        if self._producer is not None:
            try:
                self._producer.stopProducing()
            except Exception:
                with serving(self._request):
                    logger.exception("a producer of the WebSocket %s failed", escape(self._request.target))
