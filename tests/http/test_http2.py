"""HTTP/2 connections, by the frames that go in and come out: no socket, and a clock that the test moves."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from io import BytesIO
from typing import Any, ClassVar

import pytest
from h2 import events
from h2.config import H2Configuration
from h2.connection import ConnectionState, H2Connection
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from twistserve.http import http2
from twistserve.http.head import Refusal, checked_as_http1
from twistserve.http.http2 import Connection
from twistserve.http.limits import FRESH, LINGER, Limits
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


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    """Let nothing stay open that a test leaves."""
    yield
    while Client.made:
        Client.made.pop().lose()


def ok(request: Request, body: bytes = b"ok") -> None:
    request.send(200, make_head(200, [(b"Content-Length", b"%d" % len(body)), (b"Server", b"mine")]), body)


# Requests and answers


def test_request_and_answer() -> None:
    """A request has what one of HTTP/1.1 has; the answer has what the server adds, in small letters."""
    client = Client()
    number = client.request("/a?b=c", ("user-agent", "test"), ("cookie", "a=b"), ("cookie", "c=d"), ("x-a", ""))
    [request] = client.recorder.requests
    assert (request.method, request.uri, request.path) == (b"GET", b"/a?b=c", b"/a")
    assert request.raw_headers == [(b"host", b"x"), (b"user-agent", b"test"), (b"x-a", b""), (b"cookie", b"a=b; c=d")]
    assert (request.clientproto, request.remote, request.has_body) == (b"HTTP/2.0", "192.0.2.1", False)
    assert request.isSecure()
    request.request_id = b"id"
    ok(request)
    client.exchange()
    head = client.head(number)
    assert list(head) == [b":status", b"content-length", b"x-request-id", b"server", b"date"]
    assert (head[b":status"], head[b"x-request-id"], head[b"server"]) == (b"200", b"id", b"twistserve")
    assert (client.body(number), client.ended(number)) == (b"ok", True)
    assert (client.site.streams, client.connection.streams) == (0, {})


def test_answers_without_a_body() -> None:
    """The head ends the answer where there is no body."""
    client = Client()
    number = client.request(method="HEAD")
    client.recorder.requests[0].send(200, make_head(200, [(b"Content-Length", b"5")]), b"")
    client.exchange()
    assert (client.head(number)[b"content-length"], client.body(number), client.ended(number)) == (b"5", b"", True)


def test_connection_fields_are_not_sent() -> None:
    """Fields that HTTP/2 forbids are left out, however the answer is given."""
    fields = [(b"Connection", b"x"), (b"Keep-Alive", b"x"), (b"Proxy-Connection", b"x"), (b"Upgrade", b"x")]
    fields += [(b"Transfer-Encoding", b"chunked"), (b"Date", b"then"), (b"X-B", b" b ")]
    client = Client()
    one, two = client.request(), client.request()
    client.recorder.requests[0].send(200, make_head(200, fields), b"whole")
    other = client.recorder.requests[1]
    for name, value in fields:
        other.responseHeaders.addRawHeader(name, value)
    other.write(b"piece by ")
    other.write(b"piece")
    other.finish()
    client.exchange()
    for number, body in ((one, b"whole"), (two, b"piece by piece")):
        head = client.head(number)
        assert list(head) == [b":status", b"x-b", b"server", b"date"]
        assert (head[b"x-b"], client.body(number), client.ended(number)) == (b"b", body, True)
        assert head[b"date"] != b"then"


def test_answers_come_in_any_order() -> None:
    """Requests on one connection do not wait for each other."""
    client = Client()
    numbers = [client.request(f"/{each}") for each in range(5)]
    for request in reversed(client.recorder.requests):
        ok(request, request.uri)
    client.exchange()
    assert [event.stream_id for event in client.of(events.StreamEnded)] == numbers[::-1]
    assert [client.body(number) for number in numbers] == [b"/0", b"/1", b"/2", b"/3", b"/4"]


def test_answers_share_the_connection() -> None:
    """Large answers go out a frame of each in turn."""
    client = Client()
    client.request("/a"), client.request("/b")
    client.transport.producer.pauseProducing()  # type: ignore[union-attr]
    for request in client.recorder.requests:
        ok(request, request.uri * 50_000)
    client.connection.resumeProducing()
    client.exchange()
    order = [event.stream_id for event in client.of(events.DataReceived)]
    assert order[:6] == [1, 3, 1, 3, 1, 3]
    assert client.body(3) == b"/b" * 50_000


def test_body() -> None:
    """A body without a length is complete before the request begins, and counted; a large one is in a file."""
    client = Client()
    number = client.request("/", method="POST", end=False)
    client.send(number, b"a" * 1_000_000)
    assert client.recorder.requests == []
    client.send(number, b"b" * 100_000, end=True)
    [request] = client.recorder.requests
    assert (request.has_body, request.body_length) == (True, 1_100_000)
    body = request.take_body()
    assert isinstance(body.fileno(), int)
    assert body.read() == b"a" * 1_000_000 + b"b" * 100_000
    body.close()


def test_trailers_are_dropped() -> None:
    """Trailers end a request, and nobody sees them."""
    client = Client()
    number = client.request("/", method="POST", end=False)
    client.send(number, b"body")
    client.h2.send_headers(number, [("x-trailer", "1")], end_stream=True)
    client.exchange()
    [request] = client.recorder.requests
    assert (request.body_length, request.raw_headers) == (4, [(b"host", b"x")])


def test_a_body_is_invited() -> None:
    """`Expect: 100-continue` is answered at once."""
    client = Client()
    number = client.request("/", ("expect", "100-continue"), method="POST", end=False)
    assert [event.stream_id for event in client.of(events.InformationalResponseReceived)] == [number]
    client.send(number, b"body", end=True)
    ok(client.recorder.requests[0])
    client.exchange()
    assert client.status(number) == 200


# What is refused


HEADS: dict[str, tuple[list[tuple[bytes, bytes]], int]] = {
    "method unknown": ([(b":method", b"BREW")], 501),
    "method small": ([(b":method", b"get")], 501),
    "method with space": ([(b":method", b"GET /x")], 400),
    "method connect": ([(b":method", b"CONNECT")], 501),
    "method preface": ([(b":method", b"PRI")], 400),
    "target absolute": ([(b":path", b"https://x/")], 400),
    "target relative": ([(b":path", b"a")], 400),
    "target fragment": ([(b":path", b"/a#b")], 400),
    "target space": ([(b":path", b"/a b")], 400),
    "target with version": ([(b":path", b"/ HTTP/1.1")], 400),
    "target control": ([(b":path", b"/\x01")], 400),
    "star": ([(b":path", b"*")], 400),
    "scheme": ([(b":scheme", b"ftp")], 400),
    "authority user": ([(b":authority", b"me@x")], 400),
    "authority empty and host": ([(b":authority", b"a b")], 400),
    "control character": ([(b"x-a", b"a\x01b")], 400),
    "delete": ([(b"x-a", b"a\x7fb")], 400),
    "name": ([(b"x(a)", b"a")], 400),
    "length": ([(b"content-length", b"+1")], 400),
    "lengths": ([(b"content-length", b"1"), (b"content-length", b"1")], 400),
    "target too long": ([(b":path", b"/" + b"a" * 70_000)], 414),
    "fields too many": ([(b"x-a", b"")] * 256, 431),
    "fields too long": ([(b"x-a", b"a" * 70_000)], 431),
}


@pytest.mark.parametrize(("changed", "status"), HEADS.values(), ids=HEADS)
def test_refused_heads(changed: list[tuple[bytes, bytes]], status: int) -> None:
    """What HTTP/1.1 refuses is refused here too, with the same status."""
    pseudo = {b":method": b"GET", b":scheme": b"https", b":authority": b"x", b":path": b"/"}
    pseudo |= {name: value for name, value in changed if name.startswith(b":")}
    fields = [(name, value) for name, value in changed if not name.startswith(b":")]
    with pytest.raises(Refusal) as refusal:
        checked_as_http1([*pseudo.items(), *fields], LIMITS)
    assert refusal.value.status == status


@given(st.binary(max_size=40), st.binary(max_size=40), st.binary(max_size=40), st.binary(max_size=40))
def test_no_head_becomes_another(method: bytes, path: bytes, name: bytes, value: bytes) -> None:
    """Whatever a head holds is refused, or is the request's to the byte."""
    pseudo = [(b":method", method), (b":scheme", b"https"), (b":authority", b"x"), (b":path", path)]
    try:
        head = checked_as_http1([*pseudo, (b"x" + name, value)], LIMITS)
    except Refusal:
        return
    assert (head.method, head.target) == (method, path)
    assert head.fields == [(b"host", b"x"), (b"x" + name, value)]


