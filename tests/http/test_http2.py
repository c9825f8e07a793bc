"""HTTP/2 connections, by the frames that go in and come out: no socket, and a clock that the test moves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from h2 import events
from h2.connection import ConnectionState
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.http2 import EMPTY_SETTINGS, PING, WHOLE_WINDOW, Client, Producer, ok
from twistserve.http import http2
from twistserve.http.limits import FRESH, Limits
from twistserve.http.request import Request
from twistserve.http.response import Response, fields_of


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    """Let nothing stay open that a test leaves."""
    yield
    while Client.made:
        Client.made.pop().lose()


# Requests and responses


def test_request_and_response() -> None:
    """A request has what one of HTTP/1.1 has; the response has what the server adds, in small letters."""
    client = Client()
    number = client.request("/a?b=c", ("user-agent", "test"), ("cookie", "a=b"), ("cookie", "c=d"), ("x-a", ""))
    [request] = client.recorder.requests
    assert (request.method, request.target, request.path) == (b"GET", b"/a?b=c", b"/a")
    assert request.fields == [(b"host", b"x"), (b"user-agent", b"test"), (b"x-a", b""), (b"cookie", b"a=b; c=d")]
    assert (request.version, request.remote, request.has_body) == ("2.0", "192.0.2.1", False)
    assert request.connection.isSecure()
    request.request_id = b"id"
    ok(request)
    client.exchange()
    head = client.head(number)
    assert list(head) == [b":status", b"content-length", b"x-request-id", b"server", b"date"]
    assert (head[b":status"], head[b"x-request-id"], head[b"server"]) == (b"200", b"id", b"twistserve")
    assert (client.body(number), client.ended(number)) == (b"ok", True)
    assert (client.site.streams, client.connection.streams) == (0, {})


def test_responses_come_in_any_order() -> None:
    """Requests on one connection do not wait for each other."""
    client = Client()
    numbers = [client.request(f"/{each}") for each in range(5)]
    for request in reversed(client.recorder.requests):
        ok(request, request.target)
    client.exchange()
    assert [event.stream_id for event in client.of(events.StreamEnded)] == numbers[::-1]
    assert [client.body(number) for number in numbers] == [b"/0", b"/1", b"/2", b"/3", b"/4"]


def test_responses_share_the_connection() -> None:
    """Large responses go out a frame of each in turn."""
    client = Client()
    client.request("/a"), client.request("/b")
    client.transport.producer.pauseProducing()  # type: ignore[union-attr]
    for request in client.recorder.requests:
        ok(request, request.target * 50_000)
    client.connection.resumeProducing()
    client.exchange()
    order = [event.stream_id for event in client.of(events.DataReceived)]
    assert order[:6] == [1, 3, 1, 3, 1, 3]
    assert client.body(3) == b"/b" * 50_000


# What is refused


def test_a_broken_connection() -> None:
    """What h2 takes for no HTTP/2 ends the connection, with a GOAWAY, and the requests on it."""
    client = Client()
    client.request("/running")
    client.feed(b"\0\0\x04\x08\0\0\0\0\0" + b"\0\0\0\0")  # a window that grows by nothing
    assert (client.goaway, client.closed, client.refused) == ([(ErrorCodes.PROTOCOL_ERROR, 1)], True, [400])
    assert client.recorder.requests[0].left
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


# Backpressure


def test_a_full_transport() -> None:
    """While the client does not read, whatever its windows say, nothing is read of it and producers wait."""
    client = Client()
    client.request()
    producer = Producer()
    client.recorder.requests[0].connection.respond(Response(200, [], producer=producer))
    client.connection.pauseProducing()
    assert client.transport.producerState == "paused"
    producer.consumer.write(b"x" * 100_000)
    assert producer.paused
    client.connection.resumeProducing()
    client.exchange()
    assert (client.transport.producerState, producer.paused, len(client.body(1))) == ("producing", False, 100_000)


def test_the_table_of_fields_stays_small() -> None:
    """A client cannot have us remember more fields than HPACK's default; each is looked through for each response."""
    client = Client()
    client.h2.update_settings({SettingCodes.HEADER_TABLE_SIZE: 2**30})
    client.exchange()
    for count in range(300):
        client.request()
        fields = [(b"X-%d" % count, b"%d" % count), (b"Content-Length", b"0")]
        client.recorder.requests[-1].connection.respond(Response(200, fields_of(fields)))
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


def test_a_lost_connection() -> None:
    """All requests of a connection that is lost are told."""
    client = Client()
    client.request(), client.request()
    client.request("/uploading", method="POST", end=False)
    client.lose()
    assert all(request.left for request in client.recorder.requests)
    assert (client.site.streams, len(client.site.connections), client.site.requests) == (0, 0, set())


