"""Requests of HTTP/2 and their responses, each by itself: no socket, and a clock that the test moves."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from io import BytesIO
from types import SimpleNamespace

import pytest
from h2 import events
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from tests.support.http2 import PING, Client, Producer, ok
from twistserve.http.limits import LINGER, Limits
from twistserve.http.response import Response, content_length, error, fields_of


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    """Let nothing stay open that a test leaves."""
    yield
    while Client.made:
        Client.made.pop().lose()


def test_responses_without_a_body() -> None:
    """The head ends the response where there is no body."""
    client = Client()
    number = client.request(method="HEAD")
    ok(client.recorder.requests[0], b"12345")
    client.exchange()
    assert (client.head(number)[b"content-length"], client.body(number), client.ended(number)) == (b"5", b"", True)


def test_connection_fields_are_not_sent() -> None:
    """Fields that HTTP/2 forbids are left out, however the response is given."""
    fields = [(b"Connection", b"x"), (b"Keep-Alive", b"x"), (b"Proxy-Connection", b"x"), (b"Upgrade", b"x")]
    fields += [(b"Transfer-Encoding", b"chunked"), (b"Date", b"then"), (b"X-B", b" b ")]
    client = Client()
    one, two = client.request(), client.request()
    client.recorder.requests[0].connection.respond(Response(200, fields_of(fields), b"whole"))
    other = client.recorder.requests[1].connection
    other.respond(Response(200, fields_of(fields), b"piece ", producer=Producer()))
    other.write(b"by ")
    other.write(b"piece")
    other.end()
    client.exchange()
    for number, body in ((one, b"whole"), (two, b"piece by piece")):
        head = client.head(number)
        assert list(head) == [b":status", b"x-b", b"server", b"date"]
        assert (head[b"x-b"], client.body(number), client.ended(number)) == (b"b", body, True)
        assert head[b"date"] != b"then"


def test_an_id_of_the_applications() -> None:
    """It is in the response once, and is what the log has."""
    client = Client()
    number = client.request()
    request = client.recorder.requests[0]
    request.request_id = b"ours"
    request.connection.respond(Response(200, fields_of([(b"X-Request-ID", b"mine")]), request_id=b"mine"))
    client.exchange()
    assert client.head(number)[b"x-request-id"] == b"mine"
    assert request.request_id == b"mine"


def test_body() -> None:
    """A body without a length is complete before the request begins, and counted; a large one is in a file."""
    client = Client()
    number = client.request("/", method="POST", end=False)
    client.send(number, b"a" * 1_000_000)
    assert client.recorder.requests == []
    client.send(number, b"b" * 100_000, end=True)
    [request] = client.recorder.requests
    assert (request.has_body, request.body_length) == (True, 1_100_000)
    body, request.body = request.body, None
    assert body is not None
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
    assert (request.body_length, request.fields) == (4, [(b"host", b"x")])


def test_a_body_is_invited() -> None:
    """`Expect: 100-continue` gets its 100 at once."""
    client = Client()
    number = client.request("/", ("expect", "100-continue"), method="POST", end=False)
    assert [event.stream_id for event in client.of(events.InformationalResponseReceived)] == [number]
    client.send(number, b"body", end=True)
    ok(client.recorder.requests[0])
    client.exchange()
    assert client.status(number) == 200


def test_a_refused_head() -> None:
    """A refused request has its response, does not reach the application, and the connection goes on."""
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


def test_a_closed_window() -> None:
    """A client that takes nothing gets the head; producers wait, and files are not read."""
    client = Client(window=0)
    pushed, pulled = client.request(), client.request()
    push, pull = Producer(), Producer([b"a" * 9, b"b" * 9])
    for request, producer in zip(client.recorder.requests, (push, pull), strict=True):
        request.connection.respond(Response(200, [], producer=producer))
    push.consumer.write(b"x" * 10)
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
    """A client may take back its window, even below nothing; the response waits."""
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


@pytest.mark.parametrize(("limit", "status", "body"), [(100, 405, b"nope\n"), (2, 413, b"Content Too Large.\n")])
def test_a_response_at_once_is_whole(limit: int, status: int, body: bytes) -> None:
    """Whatever the same read had before the end of the request, such as a larger window."""
    client = Client(Limits(max_body=limit), window=100_000)
    client.site.handler = lambda request: request.connection.respond(error(405, b"nope\n"))
    number = client.h2.get_next_available_stream_id()
    client.h2.send_headers(number, [(":method", "POST"), (":scheme", "https"), (":authority", "x"), (":path", "/")])
    client.h2.increment_flow_control_window(1000, number)
    client.h2.send_data(number, b"abc", end_stream=True)
    client.exchange()
    assert (client.status(number), client.body(number), client.ended(number)) == (status, body, True)


@pytest.mark.parametrize("begun", [True, False])
def test_a_reset_that_is_still_to_be_looked_at(begun: bool) -> None:
    """A client that left is counted as one, not as a failure of ours, and what responds is told."""
    client = Client(window=1000)
    number, producer, told = client.request("/left"), Producer(), []
    request = client.recorder.requests[0]
    if begun:
        request.connection.respond(Response(200, [], b"x" * 5000, producer=producer))
    request.pending = SimpleNamespace(given_up=lambda: told.append(True), where=lambda: "")
    client.exchange()
    client.site.handler = ok
    client.h2.increment_flow_control_window(10, number)
    head = [(":method", "GET"), (":scheme", "https"), (":authority", "x"), (":path", "/next")]
    client.h2.send_headers(3, head, end_stream=True)
    client.h2.reset_stream(number, ErrorCodes.CANCEL)
    client.h2.send_headers(5, head, end_stream=True)
    client.exchange()
    client.site.tell()
    assert [(each.target, each.status) for each in client.told if each.left] == [(b"/left", 499)]
    assert (told, producer.stopped, len(client.told)) == ([True], int(begun), 3)


def test_a_reset_stream() -> None:
    """A client that resets a stream has left it: the request and its producer are told once, the others go on."""
    client = Client()
    reset, other = client.request("/reset"), client.request("/other")
    request = client.recorder.requests[0]
    producer = Producer()
    request.connection.respond(Response(200, [], producer=producer))
    client.h2.reset_stream(reset, ErrorCodes.CANCEL)
    client.exchange()
    assert (producer.stopped, request.left, request.status) == (1, True, 499)
    ok(client.recorder.requests[1])
    client.exchange()
    assert (client.status(other), client.site.streams, client.site.requests) == (200, 0, set())
    client.lose()
    assert (producer.stopped, len(client.site.connections)) == (1, 0)


def test_a_response_that_breaks_off() -> None:
    """It ends with a reset, and never looks complete."""
    client = Client()
    number = client.request()
    request = client.recorder.requests[0]
    request.connection.respond(Response(200, [content_length(8)], b"half", producer=Producer(), length=8))
    request.connection.abort()
    client.exchange()
    assert (client.body(number), client.ended(number)) == (b"half", False)
    assert (client.code(number), request.status) == (ErrorCodes.INTERNAL_ERROR, 500)
    assert not client.closed


def test_no_response_at_all() -> None:
    """A status that HTTP/2 knows no response with is a reset."""
    client = Client()
    number = client.request()
    client.recorder.requests[0].connection.respond(Response(101, []))
    client.exchange()
    assert (client.code(number), client.site.streams) == (ErrorCodes.INTERNAL_ERROR, 0)


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


def test_a_response_that_is_not_taken() -> None:
    """A client that opens no window loses the stream, after the time it may be idle without a byte taken."""
    client = Client(window=10)
    number = client.request()
    producer = Producer()
    client.recorder.requests[0].connection.respond(Response(200, [], producer=producer))
    producer.consumer.write(b"x" * 100)
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
    producer = Producer(None if streaming else [b"x" * 100, b"y" * 100])
    client.recorder.requests[0].connection.respond(Response(200, [], producer=producer))
    if streaming:
        client.connection.pauseProducing()
        producer.consumer.write(b"x" * 100)
        client.connection.resumeProducing()
    client.exchange()
    assert len(client.body(number)) == window
    client.wait(74)
    assert client.code(number) is None
    client.wait(1)
    assert (client.code(number), producer.stopped) == (ErrorCodes.CANCEL, 1)


def test_running_requests_have_time() -> None:
    """While the application works nothing is overdue."""
    client = Client()
    number = client.request()
    client.wait(10_000)
    ok(client.recorder.requests[0])
    client.exchange()
    assert client.status(number) == 200