def test_a_refused_head() -> None:
    """A refused request is answered, does not reach the application, and the connection goes on."""
    client = Client()
    bad = client.request("/a b")
    good = client.request("/good")
    ok(client.recorder.requests[0])
    client.exchange()
    assert (client.status(bad), client.body(bad), client.ended(bad)) == (400, b"Bad Request.\n", True)
    assert (client.status(good), client.recorder.paths, client.refused) == (200, [b"/good"], [400])


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_too_large(announced: bool) -> None:
    """413 as soon as it is known; what else comes is dropped, and after a while the stream is reset."""
    client = Client()
    fields = [("content-length", "4000000")] if announced else []
    number = client.request("/", *fields, method="POST", end=False)
    if not announced:
        client.send(number, b"x" * 3_000_000)
        assert client.refused == []
    client.send(number, b"x" * 100_000)
    assert (client.status(number), client.ended(number), client.code(number)) == (413, True, None)
    client.wait(LINGER)
    assert (client.code(number), client.recorder.requests, client.site.streams) == (ErrorCodes.NO_ERROR, [], 0)
    ok_number = client.request("/", method="POST", end=False)
    client.send(ok_number, b"x" * 2_000_000, end=True)
    assert client.recorder.requests[0].body_length == 2_000_000
    ok(client.recorder.requests[0])


