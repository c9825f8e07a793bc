"""One HTTP/1.1 connection (RFC 9112): requests to their resources, answers back in order.

`parser` makes requests of what comes. A connection parses ahead what it has read and stops reading while a request
runs and more has come, or while its answers are not read; answers go out in the order of the requests.
"""

from __future__ import annotations

from collections import deque
from typing import IO, Any

from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.web.http import NO_BODY_CODES
from twisted.web.http_headers import Headers

from twistserve.http.head import FRAMING, Head, Refusal
from twistserve.http.limits import FRESH, LINGER
from twistserve.http.parser import RequestParser
from twistserve.http.request import Request, target_path
from twistserve.http.response import RawHeaders, make_head, refusal_text
from twistserve.net.syscalls import BULK, READ
from twistserve.net.transport import Server, untaken_by_peer

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Channel(Protocol):
    """A connection. Requests, resources and static files talk to it as to twisted.web's HTTPChannel."""

    site: Any
    transport: Any

    # What the timeouts of Site.sweep look at: `deadline` is reactor seconds, 0 for none.
    deadline = 0.0
    begun_at = 0.0
    """When, in reactor seconds, the last request began to arrive."""
    fresh = True
    """Whether no request has come yet."""

    _current: Request | None = None
    _waiting: deque[Request] | None = None
    _starting = False
    _paused = False
    closing = False
    """Whether the connection ends with what has been read: later input is ignored."""
    _refusal: Refusal | None = None
    _lingering = False
    _persistent = True
    _continue = False
    """Whether the sender of a body waits to be told to send it."""

    # The transport
    _peer: Any = None
    _remote = ""
    _host: Any = None
    _full = False
    """Whether the client reads more slowly than we answer: nothing more is read or begun meanwhile."""
    _progress = (0, 0)
    """How far the answers had come when the deadline passed last."""
    _producer: Any = None
    """Who writes the present answer as the client takes it, if it does not stop by itself."""

    # Protocol

    def connectionMade(self) -> None:
        """Join the site."""
        self._parser = RequestParser(self, self.site.limits)
        # By its type: TLS passes on attributes it does not know to the transport below it.
        eager = isinstance(self.transport, Server) and not getattr(self.transport, "TLS", False)
        self._send = self.transport.send if eager else self.transport.writeSequence
        self.environ: dict[str, Any] | None = None
        self.transport.registerProducer(self, True)
        if hasattr(self.transport, "setTcpNoDelay"):
            self.transport.setTcpNoDelay(True)
        self.deadline = self.site.clock() + self.site.limits.header_timeout
        self.site.joined(self)

    def dataReceived(self, data: bytes) -> None:
        """Parse; a complete request is answered at once if none is before it."""
        if self.closing:
            return
        if self._current is not None:
            self._stop_reading()
        elif self._parser.in_body:
            self.deadline = self.site.clock() + self.site.limits.body_timeout
        try:
            self._parser.feed(data)
        except Refusal as refusal:
            self._refuse(refusal)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        """Tell the requests that their client is gone, and leave the site."""
        self.closing = True
        try:
            self._parser.drop()
            for request in (self._current, *(self._waiting or ())):
                if request is not None:
                    request.connectionLost(reason)
        finally:
            self._current, self._waiting = None, None
            self.site.left(self)

    def timed_out(self) -> None:
        """The deadline has passed: say so if a request had begun, and close; abort if the client does not read."""
        before, self._progress = self._progress, self._how_far()
        untaken, _ = self._progress
        if self._progress != before and (untaken or self._current is not None):
            # Slow, but it reads.
            self.deadline = self.site.clock() + self.site.limits.keep_alive_timeout
        elif self._current is not None or (self.closing and not self._lingering):
            self.abortConnection()
        elif self._lingering or not self.receiving:
            self._lingering = False
            self.loseConnection()
        else:
            self._refuse(Refusal(408, "timeout"))

    def _how_far(self) -> tuple[int, int]:
        """Bytes that the client has still to take, and bytes of the present answer that were sent."""
        return untaken_by_peer(self.transport), self._current.sentLength if self._current is not None else 0

    # What comes

    def request_begins(self) -> None:
        """The first byte of a request."""
        self.fresh = False
        self.begun_at = self.site.clock()
        if self._current is None:
            self.deadline = self.begun_at + self.site.limits.header_timeout

    def body_follows(self, head: Head) -> None:
        """A body comes: invite it, in its turn, if its sender waits for that (RFC 9110 section 10.1.1)."""
        if self._current is None:
            self.deadline = self.site.clock() + self.site.limits.body_timeout
        if head.expects_continue:
            if self._current is None:
                self._send((_CONTINUE,))
            else:
                self._continue = True

    def body_comes(self, missing: int) -> None:
        """Read much at a time if much is to come."""
        self.transport.read_size = min(max(missing, READ), BULK)

    def request_complete(self, head: Head, content: IO[bytes] | None, size: int, persistent: bool) -> None:
        """Answer it, after those before it."""
        self._continue = False
        if self._current is None:
            self.deadline = 0.0
        if not persistent:
            self.closing = True
        request = Request(self)
        request.raw_headers = head.fields
        request.remote = self._remote or self.remote
        request.has_body = head.chunked or head.length is not None
        if content is not None:
            request.content, request.body_length = content, size
        request.method, request.uri = head.method, head.target
        request.path = target_path(head.target)
        if head.version == "1.0":
            request.clientproto = b"HTTP/1.0"
        if self._current is None and not self._waiting:
            self._start(request)
        else:
            if self._waiting is None:
                self._waiting = deque()
            self._waiting.append(request)

    @property
    def remote(self) -> str:
        """The client's address as it is logged."""
        if not self._remote:
            # "::ffff:": an IPv4 client of a socket that serves IPv6 too.
            self._remote = (getattr(self.getPeer(), "host", None) or "-").removeprefix("::ffff:")
        return self._remote

    @property
    def receiving(self) -> bool:
        """Whether a request has begun to arrive and is not complete."""
        return self._parser.receiving

    def unanswered(self) -> list[tuple[Request | Head, str]]:
        """The requests that have begun to arrive and have not begun to be answered, and what each waits for."""
        found: list[tuple[Request | Head, str]] = [
            (request, "waiting for the answer before it") for request in self._waiting or ()
        ]
        parser = self._parser
        if parser.receiving:
            found.append((parser.head, f"its {'body' if parser.in_body else 'head'} was being received"))
        return found

    def _refuse(self, refusal: Refusal) -> None:
        """Take nothing more from this connection; answer after the requests before, and close."""
        self._refusal = refusal
        self.closing = True
        self._continue = False
        self._parser.drop()
        self.site.refused(self, refusal.status, refusal.reason)
        if self._current is None:
            self._send_refusal()

    def _send_refusal(self) -> None:
        assert self._refusal is not None
        status = self._refusal.status
        headers, body = refusal_text(status)
        self._send((make_head(status, headers), self.site.tail(False), body))
        self._linger()

    # Answering

    def _start(self, request: Request) -> None:
        self._current = request
        request.begin()

    def respond(self, request: Request, head: bytes, body: bytes) -> None:
        """Send a whole answer, whose length the head tells: head and body in one system call."""
        tail = self._end_of_head(request, True)
        self._send((head, tail, body) if body else (head, tail))

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Headers | RawHeaders) -> None:
        """Send the head of an answer that is written piece by piece."""
        request = self._current
        assert request is not None
        raw = headers if isinstance(headers, list) else _raw(headers)
        raw = [field for field in raw if field[0].lower() not in _OURS]
        status = int(code)
        framed = status in NO_BODY_CODES or request.method == b"HEAD" or any(name.lower() in FRAMING for name, _ in raw)
        head = b"HTTP/1.1 %b %b\r\n" % (code, reason) + b"".join([b"%b: %b\r\n" % field for field in raw])
        self._send((head, self._end_of_head(request, framed)))

    def _end_of_head(self, request: Request, framed: bool) -> bytes:
        """What the channel adds to a head, and whether the connection goes on: not if its end tells the answer's."""
        last = self.closing and not self._waiting and self._refusal is None
        self._persistent = framed and not last and not (self.site.draining and self._nothing_follows())
        tail: bytes = self.site.tail(self._persistent)
        if request.request_id:
            tail = b"X-Request-ID: %b\r\n%b" % (request.request_id, tail)
        if self._persistent and request.clientproto == b"HTTP/1.0":
            tail = b"Connection: keep-alive\r\n" + tail
        return tail

    def _nothing_follows(self) -> bool:
        """Whether no further request has begun to arrive, which a closing connection would lose."""
        return not self._waiting and not self.receiving

    def write(self, data: bytes) -> None:
        """Send a piece of a body."""
        self._send((data,))

    def writeSequence(self, data: list[bytes]) -> None:
        """Send pieces of a body."""
        self._send(data)

    def requestDone(self, request: Request) -> None:
        """The answer is complete: go on with the next request, or wait for one, or close."""
        self._current = None
        if not self._persistent:
            self._waiting = None
            if self.site.draining:
                # The client did not ask for it, and may just be sending the next request.
                self.closing = True
                self._linger()
            else:
                self.loseConnection()
            return
        if not self._starting and not self._full:
            self._proceed()

    def _proceed(self) -> None:
        """Answer what waits; then wait for more, or end."""
        while self._waiting and self._current is None and not self._full:
            # An answer given at once comes back here: a loop, for a pipeline may be longer than the stack.
            self._starting = True
            self._start(self._waiting.popleft())
            self._starting = False
        if self._current is None and self._persistent and not self._full:
            if self._refusal is not None:
                self._send_refusal()
            elif not self.closing and self.site.draining and self._nothing_follows():
                # Its head went out before the drain, and could not say that the connection ends.
                self.closing = True
                self._linger()
            elif not self.closing:
                self._await_more()

    def _await_more(self) -> None:
        limits = self.site.limits
        if not self.receiving:
            timeout = limits.keep_alive_timeout
        else:
            timeout = limits.body_timeout if self._parser.in_body else limits.header_timeout
        self.deadline = self.site.clock() + timeout
        if self._continue:
            self._continue = False
            self._send((_CONTINUE,))
        self._read_on()

    # Transport control

    def pauseProducing(self) -> None:
        """The transport is full of answers, which the client does not read as fast as they are written."""
        self._full = True
        self.deadline = self.site.clock() + self.site.limits.keep_alive_timeout
        if self._producer is not None:
            self._producer.pauseProducing()
        else:
            self._stop_reading()

    def resumeProducing(self) -> None:
        """The client has read."""
        self._full = False
        self.deadline = 0.0
        if self._producer is not None:
            self._producer.resumeProducing()
        elif self._current is None:
            self._proceed()

    def stopProducing(self) -> None:
        """The connection is gone; `connectionLost` follows."""
        if self._producer is not None:
            self._producer.stopProducing()

    def _stop_reading(self) -> None:
        if not self._paused:
            self._paused = True
            self.transport.pauseProducing()

    def _read_on(self) -> None:
        if self._paused:
            self._paused = False
            self.transport.resumeProducing()

    def hold(self) -> None:
        """Read nothing until `release`: there are too many connections."""
        self.deadline = 0.0
        self._stop_reading()

    def release(self) -> None:
        """There is room."""
        self.deadline = self.site.clock() + (FRESH if self.site.draining else self.site.limits.header_timeout)
        self._read_on()

    def drain(self) -> None:
        """Close now if no request is here, on its way or to be expected, else after its answer."""
        if hasattr(self.transport, "doRead"):
            # What the kernel holds already came before the end.
            self.transport.doRead()
        if self._current is not None or self._waiting or self.receiving or self.closing:
            return
        if self.fresh:
            self.deadline = self.site.clock() + FRESH
        else:
            self.loseConnection()

    def loseConnection(self) -> None:
        """Close when what was written is sent."""
        self.closing = True
        self.deadline = self.site.clock() + self.site.limits.keep_alive_timeout
        # A transport with a producer waits for it.
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def abortConnection(self) -> None:
        """Close at once."""
        self.closing = True
        self.transport.abortConnection()

    def _linger(self) -> None:
        """Close our side, and go on reading for a moment, to discard it.

        Closed with input unread, the kernel resets the connection and the client may never see the answer.
        """
        self._read_on()
        if self.isSecure() or not hasattr(self.transport, "loseWriteConnection"):
            self.loseConnection()
            return
        self._lingering = True
        self.deadline = self.site.clock() + LINGER
        self.transport.unregisterProducer()
        self.transport.loseWriteConnection()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Let a producer write as the client reads: one that is pulled in our place, one that pushes through us.

        A client that takes nothing for as long as a connection may be idle has left.
        """
        if streaming:
            self._producer = producer
            if self._full:
                producer.pauseProducing()
            return
        self.transport.unregisterProducer()
        self._full = False
        self.deadline = self.site.clock() + self.site.limits.keep_alive_timeout
        self.transport.registerProducer(producer, False)

    def unregisterProducer(self) -> None:
        """The producer is done: it is us again who stop when the client does not read."""
        if self._producer is not None:
            self._producer = None
            return
        self.transport.unregisterProducer()
        self.deadline = 0.0
        self.transport.registerProducer(self, True)

    def getPeer(self) -> Any:
        """The client's address; asked once, when the first request comes, for the PROXY protocol has it by then."""
        if self._peer is None:
            self._peer = self.transport.getPeer()
        return self._peer

    def getHost(self) -> Any:
        """Our address."""
        if self._host is None:
            self._host = self.transport.getHost()
        return self._host

    def isSecure(self) -> bool:
        """Whether this is TLS."""
        return hasattr(self.transport, "getPeerCertificate")


_OURS = frozenset((b"server", b"date", b"connection"))


def _raw(headers: Headers) -> RawHeaders:
    return [(name, value) for name, values in headers.getAllRawHeaders() for value in values]
