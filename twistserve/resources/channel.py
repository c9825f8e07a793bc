"""Connects our request to the twisted.web request that a mounted resource is given. Reactor thread."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from twisted.internet import error as errors
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.server import Site

from twistserve.http.access_log import escape
from twistserve.http.deadlines import Deadline, Deadlines
from twistserve.http.request import Request
from twistserve.http.response import Field, Response, content_length, error
from twistserve.logs import get_logger
from twistserve.logs.containment import contain
from twistserve.logs.context import serving
from twistserve.metrics import catalogue as metrics
from twistserve.net.websocket_wire import UpgradingChannel, bound_messages
from twistserve.resources.flow import Flow
from twistserve.resources.socket import Socket
from twistserve.wsgi.response_head import checked_field, checked_status

logger = get_logger(__name__)


NO_TRANSPORT = (
    "a mounted resource cannot take over the transport, of which it wants %r: respond by the request, and make"
    " WebSockets with twisted.web.websocket"
)


class UpgradeError(Exception):
    """The connection cannot become a WebSocket."""


class Transport:
    """What a resource finds behind its request's channel: it may begin a WebSocket, as twisted.web.websocket does."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(NO_TRANSPORT % name)

    def write(self, data: bytes) -> None:
        """Send the response to the handshake of a WebSocket."""
        if self._channel.socket is None:
            raise RuntimeError(NO_TRANSPORT % "write")
        self._channel.socket.open(data)

    def getPeer(self) -> Any:
        """The client's address."""
        return self._channel.getPeer()

    def getHost(self) -> Any:
        """Our address."""
        return self._channel.getHost()

    def loseConnection(self) -> None:
        """End the connection."""
        self._channel.loseConnection()

    abortConnection = loseConnection