def test_a_length_that_is_not_true() -> None:
    """A request that ends with its head, whose length says otherwise, is refused."""
    client = Client()
    number = client.request("/", ("content-length", "5"), method="POST")
    assert (client.status(number), client.recorder.requests) == (400, [])


def test_a_broken_connection() -> None:
    """What h2 takes for no HTTP/2 ends the connection, with a GOAWAY, and the requests on it."""
    client = Client()
    client.request("/running")
    client.feed(b"\0\0\x04\x08\0\0\0\0\0" + b"\0\0\0\0")  # a window that grows by nothing
    assert (client.goaway, client.closed, client.refused) == ([(ErrorCodes.PROTOCOL_ERROR, 1)], True, [400])
    assert client.recorder.requests[0]._disconnected
    client.feed(PING)


def test_a_head_that_cannot_be_read() -> None:
    """Fields that are many times too large end the connection, whatever they take on the wire."""
    client = Client()
    fields = [("x-a", "a" * 4000)] * 100
    client.h2.send_headers(1, [(":method", "GET"), (":scheme", "https"), (":authority", "x"), (":path", "/"), *fields])
    data = client.h2.data_to_send()
    assert len(data) < 10_000
    client.feed(data)
    assert (client.goaway, client.refused) == ([(ErrorCodes.ENHANCE_YOUR_CALM, 0)], [431])


@pytest.mark.parametrize(("error", "status"), [(errno.ENOSPC, 507), (errno.EIO, 500)])
@pytest.mark.parametrize("method", ["write", "seek"])
def test_a_body_that_cannot_be_stored(monkeypatch: pytest.MonkeyPatch, method: str, error: int, status: int) -> None:
    """Where there is no room for a body, the request is refused; the connection goes on."""

    class Full(BytesIO):
        pass

    def fail(*arguments: object) -> None:
        raise OSError(error, "no")

    setattr(Full, method, fail)
    monkeypatch.setattr("twistserve.http.body.SPOOL_SIZE", 3)
    monkeypatch.setattr("tempfile.TemporaryFile", lambda **kwargs: Full())
    client = Client()
    number = client.request("/", method="POST", end=False)
    client.send(number, b"body", end=True)
    assert (client.status(number), client.recorder.requests, client.site.streams) == (status, [], 0)
    assert client.body(client.request("/a b")) == b"Bad Request.\n"


# Backpressure


def test_a_closed_window() -> None:
    """A client that takes nothing gets the head; producers wait, and files are not read."""
    client = Client(window=0)
    pushed, pulled = client.request(), client.request()
    push, pull = Producer(client.recorder.requests[0]), Producer(client.recorder.requests[1], [b"a" * 9, b"b" * 9])
    push.request.write(b"")
    push.request.registerProducer(push, True)
    push.request.write(b"x" * 10)
    pull.request.write(b"")
    pull.request.registerProducer(pull, False)
    client.exchange()
    assert (client.status(pushed), client.status(pulled)) == (200, 200)
    assert (push.paused, len(pull.blocks), client.body(pushed) + client.body(pulled)) == (True, 2, b"")
    client.h2.increment_flow_control_window(4, pushed)
    client.h2.increment_flow_control_window(4, pulled)
    client.exchange()
    assert (client.body(pushed), client.body(pulled)) == (b"xxxx", b"aaaa")
    assert (push.paused, len(pull.blocks)) == (True, 1)
    client.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 100})
    client.exchange()
    assert (client.body(pushed), client.body(pulled)) == (b"x" * 10, b"a" * 9 + b"b" * 9)
    assert not push.paused


