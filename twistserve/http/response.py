"""A response: made once, where it is known, and encoded once, where it is sent."""

from __future__ import annotations

import time
from collections.abc import Iterable
from email.utils import formatdate
from operator import itemgetter
from typing import Any, NamedTuple, Protocol

from twisted.web._responses import RESPONSES

RawHeaders = list[tuple[bytes, bytes]]
"""Names and values of fields."""


class Field(NamedTuple):
    """A header field that is right, as HTTP/1.1 writes it, and as HTTP/2 does."""

    line: bytes
    """With its end."""
    name: bytes
    """In lower case."""
    value: bytes


_line_of = itemgetter(0)

OURS = frozenset(
    (
        *(b"connection", b"date", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection"),
        *(b"server", b"te", b"trailer", b"transfer-encoding", b"upgrade"),
    )
)
"""Fields for the server to say: hop-by-hop ones (RFC 9110 section 7.6.1), Date and Server."""


def fields_of(raw: Iterable[tuple[bytes, bytes]]) -> list[Field]:
    """The fields for a response, without those that are for the server to say."""
    named = [(name.lower(), name, value.strip()) for name, value in raw]
    return [Field(b"%b: %b\r\n" % (name, value), lower, value) for lower, name, value in named if lower not in OURS]


def content_length(size: int) -> Field:
    """The field of that name."""
    value = b"%d" % size
    return Field(b"Content-Length: %b\r\n" % value, b"content-length", value)


class Consumer(Protocol):
    """What a producer writes to: the connection, or the stream of HTTP/2, that its request has come by."""

    transport: Any
    """The connection's; None for a stream of HTTP/2, which shares it."""
    deadline: float

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Let a producer write as the client takes it (twisted.internet.interfaces.IConsumer)."""

    def write(self, data: bytes) -> None:
        """Send a piece of the body."""

    def sent(self, size: int) -> None:
        """So many bytes of the body were sent past `write`."""

    def end(self) -> None:
        """The body is complete."""

    def abort(self) -> None:
        """Break the response off, so that it cannot look complete."""

    def abortConnection(self) -> None:
        """The client is gone, and is counted as such."""

    def extend_deadline(self) -> None:
        """Give the client its time anew."""


class Producer(Protocol):
    """What writes the body of a response, or what follows its first part, as the client takes it."""

    def begin(self, consumer: Consumer) -> None:
        """The head is on its way. Reactor thread."""

    def stopProducing(self) -> None:
        """Nothing more is wanted. Reactor thread."""


class Response:
    """Status, fields, and a body: all of it, or its first part and the `producer` of the rest.

    `length` is in bytes that of the whole body, if there is a producer, or None if only its end will tell; a response
    without a body has none. `request_id` is what its fields say of that, and stands in the place of ours. Never changed
    once it is made, so that it can be sent again and again. Any thread may make one.
    """

    __slots__ = ("_head", "body", "fields", "length", "producer", "request_id", "status", "status_line")

    def __init__(
        self,
        status: int,
        fields: list[Field],
        body: bytes = b"",
        *,
        producer: Any = None,
        length: int | None = None,
        line: bytes = b"",
        request_id: bytes = b"",
    ) -> None:
        self.status = status
        self.fields = fields
        self.body = body
        self.producer = producer
        self.length = length
        self.status_line = line or status_line(status)
        self.request_id = request_id
        self._head = b""

    @property
    def head(self) -> bytes:
        """Status line and fields as HTTP/1.1 writes them, without the end that the connection adds."""
        if not self._head:
            self._head = self.status_line + b"".join(map(_line_of, self.fields))
        return self._head


def status_line(status: int) -> bytes:
    """That of HTTP/1.1."""
    return b"HTTP/1.1 %d %b\r\n" % (status, _REASONS.get(status) or RESPONSES.get(status, b""))


_REASONS = {413: b"Content Too Large", 416: b"Range Not Satisfiable", 431: b"Request Header Fields Too Large"}
"""What RFC 9110 and RFC 6585 say otherwise than twisted.web, or not at all there."""


def whole(status: int, body: bytes, content_type: bytes, *more: tuple[bytes, bytes]) -> Response:
    """A response with all of its body."""
    fields = fields_of([(b"Content-Type", content_type), *more])
    return Response(status, [*fields, content_length(len(body))], body)


PLAIN = b"text/plain; charset=utf-8"
RETRY = (b"Retry-After", b"1")
"""Sent with every 503."""


def error(status: int, text: bytes = b"", *more: tuple[bytes, bytes]) -> Response:
    """A response that tells an error in one line of plain text, if need be the reason phrase."""
    if status == 503:
        more = (*more, RETRY)
    return whole(status, text or status_line(status)[13:-2] + b".\n", PLAIN, *more)


class Tails:
    """The end of every head: Server, Date, and whether the connection goes on; made once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._date = b""
        self._tails = (b"", b"")

    def __call__(self, persistent: bool) -> bytes:
        """As HTTP/1.1 writes it."""
        second = int(time.time())
        if second != self._second:
            self._second, self._date = second, formatdate(second, usegmt=True).encode()
            common = b"Server: twistserve\r\nDate: %b\r\n" % self._date
            self._tails = (common + b"Connection: close\r\n\r\n", common + b"\r\n")
        return self._tails[persistent]

    def fields(self) -> RawHeaders:
        """As HTTP/2 does."""
        self(True)
        return [(b"server", b"twistserve"), (b"date", self._date)]


tails = Tails()
