"""One request of an HTTP/2 connection and its answer (RFC 9113 section 8).

A stream is to `Request`, resources and static files what a channel is in HTTP/1.1, and is bounded like one.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import Any, Protocol

from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError, StreamClosedError
from hpack import NeverIndexedHeaderTuple
from twisted.internet.error import ConnectionAborted
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers

from twistserve.http.body import Body
from twistserve.http.head import Head, Refusal, checked_as_http1
from twistserve.http.limits import LINGER
from twistserve.http.request import Request, target_path
from twistserve.http.response import RawHeaders, refusal_text

FRAME = 16384
"""Bytes of a body sent in one frame at most: as much as a TLS record holds."""

_NOT_SENT = frozenset(
    (b"connection", b"date", b"keep-alive", b"proxy-connection", b"server", b"transfer-encoding", b"upgrade")
)
"""Fields that the server adds itself, and those that HTTP/2 forbids (section 8.2.2)."""


class Connection(Protocol):
    """What a stream needs of its connection."""

    site: Any
    remote: str
    h2: Any
    transport: Any
    streams: dict[int, Stream]
    environ: dict[str, Any] | None

    def after(self, seconds: float) -> float:
        """A moment so many seconds from now."""

    def send(self) -> None:
        """Send what h2 has to send."""

    def wake(self, stream: Stream) -> None:
        """Have a stream send when it may."""

    def forget(self, stream: Stream, taken: bool = False) -> None:
        """A stream is over; `taken` says whether all of its response was sent."""

    def getPeer(self) -> Any:
        """The peer's address."""