def test_a_window_that_shrinks() -> None:
    """A client may take back its window, even below nothing; the answer waits."""
    client = Client(window=1000)
    number = client.request()
    ok(client.recorder.requests[0], b"x" * 5000)
    client.exchange()
    client.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 10})
    client.exchange()
    assert len(client.body(number)) == 1000
    client.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 5000})
    client.exchange()
    assert (len(client.body(number)), client.ended(number)) == (5000, True)


def test_a_full_transport() -> None:
    """While the client does not read, whatever its windows say, nothing is read of it and producers wait."""
    client = Client()
    client.request()
    producer = Producer(client.recorder.requests[0])
    producer.request.registerProducer(producer, True)
    client.connection.pauseProducing()
    assert client.transport.producerState == "paused"
    producer.request.write(b"x" * 100_000)
    assert producer.paused
    client.connection.resumeProducing()
    client.exchange()
    assert (client.transport.producerState, producer.paused, len(client.body(1))) == ("producing", False, 100_000)


def test_the_table_of_fields_stays_small() -> None:
    """A client cannot have us remember more fields than HPACK's default; each is looked through for each answer."""
    client = Client()
    client.h2.update_settings({SettingCodes.HEADER_TABLE_SIZE: 2**30})
    client.exchange()
    for count in range(300):
        client.request()
        fields = [(b"X-%d" % count, b"%d" % count), (b"Content-Length", b"0")]
        client.recorder.requests[-1].send(200, make_head(200, fields), b"")
        client.exchange()
    client.h2.update_settings({SettingCodes.HEADER_TABLE_SIZE: 100})
    client.exchange()
    client.request()
    ok(client.recorder.requests[-1])
    client.exchange()
    client.h2.update_settings({SettingCodes.HEADER_TABLE_SIZE: 2**20})
    client.exchange()
    assert client.connection.h2.encoder.header_table_size == http2.TABLE
    assert client.status(601) == 200
    assert client.head(599)[b"x-299"] == b"299"


# Who goes away


def test_a_reset_stream() -> None:
    """A client that resets a stream has left it: the request and its producer are told once, the others go on."""
    client = Client()
    reset, other = client.request("/reset"), client.request("/other")
    request = client.recorder.requests[0]
    gone = request.notifyFinish()
    gone.addErrback(lambda failure: None)
    producer = Producer(request)
    request.registerProducer(producer, True)
    client.h2.reset_stream(reset, ErrorCodes.CANCEL)
    client.exchange()
    assert (producer.stopped, request._disconnected, gone.called, request.code) == (1, True, True, 499)
    ok(client.recorder.requests[1])
    client.exchange()
    assert (client.status(other), client.site.streams, client.site.requests) == (200, 0, set())
    client.lose()
    assert (producer.stopped, client.site.channels) == (1, set())


def test_a_lost_connection() -> None:
    """All requests of a connection that is lost are told."""
    client = Client()
    client.request(), client.request()
    client.request("/uploading", method="POST", end=False)
    client.lose()
    assert all(request._disconnected for request in client.recorder.requests)
    assert (client.site.streams, client.site.channels, client.site.requests) == (0, set(), set())


def test_what_is_reset_at_once_is_not_begun() -> None:
    """A request that comes together with its reset does not reach the application."""
    client = Client()
    for number in (1, 3):
        client.h2.send_headers(
            number, [(":method", "GET"), (":scheme", "https"), (":authority", "x"), (":path", "/")], end_stream=True
        )
    client.h2.reset_stream(1)
    client.exchange()
    assert [request.channel.number for request in client.recorder.requests] == [3]


def test_an_answer_that_breaks_off() -> None:
    """It ends with a reset, and never looks complete."""
    client = Client()
    number = client.request()
    request = client.recorder.requests[0]
    request.write(b"half")
    request.abort()
    client.exchange()
    assert (client.body(number), client.ended(number)) == (b"half", False)
    assert (client.code(number), request.code) == (ErrorCodes.INTERNAL_ERROR, 500)
    assert not client.closed


