"""Connections of HTTP/1.1 on a fake transport and a clock, with a site and a handler that notes what it gets."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from twistserve.http.http1 import Http1Connection
from twistserve.http.limits import Limits
from twistserve.http.request import Request
from twistserve.http.response import RawHeaders, Response, content_length, fields_of
from twistserve.http.site import Handler, Site

Record = tuple[bytes, bytes, list[tuple[bytes, bytes]], bytes]
"""Method, target, fields and body of a request, as a handler sees them."""
OK = Response(200, [content_length(2)], b"ok")
LIMITS = Limits(header_timeout=15, body_timeout=30, keep_alive_timeout=75)


class Recorder:
    """Keeps every request; responds at once, or leaves the response to the test."""

    def __init__(self, at_once: bool = False) -> None:
        self.at_once = at_once
        self.seen: list[Record] = []
        self.pending: list[Request] = []

    def __call__(self, request: Request) -> None:
        assert request.body is not None
        self.seen.append((request.method, request.target, list(request.fields), request.body.read()))
        self.pending.append(request)
        if self.at_once:
            self.respond()

    def respond(self, response: Response = OK) -> None:
        """Respond to the oldest request that has no response."""
        self.pending.pop(0).connection.respond(response)

    @property
    def targets(self) -> list[bytes]:
        return [target for _, target, _, _ in self.seen]


class Producer:
    """The producer of a response that the test writes: `connection` is its request's, `told` what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def begin(self, connection: Any) -> None:
        self.connection = connection
        connection.registerProducer(self, True)

    def pauseProducing(self) -> None:
        self.told.append("pause")

    def resumeProducing(self) -> None:
        self.told.append("resume")

    def stopProducing(self) -> None:
        self.told.append("stop")


def streamed(length: int | None = None, fields: RawHeaders | None = None, status: int = 200) -> Response:
    """A response whose body its producer writes."""
    framing = [] if length is None else [content_length(length)]
    return Response(status, [*fields_of(fields or []), *framing], producer=Producer(), length=length)


class Transport(StringTransport):
    """A transport that, as Twisted's real ones, does not mind when no producer is there to be unregistered."""

    def unregisterProducer(self) -> None:
        self.producer = None


class HalfClosing(Transport):
    """A transport that can close its sending side, as TCP's can."""

    half_closed = False

    def loseWriteConnection(self) -> None:
        self.half_closed = True


@dataclass
class Connection:
    """A connection and what it writes to."""

    http: Http1Connection
    transport: Transport

    def feed(self, *data: bytes) -> None:
        for each in data:
            self.http.dataReceived(each)

    @property
    def sent(self) -> bytes:
        return bytes(self.transport.value())

    @property
    def statuses(self) -> list[int]:
        return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", self.sent)]

    @property
    def closed(self) -> bool:
        return self.transport.disconnecting

    @property
    def paused(self) -> bool:
        return self.transport.producerState == "paused"

    def lose(self) -> None:
        self.http.connectionLost(Failure(ConnectionDone()))


class Lab:
    """A site with a recorder and a clock; `told` are the requests and the refusals that it has told of."""

    def __init__(self, at_once: bool = False, limits: Limits = LIMITS, handler: Handler | None = None) -> None:
        self.clock = Clock()
        self.recorder = Recorder(at_once)
        self.told: list[Request] = []
        self.refused: list[tuple[str, int, str]] = []
        refused = lambda *refusal: self.refused.append(refusal)  # noqa: E731
        self.site = Site(handler or self.recorder, self.clock, limits, self.told.extend, refused)

    def connect(self, make: Callable[[], Transport] = Transport) -> Connection:
        http = self.site.buildProtocol(None)
        assert isinstance(http, Http1Connection)
        transport = make()
        http.makeConnection(transport)
        return Connection(http, transport)

    def wait(self, seconds: float) -> None:
        """Let the time pass and the site look at its connections."""
        self.clock.advance(seconds)
        self.site.connections.sweep()


def get(path: bytes, *fields: bytes, version: bytes = b"1.1", method: bytes = b"GET") -> bytes:
    """The head of a request."""
    return b"\r\n".join((method + b" " + path + b" HTTP/" + version, b"Host: x", *fields, b"", b""))


def posted(path: bytes, length: int, *fields: bytes) -> bytes:
    """The head of a request with a body."""
    return get(path, b"Content-Length: %d" % length, *fields, method=b"POST")


MALFORMED = get(b"/bad", b"X-A : b")
