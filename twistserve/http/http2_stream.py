"""One request of an HTTP/2 connection and its response (RFC 9113 section 8).

A stream is to handlers what a connection is in HTTP/1.1, and is bounded like one.
"""

from __future__ import annotations

import enum
from collections import deque
from contextlib import suppress
from typing import Any, Protocol

from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError, StreamClosedError
from hpack import NeverIndexedHeaderTuple

from twistserve.http.body import Body
from twistserve.http.connections import Unanswered
from twistserve.http.head import Head, Refusal, checked_as_http1
from twistserve.http.limits import LINGER
from twistserve.http.request import Request
from twistserve.http.response import RawHeaders, Response, error, tails

FRAME = 16384
"""Bytes of a body sent in one frame at most: as much as a TLS record holds."""


class Phase(enum.Enum):
    """What a stream is at."""

    RECEIVING = "receives the request"
    RESPONDING = "waits for the response, or for more of it"
    GIVEN = "has all of the response, and sends it"
    SENT = "has sent it; a client that still sends its request has a moment to see it"


class Carrier(Protocol):
    """What a stream needs of its connection."""

    site: Any
    remote: str
    h2: Any
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

    def getHost(self) -> Any:
        """Our address."""


class Stream:
    """A request and its response."""

    transport = None
    deadline = 0.0
    """When it will have waited too long for the client, in reactor seconds; 0 while it waits for us."""

    request: Request | None = None
    """The request, from when all of it has come until the response is complete."""

    _phase = Phase.RECEIVING
    _head: Head
    _complete = False
    """Whether all of the request has come."""
    _bodiless = False
    _producer: Any = None
    _streaming = False
    _paused = False

    def __init__(self, connection: Carrier, number: int) -> None:
        self.connection = connection
        self.number = number
        self.site = connection.site
        self._body = Body(self.site.limits.max_body)
        self._blocks: deque[memoryview] = deque()

    # The request

    def begin(self, fields: RawHeaders, body_follows: bool) -> None:
        """The head has come."""
        self._bodiless = (b":method", b"HEAD") in fields
        self._begun_at = self.site.clock()
        try:
            self._head = checked_as_http1(fields, self.site.limits)
        except Refusal as refusal:
            self._refuse(refusal)
            return
        self._head.version, self._head.chunked = "2.0", body_follows
        if body_follows:
            self._await(self.site.limits.body_timeout)
            if self._head.expects_continue:
                with suppress(ProtocolError):
                    self.connection.h2.send_headers(self.number, [(b":status", b"100")])

    @property
    def receiving(self) -> bool:
        """Whether the request has still to come, or the rest of it."""
        return self._phase is Phase.RECEIVING

    def receive(self, data: bytes) -> None:
        """A piece of the body."""
        self._await(self.site.limits.body_timeout)
        try:
            self._body.write(data)
        except Refusal as refusal:
            self._refuse(refusal)

    def complete(self) -> None:
        """All of the request has come: handle it."""
        self._complete = True
        if not self.receiving:
            if self._phase is Phase.SENT:
                self.connection.forget(self, taken=True)
            return
        head = self._head
        try:
            if head.length not in (None, self._body.size):
                raise Refusal(400)
            head.body, head.size_of_body = self._body.open(), self._body.size
        except Refusal as refusal:
            self._refuse(refusal)
            return
        self.deadline = 0.0
        self._body, self._phase = Body(0), Phase.RESPONDING
        self.request = request = Request(self, head, self.connection.remote)
        self.site.handle(request)

    def unanswered(self) -> Unanswered:
        """What there is to say of a request that is being received."""
        return self._head.method, self._head.target, self.site.clock() - self._begun_at, "its body was being received"

    def _refuse(self, refusal: Refusal) -> None:
        """Respond with an error, and want nothing more of the request."""
        self._body.drop()
        self.site.refused(self.connection.remote, refusal.status, refusal.reason)
        response = error(refusal.status)
        self._give(response, b"" if self._bodiless else response.body)
        self._await(LINGER)

    def timed_out(self) -> None:
        """The client does not send its body, or does not take its response."""
        if self.receiving:
            self._refuse(Refusal(408, "timeout"))
        else:
            self.reset(ErrorCodes.NO_ERROR if self._phase is Phase.SENT else ErrorCodes.CANCEL)

    def lost(self) -> None:
        """The client has left."""
        self.connection.forget(self)
        self._blocks.clear()
        self._body.drop()
        request, self.request = self.request, None
        if request is not None:
            self.site.lost(request)
        if self._producer is not None:
            self._producer.stopProducing()

    def reset(self, code: ErrorCodes) -> None:
        """Break off."""
        if self.number in self.connection.streams:
            with suppress(StreamClosedError):
                self.connection.h2.reset_stream(self.number, code)
            self.lost()
            self.connection.send()

    def _await(self, seconds: float) -> None:
        self.deadline = self.connection.after(seconds)

    def extend_deadline(self) -> None:
        """Give the client its time anew."""
        self._await(self.site.limits.keep_alive_timeout)

    # The response

    def respond(self, response: Response) -> None:
        """Respond to the request: with all of the response, or with its beginning."""
        request = self.request
        assert request is not None
        request.status = response.status
        body = b"" if request.method == b"HEAD" else response.body
        request.sent = len(body)
        if response.producer is None:
            self._give(response, body)
            self._responded(request)
            return
        self._send_head(response)
        if self.request is None:
            # Reset meanwhile.
            response.producer.stopProducing()
        else:
            self._put(body)
            response.producer.begin(self)

    def _responded(self, request: Request) -> None:
        self.request = None
        self.site.responded(request)

    def _give(self, response: Response, body: bytes) -> None:
        """Send a whole response."""
        self._phase = Phase.GIVEN
        self._send_head(response, end=not body)
        # With its head: until then there is nothing of it to send, which would be the end.
        self._put(body)
        self.connection.send()

    def _send_head(self, response: Response, end: bool = False) -> None:
        sent: RawHeaders = [(b":status", b"%d" % response.status)]
        sent += [(field.name, field.value) for field in response.fields]
        if self.request is not None and response.request_id:
            self.request.request_id = response.request_id
        elif self.request is not None and self.request.request_id:
            # A new one each time, not worth the room to remember it.
            sent.append(NeverIndexedHeaderTuple(b"x-request-id", self.request.request_id))
        sent += tails.fields()
        try:
            self.connection.h2.send_headers(self.number, sent, end_stream=end)
        except ProtocolError:
            # Reset by the client, which is still to be looked at; or a status that is none of a response.
            self.reset(ErrorCodes.INTERNAL_ERROR)
            return
        if end:
            self._sent()

    def write(self, data: bytes) -> None:
        """Send a piece of a body, now or when the client takes it."""
        if self.request is not None:
            self.request.sent += len(data)
            self._put(data)

    def sent(self, size: int) -> None:
        """So many bytes of a body were sent past `write`: never, for the transport is not the stream's."""

    def _put(self, data: bytes) -> None:
        if data and self.number in self.connection.streams:
            if not self._blocks:
                self.extend_deadline()
            self._blocks.append(memoryview(data))
            self.connection.wake(self)
            if self._blocks and self._streaming and not self._paused:
                self._paused = True
                self._producer.pauseProducing()

    def end(self) -> None:
        """The response is complete."""
        self.unregisterProducer()
        request = self.request
        if request is not None:
            self._phase = Phase.GIVEN
            self._responded(request)
            self.connection.wake(self)

    def abort(self) -> None:
        """Break the response off by a reset, so that it never looks complete; counted as status 500."""
        request = self.request
        if request is not None:
            request.status = 500
            self._responded(request)
        self.reset(ErrorCodes.INTERNAL_ERROR)

    def abortConnection(self) -> None:
        """The client is gone."""
        self.reset(ErrorCodes.INTERNAL_ERROR)

    def step(self) -> bool:
        """Send a frame, or ask for something to send; whether there may be more. Raises ProtocolError."""
        if self._phase in (Phase.RECEIVING, Phase.SENT):
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
            if self._phase is Phase.GIVEN:
                h2.end_stream(self.number)
                self._sent()
            return False
        block = self._blocks.popleft()
        if len(block) > room:
            self._blocks.appendleft(block[room:])
        last = self._phase is Phase.GIVEN and not self._blocks
        h2.send_data(self.number, block[:room], end_stream=last)
        self.extend_deadline()
        if last:
            self._sent()
        return not last

    def _sent(self) -> None:
        """The end of the response is sent; a client that still sends its request has a moment to see it."""
        self._phase = Phase.SENT
        if self._complete:
            self.connection.forget(self, taken=True)
        else:
            self._await(LINGER)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Let a producer write as the client takes it."""
        self._producer, self._streaming, self._paused = producer, streaming, False
        self.extend_deadline()
        self.connection.wake(self)

    def unregisterProducer(self) -> None:
        """The producer is done."""
        self._producer, self._streaming = None, False

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
        return self.connection.getHost()

    def isSecure(self) -> bool:
        """HTTP/2 is spoken over TLS alone."""
        return True