def test_no_answer_at_all() -> None:
    """A status that HTTP/2 knows no answer with is a reset."""
    client = Client()
    number = client.request()
    client.recorder.requests[0].send(101, make_head(101, []), b"")
    client.exchange()
    assert (client.code(number), client.site.streams) == (ErrorCodes.INTERNAL_ERROR, 0)


def test_a_stream_that_is_reset_while_it_waits() -> None:
    """What was seen of others before its reset is looked at does no harm."""
    client = Client(window=10)
    waiting = client.request()
    ok(client.recorder.requests[0], b"x" * 100)
    client.exchange()
    client.recorder.render = lambda request: ok(request) or NOT_DONE_YET  # type: ignore[func-returns-value,method-assign]
    client.h2.increment_flow_control_window(10, waiting)
    head = [(":method", "GET"), (":scheme", "https"), (":authority", "x"), (":path", "/")]
    client.h2.send_headers(3, head, end_stream=True)
    client.h2.reset_stream(waiting)
    client.exchange()
    assert (client.status(3), len(client.body(waiting)), client.site.streams) == (200, 10, 0)


# Floods


@pytest.mark.parametrize("flood", ["resets", "pings", "settings", "empty data"])
def test_floods(flood: str) -> None:
    """More of what only costs than is allowed at once ends the connection; at the rate that is allowed it goes on."""
    client = Client()
    data = {"pings": PING, "settings": EMPTY_SETTINGS, "empty data": b"\0\0\0\0\0\0\0\0\x01"}.get(flood)
    client.request("/", method="POST", end=False)

    def once() -> None:
        if data is not None:
            client.feed(data)
        else:
            client.h2.reset_stream(client.request())

    for _ in range(900):
        once()
    client.clock.advance(900 / http2.CREDIT_RATE)
    for _ in range(900):
        once()
    client.exchange()
    assert not client.closed
    for _ in range(200):
        once()
    client.exchange()
    assert (client.closed, client.refused) == (True, [400])
    assert client.goaway[0][0] == ErrorCodes.ENHANCE_YOUR_CALM


def test_continuations() -> None:
    """A head in endless pieces ends the connection."""
    client = Client()
    client.feed(b"\0\0\x01\x01\0\0\0\0\x01\x82")
    for _ in range(64):
        client.connection.dataReceived(b"\0\0\x01\x09\0\0\0\0\x01\x84")
    assert (client.closed, client.refused) == (True, [400])


def test_answers_that_are_taken_earn_credit() -> None:
    """A client that cancels as many requests as it lets end may do so for ever."""
    client = Client()
    for _ in range(1200):
        client.h2.reset_stream(client.request())
        client.request()
        ok(client.recorder.requests[-1])
        client.exchange()
        client.received.clear()
    assert not client.closed


def test_too_many_streams() -> None:
    """One connection has a hundred requests at most at a time."""
    client = Client()
    for _ in range(100):
        client.request()
    client.h2.remote_settings[SettingCodes.MAX_CONCURRENT_STREAMS] = 1000
    client.h2.remote_settings.acknowledge()
    client.request()
    assert (client.closed, len(client.recorder.requests), client.site.streams) == (True, 100, 0)


def test_streams_are_bounded_as_connections_are() -> None:
    """All connections together have as many requests open as there may be connections; more may be tried again."""
    client = Client(Limits(max_connections=3))
    numbers = [client.request() for _ in range(4)]
    assert client.code(numbers[3]) == ErrorCodes.REFUSED_STREAM
    ok(client.recorder.requests[0])
    client.exchange()
    client.request()
    assert len(client.recorder.requests) == 4


def test_frames_too_large() -> None:
    """No frame is taken that is larger than the 16 KB that were agreed on."""
    client = Client()
    client.connection.dataReceived(b"\0\xff\xff\0\0\0\0\0\x01" + b"x" * 65535)
    assert client.closed


# Time


def test_silence_at_first() -> None:
    """A connection that says nothing ends after the time for a head."""
    client = Client()
    client.wait(14.9)
    assert not client.closed
    client.wait(0.1)
    assert (client.closed, client.goaway) == (True, [(ErrorCodes.NO_ERROR, 0)])


