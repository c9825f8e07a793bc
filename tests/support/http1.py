"""Connections of HTTP/1.1 on a fake transport and a clock, with a site and resources that note what they get."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from twistserve.http.http1 import Channel
from twistserve.http.limits import Limits
from twistserve.http.request import Request
from twistserve.http.response import make_head
from twistserve.http.site import Site

Record = tuple[bytes, bytes, list[tuple[bytes, bytes]], bytes]
"""Method, target, headers and body of a request, as a resource sees them."""
OK = make_head(200, [(b"Content-Length", b"2")])
LIMITS = Limits(header_timeout=15, body_timeout=30, keep_alive_timeout=75)


class Recorder(Resource):
    """Keeps every request; answers at once, or leaves the answer to the test."""

    isLeaf = True

    def __init__(self, at_once: bool = False) -> None:
        super().__init__()
        self.at_once = at_once
        self.seen: list[Record] = []
        self.pending: list[Request] = []

    def render(self, request: Request) -> int:
        body = request.content.read() if request.content is not None else b""
        self.seen.append((request.method, request.uri, list(request.raw_headers), body))
        self.pending.append(request)
        if self.at_once:
            self.answer()
        return NOT_DONE_YET

    def answer(self) -> None:
        """Answer the oldest request that is not answered."""
        self.pending.pop(0).send(200, OK, b"ok")

    @property
    def uris(self) -> list[bytes]:
        return [uri for _, uri, _, _ in self.seen]


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
    """A channel and what it writes to."""

    channel: Channel
    transport: Transport

    def feed(self, *data: bytes) -> None:
        for each in data:
            self.channel.dataReceived(each)

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
        self.channel.connectionLost(Failure(ConnectionDone()))


class Lab:
    """A site with a recorder and a clock."""

    def __init__(self, at_once: bool = False, limits: Limits = LIMITS, resource: Resource | None = None) -> None:
        self.clock = Clock()
        self.recorder = Recorder(at_once)
        self.site = Site(resource or self.recorder, self.clock, limits)

    def connect(self, make: Callable[[], Transport] = Transport) -> Connection:
        channel = self.site.buildProtocol(None)
        assert isinstance(channel, Channel)
        transport = make()
        channel.makeConnection(transport)
        return Connection(channel, transport)

    def wait(self, seconds: float) -> None:
        """Let the time pass and the site look at its connections."""
        self.clock.advance(seconds)
        self.site.sweep()


def get(path: bytes, *fields: bytes, version: bytes = b"1.1", method: bytes = b"GET") -> bytes:
    """The head of a request."""
    return b"\r\n".join((method + b" " + path + b" HTTP/" + version, b"Host: x", *fields, b"", b""))


def posted(path: bytes, length: int, *fields: bytes) -> bytes:
    """The head of a request with a body."""
    return get(path, b"Content-Length: %d" % length, *fields, method=b"POST")


MALFORMED = get(b"/bad", b"X-A : b")
