"""One HTTP/1.1 connection (RFC 9112): bytes into requests by llhttp, answers back in order.

Heads are judged in `head`. A connection parses ahead what it has read and stops reading while a request runs
and more has come, or while its answers are not read; answers go out in the order of the requests.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.web.http import NO_BODY_CODES, RESPONSES
from twisted.web.http_headers import Headers

from twistserve.web.body import Body, not_stored
from twistserve.web.head import FRAMING, Head, Refusal, check_line, refusal_of
from twistserve.web.limits import FRESH, LINGER
from twistserve.web.request import REASONS, RawHeaders, Request, make_head, target_path
from twistserve.web.syscalls import BULK, READ
from twistserve.web.transport import Server, untaken_by_peer

_CHUNK_OVERHEAD = 24
"""Bytes that may surround each chunk of a body without an extension."""
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Channel(Protocol):
    """A connection. Requests, resources and static files talk to it as to twisted.web's HTTPChannel."""

    site: Any
    transport: Any

    # What the timeouts of Site.sweep look at: `deadline` is reactor seconds, 0 for none.
    deadline = 0.0
    receiving = False
    """Whether a request has begun to arrive and is not complete."""
    begun_at = 0.0
    """When, in reactor seconds, the last request began to arrive."""
    fresh = True
    """Whether no request has come yet."""

    _current: Request | None = None
    _waiting: deque[Request] | None = None
    _starting = False
    _paused = False
    _closing = False
    """Whether the connection ends with what has been read: later input is ignored."""
    _refusal: Refusal | None = None
    _lingering = False
    _persistent = True

    # The message being parsed
    _in_head = False
    _in_body = False
    _upgrading = False
    _head_size = 0
    _body: Body | None = None
    _continue = False
    _begun = 0
    _chunks = 0
    _overhead = 0
    _line = b""
    """What has come of an incomplete request line."""

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
        self._parser = HttpRequestParser(self)
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
        if self._closing:
            return
        if self._current is not None:
            self._stop_reading()
        elif self._in_body:
            self.deadline = self.site.clock() + self.site.limits.body_timeout
        self._begun = 0 if self.receiving else -1
        self._overhead += len(data)
        self._feed(data)
        if self.receiving:
            self._bound_the_rest(len(data))

    def _bound_the_rest(self, size: int) -> None:
        """Bound a head that is not complete, and what surrounds the chunks of a body."""
        limit = self.site.limits.max_head
        if self._in_head:
            # All of what came is this head's, unless the end of another request came with it.
            whole = self._begun <= 0
            self._head_size += size if whole else self._head.size
            if self._head_size > limit:
                self._refuse(Refusal(431 if self._head.fields else 414, "head_too_large"))
        elif self._head.chunked and self._overhead - self._received - _CHUNK_OVERHEAD * self._chunks > limit:
            self._refuse(Refusal(431, "head_too_large"))

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        """Tell the requests that their client is gone, and leave the site."""
        self._closing = True
        self._drop_body()
        for request in (self._current, *(self._waiting or ())):
            if request is not None:
                request.connectionLost(reason)
        self._current, self._waiting = None, None
        self.site.left(self)

    def timed_out(self) -> None:
        """The deadline has passed: say so if a request had begun, and close; abort if nobody reads."""
        before, self._progress = self._progress, self._how_far()
        untaken, _ = self._progress
        if self._progress != before and (untaken or self._current is not None):
            # Slow, but it reads.
            self.deadline = self.site.clock() + self.site.limits.keep_alive_timeout
        elif self._current is not None or (self._closing and not self._lingering):
            self.abortConnection()
        elif self._lingering or not self.receiving:
            self._lingering = False
            self.loseConnection()
        else:
            self._refuse(Refusal(408, "timeout"))

    def _how_far(self) -> tuple[int, int]:
        """Bytes that the client has still to take, and bytes of the present answer that were sent."""
        return untaken_by_peer(self.transport), self._current.sentLength if self._current is not None else 0

    # Parser callbacks

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        if self._upgrading:
            return
        self.receiving = self._in_head = True
        self.fresh = False
        self._begun += 1
        self._head = Head()
        self._head_size = 0
        self.begun_at = self.site.clock()
        if self._current is None:
            self.deadline = self.begun_at + self.site.limits.header_timeout

    def on_url(self, url: bytes) -> None:
        """A piece of the target."""
        if not self._upgrading:
            self._head.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header field, or a trailer field, which is dropped."""
        if self._in_head and not self._upgrading:
            self._head.fields.append((name, value))

    def on_headers_complete(self) -> None:
        """Judge the head before anything of the body is looked at."""
        if self._upgrading:
            return
        parser, head = self._parser, self._head
        self._in_head = False
        head.version, head.method = parser.get_http_version(), parser.get_method()
        self._persistent_request: bool = parser.should_keep_alive()
        self._chunks = self._overhead = 0
        try:
            head.judge(self.site.limits)
        except Refusal as refusal:
            raise self._refused(refusal) from None
        self._expect_body()
        if head.offers_upgrade and parser.should_upgrade():
            self._upgrading = True

    def on_chunk_header(self) -> None:
        """A chunk begins."""
        self._chunks += 1

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        if self._body is None:
            self._body = Body()
        if self._body.size + len(data) > self.site.limits.max_body:
            raise self._refused(Refusal(413, "body_too_large"))
        try:
            self._body.write(data)
        except OSError as error:
            self.site.body_not_stored(error)
            raise self._refused(not_stored(error)) from error

    def on_message_complete(self) -> None:
        """The request is complete: answer it, after those before it."""
        if self._upgrading:
            return
        self._in_body = self.receiving = self._continue = False
        if self._current is None:
            self.deadline = 0.0
        if not self._persistent_request:
            self._closing = True
        head = self._head
        request = Request(self)
        request.raw_headers = head.fields
        request.remote = self._remote or self._learn_remote()
        request.has_body = head.chunked or head.length is not None
        body = self._body
        if body is not None:
            try:
                request.content = body.open()
            except OSError as error:
                self.site.body_not_stored(error)
                raise self._refused(not_stored(error)) from error
            request.body_length = body.size
            self._body = None
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

    def _learn_remote(self) -> str:
        # "::ffff:": an IPv4 client of a socket that serves IPv6 too.
        self._remote = (getattr(self.getPeer(), "host", None) or "-").removeprefix("::ffff:")
        return self._remote

    def unanswered(self) -> list[tuple[Request | Head, str]]:
        """The requests that have begun to arrive and have not begun to be answered, and what each waits for."""
        found: list[tuple[Request | Head, str]] = [
            (request, "waiting for the answer before it") for request in self._waiting or ()
        ]
        if self.receiving:
            found.append((self._head, f"its {'body' if self._in_body else 'head'} was being received"))
        return found

    # Parsing

    def _feed(self, data: bytes) -> None:
        position = 0
        try:
            while position < len(data) and not self._closing:
                end = self._end_of_part(data, position)
                if self._in_body and not self._head.chunked:
                    self._take(data[position:end])
                else:
                    self._feed_part(data[position:end])
                position = end
        except Refusal as refusal:
            self._refuse(refusal)

    def _end_of_part(self, data: bytes, position: int) -> int:
        """Where the parser stops for a moment: at the latest where a request ends. Raises `Refusal`.

        So the line that begins a request is known for one, and can be looked at.
        """
        if self._line or not self.receiving:
            return self._end_of_beginning(data, position)
        if self._in_body and not self._head.chunked:
            return position + (self._head.length or 0) - self._received
        # A head and a chunked body end with an empty line, of which a part may have come before.
        found = data.find(b"\n", position) - 3 if position < 4 else data.find(b"\r\n\r\n", position - 3)
        return found + 4 if found + 4 > position else len(data)

    def _end_of_beginning(self, data: bytes, position: int) -> int:
        """The end of the head that begins here, or of an empty line before it."""
        newline = data.find(b"\n", position)
        if newline < 0:
            self._line += data[position:]
            check_line(self._line)
            return len(data)
        # What ends the line may be a part of what ends the head.
        divided = newline == position and bool(self._line)
        line = self._line + data[position : newline + 1]
        self._line = b""
        if line[-11:] != b" HTTP/1.1\r\n":
            check_line(line)
            if line == b"\r\n":
                return newline + 1
        if divided:
            return newline + 1
        found = data.find(b"\r\n\r\n", newline - 1)
        return found + 4 if found >= 0 else len(data)

    @property
    def _received(self) -> int:
        """Bytes of the body so far."""
        return self._body.size if self._body is not None else 0

    def _take(self, data: bytes) -> None:
        """A part of a body of known length, past the parser, which would copy it and is used up by that."""
        self.on_body(data)
        left = (self._head.length or 0) - self._received
        self.transport.read_size = min(max(left, READ), BULK)
        if not left:
            self._parser = HttpRequestParser(self)
            self.on_message_complete()

    def _feed_part(self, data: bytes) -> None:
        while data and not self._closing:
            try:
                self._parser.feed_data(data)
                break
            except HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]
                self._carry_on_without_upgrade()
            except HttpParserError as error:
                if self._refusal is not None or not self._closing:
                    self._refuse(self._refusal or refusal_of(error, data))
                break

    def _carry_on_without_upgrade(self) -> None:
        """Answer a request that offers an upgrade as if it did not (RFC 9110 section 7.8).

        llhttp stops at the head, before a body that is there all the same: a second parser is shown a head
        with the same framing, and goes on from there.
        """
        self._parser = HttpRequestParser(self)
        framing = b"".join(b"%s: %s\r\n" % field for field in self._head.fields if field[0].lower() in FRAMING)
        self._parser.feed_data(b"POST / HTTP/1.1\r\nHost: x\r\n%s\r\n" % framing)
        self._upgrading = False
        if not self._in_body:
            self.on_message_complete()

    def _expect_body(self) -> None:
        """The head is right: see whether a body follows, and invite it if its sender waits for that."""
        head = self._head
        self._in_body = bool(head.length) or head.chunked
        if self._in_body:
            if self._current is None:
                self.deadline = self.site.clock() + self.site.limits.body_timeout
            if head.expects_continue:
                self._invite_body()

    def _invite_body(self) -> None:
        """Answer `Expect: 100-continue`, in its turn (RFC 9110 section 10.1.1)."""
        if self._current is None:
            self._send((_CONTINUE,))
        else:
            self._continue = True

    def _refused(self, refusal: Refusal) -> Refusal:
        """Note the refusal: httptools replaces an exception that leaves a callback by one of its own."""
        self._refusal = refusal
        return refusal

    def _refuse(self, refusal: Refusal) -> None:
        """Take nothing more from this connection; answer after the requests before, and close."""
        self._refusal = refusal
        self._closing = True
        self._in_head = self._in_body = self.receiving = self._continue = False
        self._drop_body()
        self.site.refused(self, refusal.status, refusal.reason)
        if self._current is None:
            self._send_refusal()

    def _send_refusal(self) -> None:
        assert self._refusal is not None
        status = self._refusal.status
        body = (REASONS.get(status) or RESPONSES.get(status, b"Error")) + b".\n"
        headers = [(b"Content-Type", b"text/plain; charset=utf-8"), (b"Content-Length", b"%d" % len(body))]
        self._send((make_head(status, headers), self.site.tail(False), body))
        self._linger()

    def _drop_body(self) -> None:
        if self._body is not None:
            self._body.drop()
            self._body = None

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
        last = self._closing and not self._waiting and self._refusal is None
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
                self._closing = True
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
            elif not self._closing and self.site.draining and self._nothing_follows():
                # Its head went out before the drain, and could not say that the connection ends.
                self._closing = True
                self._linger()
            elif not self._closing:
                self._await_more()

    def _await_more(self) -> None:
        limits = self.site.limits
        if not self.receiving:
            timeout = limits.keep_alive_timeout
        else:
            timeout = limits.body_timeout if self._in_body else limits.header_timeout
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
        if self._current is not None or self._waiting or self.receiving or self._closing:
            return
        if self.fresh:
            self.deadline = self.site.clock() + FRESH
        else:
            self.loseConnection()

    def loseConnection(self) -> None:
        """Close when what was written is sent."""
        self._closing = True
        self.deadline = self.site.clock() + self.site.limits.keep_alive_timeout
        # A transport with a producer waits for it.
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def abortConnection(self) -> None:
        """Close at once."""
        self._closing = True
        self.transport.abortConnection()

    def _linger(self) -> None:
        """Close our side, and go on reading for a moment what nobody wants.

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