def test_idle() -> None:
    """A connection without requests ends after the time for that, whatever pings it sends."""
    client = Client()
    client.request()
    client.wait(100)
    ok(client.recorder.requests[0])
    client.exchange()
    client.wait(74)
    assert not client.closed
    client.feed(PING)
    client.wait(1)
    assert (client.closed, client.goaway) == (True, [(ErrorCodes.NO_ERROR, 1)])


def test_half_a_head() -> None:
    """A head that begins and does not end has the time for a head."""
    client = Client()
    client.request()
    ok(client.recorder.requests[0])
    client.exchange()
    client.feed(b"\0\0\x01\x01\0\0\0\0\x03")
    client.wait(15)
    assert client.closed


def test_a_body_that_stalls() -> None:
    """A request whose body stalls gets 408, however many pings and empty frames come; the others go on."""
    client = Client(window=1000)
    other = client.request()
    number = client.request("/", method="POST", end=False)
    client.wait(29)
    client.send(number, b"x")
    client.wait(29)
    client.feed(PING + b"\0\0\0\0\0\0\0\0\x03")
    client.h2.increment_flow_control_window(1, number)
    client.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 70_000})
    client.exchange()
    assert client.refused == []
    client.wait(1)
    assert (client.status(number), client.refused) == (408, [408])
    client.h2.increment_flow_control_window(1, number)
    client.exchange()
    client.wait(LINGER)
    assert client.code(number) == ErrorCodes.NO_ERROR
    ok(client.recorder.requests[0])
    client.exchange()
    assert client.status(other) == 200


def test_an_answer_that_is_not_taken() -> None:
    """A client that opens no window loses the stream, after the time it may be idle without a byte taken."""
    client = Client(window=10)
    number = client.request()
    producer = Producer(client.recorder.requests[0])
    producer.request.write(b"")
    producer.request.registerProducer(producer, True)
    producer.request.write(b"x" * 100)
    client.exchange()
    client.wait(74)
    client.h2.increment_flow_control_window(1, number)
    client.exchange()
    client.wait(74)
    assert client.code(number) is None
    client.wait(1)
    assert (client.code(number), producer.stopped, client.closed) == (ErrorCodes.CANCEL, 1, False)


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("window", [0, 100])
def test_a_window_that_is_used_up_exactly(window: int, streaming: bool) -> None:
    """A client that takes all there was, and no more, has no more time than others."""
    client = Client(window=window)
    number = client.request()
    producer = Producer(client.recorder.requests[0], [] if streaming else [b"x" * 100, b"y" * 100])
    producer.request.write(b"")
    producer.request.registerProducer(producer, streaming)
    if streaming:
        client.connection.pauseProducing()
        producer.request.write(b"x" * 100)
        client.connection.resumeProducing()
    client.exchange()
    assert len(client.body(number)) == window
    client.wait(74)
    assert client.code(number) is None
    client.wait(1)
    assert (client.code(number), producer.stopped) == (ErrorCodes.CANCEL, 1)


def test_a_client_that_reads_nothing() -> None:
    """A connection whose transport stays full is aborted."""
    client = Client()
    client.request()
    aborted: list[bool] = []
    client.transport.abortConnection = lambda: aborted.append(True)  # type: ignore[method-assign]
    ok(client.recorder.requests[0], b"x" * 100_000)
    client.connection.pauseProducing()
    client.wait(74)
    assert not aborted
    client.wait(1)
    assert aborted


def test_running_requests_have_time() -> None:
    """While the application works nothing is overdue."""
    client = Client()
    number = client.request()
    client.wait(10_000)
    ok(client.recorder.requests[0])
    client.exchange()
    assert client.status(number) == 200


# The end


def test_drain_idle() -> None:
    """An idle connection is closed at once, with a GOAWAY."""
    client = Client()
    client.request()
    ok(client.recorder.requests[0])
    client.exchange()
    client.site.drain()
    client.exchange()
    assert (client.closed, client.goaway) == (True, [(ErrorCodes.NO_ERROR, 1)])


def test_drain_fresh() -> None:
    """A connection without a request yet has a moment for one, and ends with its answer."""
    client = Client()
    client.site.drain()
    assert not client.closed
    number = client.request()
    ok(client.recorder.requests[0])
    client.exchange()
    assert (client.status(number), client.closed) == (200, True)
    silent = Client()
    silent.site.drain()
    silent.wait(FRESH)
    assert silent.closed


