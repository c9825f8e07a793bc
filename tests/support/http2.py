"""Connections of HTTP/2 on a fake transport and a clock, with h2 as their client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from h2 import events
from h2.config import H2Configuration
from h2.connection import ConnectionState, H2Connection
from h2.settings import SettingCodes
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from twistserve.http.http2 import Connection
from twistserve.http.limits import Limits
from twistserve.http.request import Request
from twistserve.http.response import make_head
from twistserve.http.site import Site

LIMITS = Limits(header_timeout=15, body_timeout=30, keep_alive_timeout=75, max_body=3_000_000, max_connections=300)


WHOLE_WINDOW = 2**31 - 1


PING = b"\0\0\x08\x06\0\0\0\0\0" + b"12345678"


EMPTY_SETTINGS = b"\0\0\0\x04\0\0\0\0\0"


class Transport(StringTransport):
    """A transport as TLS is one: its producers may be unregistered twice."""

    def unregisterProducer(self) -> None:
        self.producer = None


class Recorder(Resource):
    """Keeps every request, and leaves the answer to the test."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Request] = []

    def render(self, request: Request) -> int:
        self.requests.append(request)
        return NOT_DONE_YET

    @property
    def paths(self) -> list[bytes]:
        return [request.uri for request in self.requests]


class Producer:
    """A producer that counts what it is told; with `blocks`, a pull producer that writes them."""

    def __init__(self, request: Request, blocks: list[bytes] | None = None) -> None:
        self.request = request
        self.blocks = blocks or []
        self.paused = False
        self.stopped = 0

    def resumeProducing(self) -> None:
        self.paused = False
        if self.blocks:
            self.request.write(self.blocks.pop(0))

    def pauseProducing(self) -> None:
        self.paused = True

    def stopProducing(self) -> None:
        self.stopped += 1


class Client:
    """A connection and h2 as its client."""

    made: ClassVar[list[Client]] = []

    def __init__(self, limits: Limits = LIMITS, window: int = WHOLE_WINDOW) -> None:
        self.made.append(self)
        self.clock = Clock()
        self.recorder = Recorder()
        self.site = Site(self.recorder, self.clock, limits)
        self.refused: list[int] = []
        self.site.refused = lambda channel, status, reason: self.refused.append(status)  # type: ignore[method-assign]
        self.transport = Transport()
        self.connection = Connection(self.site, limits.header_timeout, "192.0.2.1")
        self.site.channels.add(self.connection)
        self.connection.makeConnection(self.transport)
        self.h2 = H2Connection(H2Configuration(client_side=True, validate_outbound_headers=False))
        self.h2.initiate_connection()
        self.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: window})
        self.h2.increment_flow_control_window(WHOLE_WINDOW - 65535)
        self.received: list[events.Event] = []
        self.exchange()

    def exchange(self) -> None:
        """Let everything arrive that either side has sent."""
        while True:
            sent = self.transport.value()
            self.transport.clear()
            self.take(sent)
            data = self.h2.data_to_send()
            if not data and not sent:
                return
            if data:
                self.connection.dataReceived(data)

    def take(self, sent: bytes) -> None:
        """Have the client look at frames; h2 would look at nothing more after a GOAWAY."""
        while sent:
            size = 9 + int.from_bytes(sent[:3], "big")
            self.received += self.h2.receive_data(sent[:size])
            sent = sent[size:]
            if self.h2.state_machine.state is ConnectionState.CLOSED:
                self.h2.state_machine.state = ConnectionState.CLIENT_OPEN

    def request(self, path: str = "/", *fields: tuple[str, str], method: str = "GET", end: bool = True) -> int:
        """Send the head of a request; its stream."""
        number = self.h2.get_next_available_stream_id()
        pseudo = [(":method", method), (":scheme", "https"), (":authority", "x"), (":path", path)]
        self.h2.send_headers(number, [*pseudo, *fields], end_stream=end)
        self.exchange()
        return number

    def send(self, number: int, data: bytes, end: bool = False) -> None:
        """Send a part of a body, as fast as the windows allow."""
        for start in range(0, len(data), 16384):
            self.h2.send_data(number, data[start : start + 16384])
            self.exchange()
        if end:
            self.h2.end_stream(number)
            self.exchange()

    def feed(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.connection.dataReceived(data)
        self.exchange()

    def wait(self, seconds: float) -> None:
        """Let the time pass and the site look at its connections."""
        self.clock.advance(seconds)
        self.site.sweep()
        self.exchange()

    def of(self, kind: type[Any]) -> Iterator[Any]:
        """The events of a kind that have come."""
        return (event for event in self.received if isinstance(event, kind))

    def head(self, number: int) -> dict[bytes, bytes]:
        """The head of an answer."""
        [head] = [dict(event.headers) for event in self.of(events.ResponseReceived) if event.stream_id == number]
        return head

    def status(self, number: int) -> int:
        return int(self.head(number)[b":status"])

    def body(self, number: int) -> bytes:
        """What has come of the body of an answer."""
        return b"".join(event.data for event in self.of(events.DataReceived) if event.stream_id == number)

    def ended(self, number: int) -> bool:
        return number in {event.stream_id for event in self.of(events.StreamEnded)}

    def code(self, number: int) -> int | None:
        """The error code a stream was reset with."""
        return next((event.error_code for event in self.of(events.StreamReset) if event.stream_id == number), None)

    @property
    def goaway(self) -> list[tuple[int, int]]:
        """Error code and last stream of what said that the connection ends."""
        return [(event.error_code, event.last_stream_id) for event in self.of(events.ConnectionTerminated)]

    @property
    def closed(self) -> bool:
        return self.transport.disconnecting

    def lose(self) -> None:
        self.connection.connectionLost(Failure(ConnectionDone()))


def ok(request: Request, body: bytes = b"ok") -> None:
    request.send(200, make_head(200, [(b"Content-Length", b"%d" % len(body)), (b"Server", b"mine")]), body)
