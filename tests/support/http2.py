"""Connections of HTTP/2 on a fake transport and a clock, with h2 as their client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from h2 import events
from h2.config import H2Configuration
from h2.connection import ConnectionState, H2Connection
from h2.settings import SettingCodes
from h2.windows import WindowManager
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from twistserve.http.http2 import Http2Connection
from twistserve.http.limits import Limits
from twistserve.http.request import Request
from twistserve.http.response import Response, content_length
from twistserve.http.site import Site

LIMITS = Limits(header_timeout=15, body_timeout=30, keep_alive_timeout=75, max_body=3_000_000, max_connections=300)


WHOLE_WINDOW = 2**31 - 1


PING = b"\0\0\x08\x06\0\0\0\0\0" + b"12345678"


EMPTY_SETTINGS = b"\0\0\0\x04\0\0\0\0\0"


_window_consumed = WindowManager.window_consumed


def _nothing_is_consumed_by_nothing(windows: WindowManager, size: int) -> None:
    """An empty frame may come while a window is negative (RFC 9113 section 6.9.1); h2 refuses it as a client."""
    if size:
        _window_consumed(windows, size)


WindowManager.window_consumed = _nothing_is_consumed_by_nothing  # type: ignore[assignment, method-assign]


class Transport(StringTransport):
    """A transport as TLS is one: its producers may be unregistered twice."""

    def unregisterProducer(self) -> None:
        self.producer = None


class Recorder:
    """Keeps every request, and leaves the response to the test."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    def __call__(self, request: Request) -> None:
        self.requests.append(request)

    @property
    def paths(self) -> list[bytes]:
        return [request.target for request in self.requests]


class Producer:
    """A producer that counts what it is told; with `blocks`, one that is pulled and writes them, and then ends."""

    def __init__(self, blocks: list[bytes] | None = None, ends: bool = True) -> None:
        self.blocks = blocks or []
        self.ends = ends
        self.pulled = blocks is not None
        self.paused = False
        self.stopped = 0

    def begin(self, consumer: Any) -> None:
        self.consumer = consumer
        consumer.registerProducer(self, not self.pulled)

    def resumeProducing(self) -> None:
        self.paused = False
        if self.blocks:
            self.consumer.write(self.blocks.pop(0))
            if not self.blocks and self.ends:
                self.consumer.end()

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
        self.told: list[Request] = []
        self.refused: list[int] = []
        refused = lambda remote, status, reason: self.refused.append(status)  # noqa: E731
        self.site = Site(self.recorder, self.clock, limits, self.told.extend, refused)
        self.transport = Transport()
        self.connection = Http2Connection(self.site, limits.header_timeout, "192.0.2.1")
        self.site.connections.replaced(self.connection, self.connection)
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
        self.site.connections.sweep()
        self.exchange()

    def of(self, kind: type[Any]) -> Iterator[Any]:
        """The events of a kind that have come."""
        return (event for event in self.received if isinstance(event, kind))

    def head(self, number: int) -> dict[bytes, bytes]:
        """The head of a response."""
        [head] = [dict(event.headers) for event in self.of(events.ResponseReceived) if event.stream_id == number]
        return head

    def status(self, number: int) -> int:
        return int(self.head(number)[b":status"])

    def body(self, number: int) -> bytes:
        """What has come of the body of a response."""
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
    """Respond by a body."""
    request.connection.respond(Response(200, [content_length(len(body))], body))