class Stream:
    """A request and its answer."""

    transport = None
    deadline = 0.0
    """When it will have waited too long for the client, in reactor seconds; 0 while it waits for us."""

    _head: Head
    _request: Request | None = None
    refused = False
    """Whether nothing more is wanted of the request."""
    _complete = False
    """Whether all of the request has come."""
    _bodiless = False
    _answered = False
    """Whether all of the answer was given."""
    _taken = False
    """Whether all of the answer was sent."""
    _producer: Any = None
    _streaming = False
    _paused = False

    def __init__(self, connection: Connection, number: int) -> None:
        self.connection = connection
        self.number = number
        self.site = self.factory = connection.site
        self.remote: str = connection.remote
        self._body = Body(self.site.limits.max_body)
        self._blocks: deque[memoryview] = deque()

    # The request

    def begin(self, fields: RawHeaders, body_follows: bool) -> None:
        """The head has come."""
        self._bodiless = (b":method", b"HEAD") in fields
        try:
            self._head = checked_as_http1(fields, self.site.limits)
        except Refusal as refusal:
            self._refuse(refusal)
            return
        self._head.chunked = body_follows
        if body_follows:
            self._await(self.site.limits.body_timeout)
            if self._head.expects_continue:
                with suppress(ProtocolError):
                    self.connection.h2.send_headers(self.number, [(b":status", b"100")])

    def receive(self, data: bytes) -> None:
        """A piece of the body."""
        self._await(self.site.limits.body_timeout)
        try:
            self._body.write(data)
        except Refusal as refusal:
            self._refuse(refusal)

    def complete(self) -> None:
        """All of the request has come: answer it."""
        self._complete = True
        if self.refused:
            if self._taken:
                self.connection.forget(self, taken=True)
            return
        if self._head.length not in (None, self._body.size):
            self._refuse(Refusal(400))
            return
        request = self._make_request(self._head)
        try:
            request.content = self._body.open()
        except Refusal as refusal:
            self._refuse(refusal)
            return
        self.deadline = 0.0
        self._body, self._request = Body(0), request
        request.begin()

    def _make_request(self, head: Head) -> Request:
        request = Request(self)
        request.clientproto = b"HTTP/2.0"
        request.method, request.uri, request.path = head.method, head.target, target_path(head.target)
        request.raw_headers = head.fields
        request.remote = self.remote
        request.has_body = head.chunked or head.length is not None
        request.body_length = self._body.size
        return request

    def _refuse(self, refusal: Refusal) -> None:
        """Answer with an error, and want nothing more of the request."""
        self.refused = True
        self._body.drop()
        self.site.refused(self, refusal.status, refusal.reason)
        fields, body = refusal_text(refusal.status)
        self._answer(b"%d" % refusal.status, fields, b"" if self._bodiless else body)
        self._await(LINGER)

    def timed_out(self) -> None:
        """The client does not send its body, or does not take its answer."""
        if self._complete or self.refused:
            self.reset(ErrorCodes.NO_ERROR if self._taken else ErrorCodes.CANCEL)
        else:
            self._refuse(Refusal(408, "timeout"))

    def lost(self, reason: Failure) -> None:
        """The client has left."""
        self.connection.forget(self)
        self._blocks.clear()
        self._body.drop()
        request, self._request = self._request, None
        if request is not None:
            request.connectionLost(reason)
        if self._producer is not None:
            self._producer.stopProducing()

    def reset(self, code: ErrorCodes) -> None:
        """Break off."""
        if self.number in self.connection.streams:
            with suppress(StreamClosedError):
                self.connection.h2.reset_stream(self.number, code)
            self.lost(Failure(ConnectionAborted()))
            self.connection.send()

    def _await(self, seconds: float) -> None:
        self.deadline = self.connection.after(seconds)

    # The answer

    def respond(self, request: Request, head: bytes, body: bytes) -> None:
        """Send a whole answer."""
        status, _, lines = head.partition(b"\r\n")
        self._answer(status[9:12], _fields(lines), body)

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Headers | RawHeaders) -> None:
        """Send the head of an answer that is written piece by piece."""
        if isinstance(headers, Headers):
            headers = [(name, value) for name, values in headers.getAllRawHeaders() for value in values]
        self._send_head(code, headers)

    def _answer(self, status: bytes, fields: RawHeaders, body: bytes) -> None:
        self._answered = True
        self._send_head(status, fields, end=not body)
        self.write(body)

    def _send_head(self, status: bytes, fields: RawHeaders, end: bool = False) -> None:
        sent = [(b":status", status)]
        sent += [(lower, value.strip()) for name, value in fields if (lower := name.lower()) not in _NOT_SENT]
        if self._request is not None and self._request.request_id:
            # A new one each time, not worth the room to remember it.
            sent.append(NeverIndexedHeaderTuple(b"x-request-id", self._request.request_id))
        sent += [(name.lower(), value) for name, value in _fields(self.site.tail(True))]
        try:
            self.connection.h2.send_headers(self.number, sent, end_stream=end)
        except ProtocolError:
            # Reset by the client, which is still to be looked at; or a status that is none of an answer.
            self.reset(ErrorCodes.INTERNAL_ERROR)
            return
        if end:
            self._sent()
        self.connection.send()

    def write(self, data: bytes) -> None:
        """Send a piece of a body, now or when the client takes it."""
        if data and self.number in self.connection.streams:
            if not self._blocks:
                self._await(self.site.limits.keep_alive_timeout)
            self._blocks.append(memoryview(data))
            self.connection.wake(self)
            if self._blocks and self._streaming and not self._paused:
                self._paused = True
                self._producer.pauseProducing()

    def requestDone(self, request: Request) -> None:
        """All of the answer was given."""
        self._request = None
        if not self._answered:
            self._answered = True
            self.connection.wake(self)

    def step(self) -> bool:
        """Send a frame, or ask for something to send; whether there may be more. Raises ProtocolError."""
        if self._taken or not (self._complete or self.refused):
            return False
        h2 = self.connection.h2
        room = min(h2.local_flow_control_window(self.number), FRAME)
        asks = not self._blocks and self._producer is not None and (self._paused or not self._streaming)
        if room <= 0 and (self._blocks or asks):
            return False
        if asks:
            self._paused = False
            self._producer.resumeProducing()
        if not self._blocks:
            self.deadline = 0.0
            if self._answered:
                h2.end_stream(self.number)
                self._sent()
            return False
        block = self._blocks.popleft()
        if len(block) > room:
            self._blocks.appendleft(block[room:])
        last = self._answered and not self._blocks
        h2.send_data(self.number, block[:room], end_stream=last)
        self._await(self.site.limits.keep_alive_timeout)
        if last:
            self._sent()
        return not last

    def _sent(self) -> None:
        """The end of the answer is sent; a client that still sends its request has a moment to see it."""
        self._taken = True
        if self._complete:
            self.connection.forget(self, taken=True)
        else:
            self._await(LINGER)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Let a producer write as the client takes it."""
        self._producer, self._streaming, self._paused = producer, streaming, False
        self._await(self.site.limits.keep_alive_timeout)
        self.connection.wake(self)

    def unregisterProducer(self) -> None:
        """The producer is done."""
        self._producer, self._streaming = None, False

    def loseConnection(self) -> None:
        """Break the answer off by a reset, so that it never looks complete."""
        self.reset(ErrorCodes.INTERNAL_ERROR)

    abortConnection = loseConnection

    # The connection

    @property
    def environ(self) -> dict[str, Any] | None:
        """What all environs of the connection have in common, once it was asked for."""
        return self.connection.environ

    @environ.setter
    def environ(self, environ: dict[str, Any]) -> None:
        self.connection.environ = environ

    def getPeer(self) -> Any:
        """The client's address."""
        return self.connection.getPeer()

    def getHost(self) -> Any:
        """Our address."""
        return self.connection.transport.getHost()

    def isSecure(self) -> bool:
        """HTTP/2 is spoken over TLS alone."""
        return True


def _fields(lines: bytes) -> RawHeaders:
    return [(name, value) for name, _, value in (line.partition(b": ") for line in lines.split(b"\r\n")) if name]
