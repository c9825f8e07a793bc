"""From the bytes of a connection to requests (RFC 9112), by llhttp; nothing here knows of responses.

llhttp is fed a head, or a piece of a chunked body, at a time, so that what begins a request can be looked at. What it
lets pass of a head is judged in `head`. A body of known length goes past it.
"""

from __future__ import annotations

from httptools import HttpParserCallbackError, HttpParserError, HttpParserUpgrade, HttpRequestParser

from twistserve.http.body import Body
from twistserve.http.head import FRAMING, Head, Refusal, check_line, refusal_of
from twistserve.http.limits import Limits

_CR = ord("\r")
_CHUNK_OVERHEAD = 24
"""Bytes that may surround each chunk of a body without an extension."""


class RequestParser:
    """The requests of one connection."""

    head: Head
    """The head of the request that comes, or came last."""
    receiving = False
    """Whether a request has begun to arrive and is not complete."""
    in_body = False
    """Whether its head is complete."""
    begun = 0
    """How many requests the data that was fed last has begun."""
    finished = False
    """Whether what comes is ignored: after the connection's last request, a refusal, or once it is closed."""
    refusal: Refusal | None = None
    """Why nothing more is taken."""

    _in_head = False
    _upgrading = False
    _head_size = 0
    _body: Body | None = None
    _chunks = _overhead = 0
    _line = b""
    """What has come of an incomplete request line."""
    _persistent = True

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._llhttp = HttpRequestParser(self)
        self._complete: list[Head] = []

    def feed(self, data: bytes) -> list[Head]:
        """Parse what has come: the requests that are complete now. After a `refusal`, or the last one, none is."""
        resumes, self.begun = self.receiving, 0
        self._overhead += len(data)
        position = 0
        try:
            while position < len(data) and not self.finished:
                begins = self._line or not self.receiving
                end = (self._end_of_beginning if begins else self._end_of_part)(data, position)
                part = data[position:end]
                if self.in_body and not self.head.chunked:
                    self._take(part)
                else:
                    try:
                        self._llhttp.feed_data(part)
                    except HttpParserUpgrade as upgrade:
                        end = position + upgrade.args[0]
                        self._carry_on_without_upgrade()
                    except HttpParserError as error:
                        self._fail(error, part)
                position = end
            if self.receiving:
                self._bound_the_rest(len(data), self.begun <= (0 if resumes else 1))
        except Refusal as refusal:
            self.refuse(refusal)
        complete, self._complete = self._complete, []
        return complete

    def refuse(self, refusal: Refusal) -> None:
        """Take nothing more, and discard the request that has begun to arrive."""
        self.refusal = refusal
        self.drop()

    def drop(self) -> None:
        """Discard the request that has begun to arrive."""
        self._in_head = self.in_body = self.receiving = False
        self.finished = True
        if self._body is not None:
            self._body.drop()
            self._body = None

    @property
    def missing(self) -> int:
        """Bytes of a body of known length that are to come."""
        return (self.head.length or 0) - self._received

    def awaits_continue(self) -> bool:
        """Whether the sender of a body waits to be told to send it (RFC 9110 section 10.1.1), for the first time."""
        awaits = self.in_body and self.head.expects_continue
        if awaits:
            self.head.expects_continue = False
        return awaits

    # Where the parser stops for a moment: at the latest where a request ends, so that what begins one can be looked at

    def _end_of_part(self, data: bytes, position: int) -> int:
        """The end of the head or the body that goes on here."""
        if self.in_body and not self.head.chunked:
            return position + self.missing
        # A head and a chunked body end with an empty line, of which a part may have come before.
        found = data.find(b"\n", position) - 3 if position < 4 else data.find(b"\r\n\r\n", position - 3)
        return found + 4 if found + 4 > position else len(data)

    def _end_of_beginning(self, data: bytes, position: int) -> int:
        """The end of the head that begins here, or of an empty line before it. Raises `Refusal`."""
        newline = data.find(b"\n", position)
        if newline < 0:
            self._line += data[position:]
            check_line(self._line)
            return len(data)
        # What ends the line may be a part of what ends the head.
        divided = newline == position and bool(self._line)
        line = self._line + data[position : newline + 1]
        self._line = b""
        if line[-11:] != b" HTTP/1.1\r\n" or line[0] == _CR:
            check_line(line)
            if line == b"\r\n":
                return newline + 1
        if divided:
            return newline + 1
        found = data.find(b"\r\n\r\n", newline - 1)
        return found + 4 if found >= 0 else len(data)

    def _bound_the_rest(self, size: int, whole: bool) -> None:
        """Bound a head that is not complete, and what surrounds the chunks of a body. Raises `Refusal`.

        `whole` says that all of what came belongs to this request.
        """
        limit = self._limits.max_head
        if self._in_head:
            self._head_size += size if whole else self.head.size
            if self._head_size > limit:
                raise Refusal(431 if self.head.fields else 414, "head_too_large")
        elif self.head.chunked and self._overhead - self._received - _CHUNK_OVERHEAD * self._chunks > limit:
            raise Refusal(431, "head_too_large")

    @property
    def _received(self) -> int:
        """Bytes of the body so far."""
        return self._body.size if self._body is not None else 0

    # What comes

    def _take(self, data: bytes) -> None:
        """A part of a body of known length, past llhttp, which would copy it and is used up by that."""
        self.on_body(data)
        if not self.missing:
            self._llhttp = HttpRequestParser(self)
            self.on_message_complete()

    def _fail(self, error: HttpParserError, data: bytes) -> None:
        """Raise what one of the callbacks has raised, which llhttp hides, or the refusal of what it does not take."""
        if isinstance(error, HttpParserCallbackError) and error.__context__ is not None:
            raise error.__context__ from None
        if not self.finished:
            raise refusal_of(error, data) from None

    def _carry_on_without_upgrade(self) -> None:
        """Answer a request that offers an upgrade as if it did not (RFC 9110 section 7.8).

        llhttp stops at the head, before a body that is there all the same: a second parser is shown a head
        with the same framing, and goes on from there.
        """
        self._llhttp = HttpRequestParser(self)
        framing = b"".join(b"%s: %s\r\n" % field for field in self.head.fields if field[0].lower() in FRAMING)
        self._llhttp.feed_data(b"POST / HTTP/1.1\r\nHost: x\r\n%s\r\n" % framing)
        self._upgrading = False
        if not self.in_body:
            self.on_message_complete()

    # llhttp's callbacks

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        if self._upgrading:
            return
        self.receiving = self._in_head = True
        self.begun += 1
        self.head = Head()
        self._head_size = 0

    def on_url(self, url: bytes) -> None:
        """A piece of the target."""
        if not self._upgrading:
            self.head.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header field, or a trailer field, which is dropped."""
        if self._in_head and not self._upgrading:
            self.head.fields.append((name, value))

    def on_headers_complete(self) -> None:
        """Judge the head before anything of the body is looked at."""
        if self._upgrading:
            return
        llhttp, head = self._llhttp, self.head
        self._in_head = False
        head.version, head.method = llhttp.get_http_version(), llhttp.get_method()
        self._persistent = llhttp.should_keep_alive()
        self._chunks = self._overhead = 0
        head.check(self._limits)
        self.in_body = bool(head.length) or head.chunked
        head.expects_continue &= self.in_body
        if head.offers_upgrade and llhttp.should_upgrade():
            self._upgrading = True

    def on_chunk_header(self) -> None:
        """A chunk begins."""
        self._chunks += 1

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        if self._body is None:
            self._body = Body(self._limits.max_body)
        self._body.write(data)

    def on_message_complete(self) -> None:
        """The request is complete."""
        if self._upgrading:
            return
        self.in_body = self.receiving = False
        head = self.head
        if self._body is not None:
            head.body, head.size_of_body = self._body.open(), self._body.size
            self._body = None
        self.finished = not self._persistent
        self._complete.append(head)