def test_drain_in_flight() -> None:
    """The client is told, what comes within a moment is answered, later requests are refused, then it ends."""
    client = Client()
    drained: list[None] = []
    client.request("/in-flight")
    client.site.drain().addCallback(drained.append)
    client.connection.dataReceived(client.h2.data_to_send())
    head = [(":method", "GET"), (":scheme", "https"), (":authority", "x"), (":path", "/on-its-way")]
    client.h2.send_headers(3, head, end_stream=True)
    client.connection.dataReceived(client.h2.data_to_send())
    client.clock.advance(FRESH + 0.1)
    client.h2.send_headers(5, head, end_stream=True)
    client.connection.dataReceived(client.h2.data_to_send())
    assert client.recorder.paths == [b"/in-flight", b"/on-its-way"]
    for request in client.recorder.requests:
        ok(request)
    client.exchange()
    assert (client.ended(1), client.ended(3), client.code(5)) == (True, True, ErrorCodes.REFUSED_STREAM)
    assert (client.closed, client.goaway) == (True, [(ErrorCodes.NO_ERROR, WHOLE_WINDOW), (ErrorCodes.NO_ERROR, 5)])
    client.lose()
    assert drained == [None]


def test_a_client_that_ends_gently() -> None:
    """After a client's GOAWAY its requests are answered; then the connection ends."""
    client = Client()
    number = client.request()
    client.h2.close_connection()
    client.connection.dataReceived(client.h2.data_to_send())
    assert not client.closed
    client.h2.state_machine.state = ConnectionState.CLIENT_OPEN
    ok(client.recorder.requests[0])
    client.exchange()
    assert client.ended(number)
    assert client.closed


def test_a_client_that_ends() -> None:
    """After the GOAWAY of a client that waits for nothing the connection ends."""
    client = Client()
    client.h2.close_connection()
    client.connection.dataReceived(client.h2.data_to_send())
    assert client.closed


# All together


ACTIONS = ["ask", "upload", "data", "end", "reset", "window", "settings", "answer", "stream", "write", "abort", "full",
           "read", "wait", "ping"]  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 5)), max_size=40))
def test_whatever_happens(actions: list[tuple[str, int]]) -> None:
    """No stream waits for a client for ever, none has data that it could send, and in the end nothing is left."""
    client = Client(window=1000)
    for action, number in actions:
        _do(client, action, number)
        if not client.closed and not client.connection._full:
            for stream in client.connection.streams.values():
                assert stream.deadline or stream._complete
                assert stream.deadline or not stream._blocks
                assert not stream._blocks or client.connection.h2.local_flow_control_window(stream.number) <= 0
    client.lose()
    assert (client.site.streams, client.site.requests) == (0, set())
    assert all(request._disconnected or request.finished for request in client.recorder.requests)


def _do(client: Client, action: str, number: int) -> None:
    """One step of a client or of the application; `number` chooses the stream or the size."""
    if client.closed:
        return
    streams = list(client.connection.streams.values())
    chosen = streams[number % len(streams)] if streams else None
    waiting = [request for request in client.recorder.requests if not request.finished and not request._disconnected]
    if action in ("ask", "upload"):
        client.request(method="POST", end=action == "ask")
    elif action == "ping":
        client.feed(PING)
    elif action == "settings":
        client.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: number * 1000})
    elif action == "wait":
        client.wait(number * 10)
    elif action == "full" and not client.connection._full:
        client.connection.pauseProducing()
    elif action == "read" and client.connection._full:
        client.connection.resumeProducing()
    elif chosen is not None and action in ("data", "end") and not chosen._complete:
        client.send(chosen.number, b"x" * number, end=action == "end")
    elif chosen is not None and action == "reset":
        client.h2.reset_stream(chosen.number)
    elif chosen is not None and action == "window":
        client.h2.increment_flow_control_window(1 + number * 500, chosen.number)
    elif waiting:
        _answer(waiting[number % len(waiting)], action, number)
    client.exchange()


def _answer(request: Request, action: str, number: int) -> None:
    if action == "abort":
        request.abort()
    elif action == "answer" and not request.startedWriting:
        ok(request, b"x" * number * 1000)
    elif action == "answer":
        if request.producer is not None:
            request.unregisterProducer()
        request.finish()
    elif action == "stream" and not request.startedWriting:
        request.write(b"")
        request.registerProducer(Producer(request, [b"x" * 700] * number), number % 2 == 0)
    elif action == "write" and request.startedWriting:
        request.write(b"x" * number * 300)