def test_what_is_reset_at_once_is_not_begun() -> None:
    """A request that comes together with its reset does not reach the application."""
    client = Client()
    for number in (1, 3):
        client.h2.send_headers(
            number, [(":method", "GET"), (":scheme", "https"), (":authority", "x"), (":path", "/")], end_stream=True
        )
    client.h2.reset_stream(1)
    client.exchange()
    assert [request.connection.number for request in client.recorder.requests] == [3]


def test_a_stream_that_is_reset_while_it_waits() -> None:
    """What was seen of others before its reset is looked at does no harm."""
    client = Client(window=10)
    waiting = client.request()
    ok(client.recorder.requests[0], b"x" * 100)
    client.exchange()
    client.site.handler = ok
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


def test_responses_that_are_taken_earn_credit() -> None:
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


# The end


def test_drain_idle() -> None:
    """A connection that has been idle for a second is closed at once, another when it has; a first GOAWAY says so."""
    for seconds in (1, 0):
        client = Client()
        client.request()
        ok(client.recorder.requests[0])
        client.exchange()
        client.clock.advance(seconds)
        client.site.drain()
        client.exchange()
        assert (client.closed, client.goaway[0]) == (seconds == 1, (ErrorCodes.NO_ERROR, WHOLE_WINDOW))
        client.wait(1)
        assert (client.closed, client.goaway[1:]) == (True, [(ErrorCodes.NO_ERROR, 1)])


def test_the_end_is_announced() -> None:
    """By a GOAWAY with the highest number, once; what comes is served until the drain, however long that is."""
    client, fresh = Client(), Client()
    client.request()
    for each in (client, fresh):
        each.site.announce()
    client.exchange()
    assert (client.goaway, fresh.goaway) == ([(ErrorCodes.NO_ERROR, WHOLE_WINDOW)], [])
    client.wait(5)
    client.h2.state_machine.state = ConnectionState.CLIENT_OPEN
    late = client.request()
    for request in client.recorder.requests:
        ok(request)
    client.exchange()
    assert (client.ended(late), client.closed, len(client.goaway)) == (True, False, 1)
    fresh.request()
    assert fresh.goaway == [(ErrorCodes.NO_ERROR, WHOLE_WINDOW)]
    client.clock.advance(1)
    client.site.drain()
    client.exchange()
    assert (client.closed, client.goaway[1:]) == (True, [(ErrorCodes.NO_ERROR, late)])


def test_drain_fresh() -> None:
    """A connection without a request yet has a moment for one, and ends with its response."""
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
    """The client is told, what comes within a moment is handled, later requests are refused, then it ends."""
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
    """After a client's GOAWAY its requests have their responses; then the connection ends."""
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


def test_what_is_cut_off(caplog: pytest.LogCaptureFixture) -> None:
    """Requests that run, and those whose body is still to come."""
    client = Client()
    client.request("/running")
    client.request("/coming", method="POST", end=False)
    client.transport.abortConnection = client.lose  # type: ignore[method-assign]
    client.wait(7)
    client.site.abort()
    cut = [line for line in caplog.messages if line.startswith("cut off after ")]
    assert cut[0].endswith("s: GET /running: its response was being sent")
    assert cut[1:] == ["cut off after 7.0 s: POST /coming: its body was being received"]
    assert ([request.status for request in client.told], len(client.site.connections)) == ([503], 0)


# All together


ACTIONS = ["ask", "upload", "data", "end", "reset", "window", "settings", "respond", "stream", "write", "abort", "full",
           "read", "wait", "ping"]  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 5)), max_size=40))
@example([("ask", 0), ("stream", 1), ("settings", 0), ("respond", 0)])  # the window becomes negative
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
    client.site.tell()
    assert sorted(map(id, client.told)) == sorted(map(id, client.recorder.requests))


def _do(client: Client, action: str, number: int) -> None:
    """One step of a client or of the application; `number` chooses the stream or the size."""
    if client.closed:
        return
    streams = list(client.connection.streams.values())
    chosen = streams[number % len(streams)] if streams else None
    waiting = [request for request in client.recorder.requests if request in client.site.requests]
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
        _respond(waiting[number % len(waiting)], action, number)
    client.exchange()


def _respond(request: Request, action: str, number: int) -> None:
    connection = request.connection
    if action == "abort":
        connection.abort()
    elif action == "respond" and not request.status:
        ok(request, b"x" * number * 1000)
    elif action == "respond":
        connection.end()
    elif action == "stream" and not request.status:
        blocks = None if number % 2 == 0 else [b"x" * 700] * number
        connection.respond(Response(200, [], producer=Producer(blocks, ends=False)))
    elif action == "write" and request.status:
        connection.write(b"x" * number * 300)