class Channel(UpgradingChannel):
    """What a request of twisted.web takes for its channel; our request's pending, and its response's producer.

    `environ` is what Django would get: who the client is, behind trusted proxies. --request-timeout bounds the time
    until the response begins; from then on the client's reading does, as for files.
    """

    factory = None
    """Twisted's access log, which is ours."""
    deadline = Deadline(time.time)
    """Infinitely far, unless requests have one."""

    def __init__(
        self, path: str, request: Request, environ: dict[str, Any], site: Site, deadlines: Deadlines | None, flow: Flow
    ) -> None:
        self.path = path
        self.request = request
        self.site = site
        self.mounted: Any = None
        """The request of twisted.web, once there is one."""
        self._environ = environ
        self._connection = request.connection
        self.transport = Transport(self)
        self._deadlines = deadlines
        self._flow = flow
        self._status, self._line = 0, b""
        self._fields: list[Field] = []
        self._length: int | None = None
        self._bodiless = False
        self._first: list[bytes] = []
        """What was written before the response began."""
        self._sent = 0
        self._begun = self._over = False
        self.socket: Socket | None = None
        """What the connection has become."""

    @property
    def line(self) -> str:
        """The request line, for people."""
        return f"{escape(self.request.method)} {escape(self.request.target)}"

    def begin(self, mounted: Any) -> None:
        """Wait for the response to `mounted`."""
        self.mounted = mounted
        self.request.pending = self
        if self._deadlines is not None:
            self._deadlines.begin(self)

    # Pending

    def is_waiting(self) -> bool:
        """Until the response begins: a client that has ended its side, and may have left, is waited for a while."""
        return not self._begun

    def where(self) -> str:
        """Where it stands, in one line."""
        return f"the resource at {self.path} {'is sending its' if self._begun else 'has not begun a'} response"

    def given_up(self) -> None:
        """The client has left, or the service ends: `notifyFinish` fails."""
        if not self._over:
            self._end()
            self._flow.stopProducing()
            self.mounted.connectionLost(Failure(errors.ConnectionLost("the connection is gone")))

    def timed_out(self) -> None:
        """The deadline has passed: respond in the resource's place."""
        if self._over or self._begun:
            return
        contain(metrics.request_timeouts.inc)
        with serving(self.request):
            logger.error(
                "request timed out after %.1f s: %s; %s",
                time.perf_counter() - self.request.received_at,
                self.line,
                self.where(),
            )
        self._end()
        self._flow.stopProducing()
        self._connection.respond(error(504, b"The resource did not answer in time.\n"))
        self.mounted.connectionLost(Failure(errors.TimeoutError()))

    # What twisted.web asks of a channel

    def getPeer(self) -> Any:
        """The client's address, as a trusted proxy has forwarded it."""
        peer, address = self._connection.getPeer(), self._environ["REMOTE_ADDR"]
        if not address:
            return peer
        kind = IPv6Address if ":" in address else IPv4Address
        return kind("TCP", address, int(self._environ["REMOTE_PORT"] or 0))

    def getHost(self) -> Any:
        """Our address."""
        return self._connection.getHost()

    def isSecure(self) -> bool:
        """Whether the client has spoken TLS, to us or to a trusted proxy."""
        return bool(self._environ["wsgi.url_scheme"] == "https")

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Headers) -> None:
        """Check the head of the response; one that would break it is refused, and 500 goes out."""
        # How a body of unknown length is framed is for the connection to say.
        self.mounted.chunked = 0
        if self._over:
            return
        try:
            self._status, self._line = checked_status(f"{code.decode()} {reason.decode('latin-1')}")
            for name, values in headers.getAllRawHeaders():
                for value in values:
                    self._add_field(name.decode("latin-1"), value.decode("latin-1"))
        except ValueError as failure:
            with serving(self.request):
                logger.error("%s: the resource at %s: %s", self.line, self.path, str(failure).partition(": ")[2])
            self._end()
            self._connection.respond(error(500))
            self._flow.call_soon(self._tell_that_it_is_over)
            return
        self._bodiless = self._status in (204, 304) or self.request.method == b"HEAD"

    def _add_field(self, name: str, value: str) -> None:
        field, number = checked_field(name, value)
        if number is not None:
            if self._status == 204:
                # Not even of nothing (RFC 9110 section 8.6).
                return
            self._length = number
        if field is not None and field.name != b"x-request-id":
            self._fields.append(field)

    def write(self, data: bytes) -> None:
        """Send a piece of the body."""
        if self._over or self._bodiless:
            return
        if self._length is not None and self._sent + len(data) > self._length:
            with serving(self.request):
                logger.error("%s: the response is longer than its Content-Length; cut off", self.line)
            data = data[: self._length - self._sent]
        self._sent += len(data)
        if not self._begun:
            self._first.append(data)
        elif data and not self._flow.write(data):
            with serving(self.request):
                logger.error(
                    "%s: its client reads more slowly than the resource at %s writes: broken off with %d bytes waiting;"
                    " let the resource register a producer",
                    self.line,
                    self.path,
                    self._flow.waiting,
                )
            self._connection.abortConnection()

    def writeSequence(self, blocks: Iterable[bytes]) -> None:
        """Send pieces of the body."""
        self.write(b"".join(blocks))

    def flush(self) -> None:
        """Begin the response with what was written so far, or give all of it if that is all."""
        if self._begun or self._over or not self._status:
            return
        if self._bodiless or self._sent == self._length:
            self._respond()
            if self._bodiless:
                # A stream would go on for ever, and nothing of it is sent.
                self._flow.call_soon(self._tell_that_it_is_over)
            return
        self._start()
        body, self._first = b"".join(self._first), []
        self._connection.respond(
            Response(self._status, self._fields, body, producer=self._flow, length=self._length, line=self._line)
        )

    def _tell_that_it_is_over(self) -> None:
        """The response is complete, for it has no body or was refused, and the resource may go on writing."""
        if getattr(self.mounted, "channel", None) is self:
            self._flow.stopProducing()
            self.mounted.connectionLost(Failure(errors.ConnectionDone("the response has no more to it")))

    def requestDone(self, mounted: Any) -> None:
        """The response is complete."""
        if self._over:
            return
        if not self._begun:
            if self._length is None and not self._bodiless:
                self._length = self._sent
                self._fields.append(content_length(self._sent))
            if self._bodiless or self._sent == self._length:
                self._respond()
                return
            self.flush()
        self._end()
        if self._length is not None and self._sent < self._length:
            with serving(self.request):
                logger.error("%s: the response ended after %d of %d bytes", self.line, self._sent, self._length)
            self._connection.abort()
        else:
            self._connection.end()

    def failed(self, failure: Failure) -> bool:
        """Log what the resource has raised. Whether an error can still be the response; else it is broken off."""
        if failure.check(UpgradeError):
            return not self._over
        with serving(self.request):
            logger.error("the resource at %s failed: %s", self.path, self.line, exc_info=failure.value)
        if self.socket is not None:
            self.socket.close(1011, "failed")
        if self._over or not self._status:
            return not self._over
        self._end()
        self._connection.abort()
        self.mounted.connectionLost(failure)
        return False

    def loseConnection(self) -> None:
        """End the connection, whatever was sent."""
        self._connection.abortConnection()

    def _respondToBadRequestAndDisconnect(self) -> None:
        """The body is no form, though its Content-Type says so."""
        self._end()
        self._connection.respond(error(400))
        self.mounted.connectionLost(Failure(errors.ConnectionLost("the request was refused")))

    def upgrade(self, wire: Any) -> None:
        """Make a WebSocket of the connection, which speaks by `wire` from now on. Raises `UpgradeError`."""
        if self._over or self._begun:
            raise UpgradeError("the request has a response already")
        hand_over = getattr(self._connection, "hand_over", None)
        if hand_over is None:
            raise UpgradeError("HTTP/2 has no upgrade: ask by HTTP/1.1")
        socket = Socket(wire, self._connection.site, self.request, self.getPeer())
        try:
            hand_over(socket)
        except ValueError as error:
            raise UpgradeError(str(error)) from None
        self.socket = socket
        self._end()
        self.mounted.content.close()
        bound_messages(wire, socket.most)
        wire.makeConnection(socket)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Let a producer write as the client takes it."""
        if self._over:
            producer.stopProducing()
        else:
            self._flow.register(producer, streaming)

    def unregisterProducer(self) -> None:
        """The producer is done."""
        self._flow.unregister()

    # The end

    def _start(self) -> None:
        self._begun = True
        if self._deadlines is not None:
            self._deadlines.done(self)

    def _respond(self) -> None:
        """Give the whole response."""
        self._end()
        body = b"".join(self._first)
        self._connection.respond(Response(self._status, self._fields, body, line=self._line))

    def _end(self) -> None:
        """Nothing more is to be sent by us."""
        self._over = True
        self._flow.stop()
        if self._deadlines is not None:
            self._deadlines.done(self)
