"""What goes out for what a mounted resource does with its request."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from twisted.internet import error
from twisted.web.error import UnsupportedMethod
from twisted.web.resource import Resource

from tests.support.http1 import LIMITS
from tests.support.resources import Later, Mounted, body_of


class Says(Resource):
    """Does with each request what it is told to, and returns what that returns."""

    isLeaf = True

    def __init__(self, does: Any) -> None:
        super().__init__()
        self.does = does

    def render(self, request: Any) -> Any:
        return self.does(request)


def test_what_a_resource_returns() -> None:
    """In one piece, with its length, and nothing of Twisted's own head."""
    lab = Mounted(Says(lambda request: b"hello"))
    connection = lab.ask()
    assert connection.statuses == [200]
    assert b"\r\nContent-Length: 5\r\n" in connection.sent
    assert connection.sent.count(b"Server: ") == connection.sent.count(b"Date: ") == 1
    assert body_of(connection) == b"hello"
    assert (lab.site.in_flight, connection.closed) == (0, False)


def test_a_streamed_body_is_chunked() -> None:
    """The first piece goes out at once; the end comes with finish()."""
    lab = Mounted(later := Later())
    connection = lab.ask()
    [request] = later.requests
    request.write(b"one")
    assert b"Transfer-Encoding: chunked" in connection.sent
    assert body_of(connection) == b"3\r\none\r\n"
    request.write(b"")
    request.write(b"two")
    request.finish()
    assert body_of(connection) == b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"
    assert later.ends == [None]
    connection.feed(b"GET /r HTTP/1.1\r\nHost: x\r\n\r\n")
    assert len(later.requests) == 2


def test_nothing_is_written() -> None:
    """A response without a body says so."""
    lab = Mounted(later := Later())
    connection = lab.ask()
    later.requests[0].finish()
    assert b"Content-Length: 0\r\n" in connection.sent


@pytest.mark.parametrize(("method", "code"), [(b"HEAD", 200), (b"GET", 304), (b"GET", 204)])
def test_responses_without_a_body(method: bytes, code: int) -> None:
    """Whatever the resource writes."""

    def does(request: Any) -> bytes:
        request.setResponseCode(code)
        return b"hello"

    connection = Mounted(Says(does)).ask(method=method)
    assert connection.statuses == [code]
    assert body_of(connection) == b""
    assert (b"Content-Length" in connection.sent) is (code != 204)


@pytest.mark.parametrize(("method", "code"), [(b"HEAD", 200), (b"GET", 304), (b"GET", 204)])
def test_a_stream_that_has_no_body_ends(method: bytes, code: int) -> None:
    """Else it would go on for ever: its client does not leave, for it has the response."""
    lab = Mounted(later := Later())
    connection = lab.ask(method=method)
    [request] = later.requests
    request.setResponseCode(code)
    told: list[str] = []

    class Producer:
        def resumeProducing(self) -> None:
            told.append("resume")

        def stopProducing(self) -> None:
            told.append("stop")

    request.registerProducer(Producer(), False)
    request.write(b"one")
    lab.clock.advance(0)
    assert told[-1] == "stop"
    assert isinstance(later.ends[0].value, error.ConnectionDone)
    request.write(b"two")
    request.finish()
    lab.clock.advance(0)
    assert told[-1] == "stop"
    assert connection.statuses == [code]
    connection.feed(b"GET /r HTTP/1.1\r\nHost: x\r\n\r\n")
    assert len(later.requests) == 2


def test_a_stream_whose_head_is_refused_ends() -> None:
    """It goes out as 500, and nobody takes the rest."""
    lab = Mounted(later := Later())
    connection = lab.ask()
    [request] = later.requests
    request.setHeader(b"Content-Length", b"many")
    request.write(b"one")
    assert connection.statuses == [500]
    lab.clock.advance(0)
    assert isinstance(later.ends[0].value, error.ConnectionDone)


def test_a_resource_that_knows_no_head() -> None:
    """Twisted asks it for GET, and swallows what it writes before there is a head."""

    def does(request: Any) -> bytes:
        if request.method == b"HEAD":
            raise UnsupportedMethod([b"GET"])
        request.write(b"hel")  # codespell:ignore hel
        return b"lo"

    connection = Mounted(Says(does)).ask(method=b"HEAD")
    assert connection.statuses == [200]
    assert body_of(connection) == b""


def test_a_response_to_head_that_is_finished_at_once_has_succeeded() -> None:
    """`notifyFinish` says so."""
    lab = Mounted(later := Later())
    lab.ask(method=b"HEAD")
    [request] = later.requests
    request.write(b"one")
    request.finish()
    lab.clock.advance(0)
    assert later.ends == [None]


def test_a_body_that_is_too_long_is_cut_off(caplog: pytest.LogCaptureFixture) -> None:
    """At its Content-Length, which the next response follows."""
    lab = Mounted(later := Later())
    connection = lab.ask()
    [request] = later.requests
    request.setHeader(b"Content-Length", b"4")
    request.write(b"one")
    request.write(b"two")
    request.finish()
    assert body_of(connection) == b"onet"
    assert "longer than its Content-Length" in caplog.text


def test_a_body_that_is_too_short_breaks_off(caplog: pytest.LogCaptureFixture) -> None:
    """So that it cannot look complete."""
    lab = Mounted(later := Later())
    connection = lab.ask()
    [request] = later.requests
    request.setHeader(b"Content-Length", b"4")
    request.write(b"one")
    request.finish()
    assert connection.transport.disconnected
    assert "ended after 3 of 4 bytes" in caplog.text


def break_reason(request: Any) -> bytes:
    request.setResponseCode(200, b"a\0b")
    return b""


def break_status(request: Any) -> bytes:
    request.setResponseCode(101)
    return b""


def break_length(request: Any) -> bytes:
    request.setHeader(b"Content-Length", b"many")
    request.write(b"x")
    return b""


@pytest.mark.parametrize("does", [break_reason, break_status, break_length])
def test_a_head_that_would_break_the_response(does: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Is responded to by 500, and what it was is logged."""
    lab = Mounted(Says(does))
    connection = lab.ask()
    assert connection.statuses == [500]
    assert "GET /r: the resource at /r: " in caplog.text
    assert lab.site.in_flight == 0


def test_a_resource_that_raises(caplog: pytest.LogCaptureFixture) -> None:
    """500, with the traceback in the log alone; after the response has begun it breaks off."""
    lab = Mounted(Says(lambda request: 1 // 0))
    connection = lab.ask()
    assert connection.statuses == [500]
    assert body_of(connection) == b"The resource failed.\n"
    assert "the resource at /r failed: GET /r" in caplog.text
    assert "ZeroDivisionError" in caplog.text

    def begins(request: Any) -> Any:
        request.write(b"one")
        raise ValueError

    connection = Mounted(Says(begins)).ask()
    assert connection.statuses == [200]
    assert connection.transport.disconnected


def test_the_client_leaves() -> None:
    """`notifyFinish` fails, and what is written after that is discarded."""
    lab = Mounted(later := Later())
    connection = lab.ask()
    connection.lose()
    [failure] = later.ends
    assert failure.check(error.ConnectionLost)
    later.requests[0].write(b"late")
    later.requests[0].finish()
    assert connection.sent == b""
    assert [request.status for request in lab.told] == [499]


def test_a_deadline_passes(caplog: pytest.LogCaptureFixture) -> None:
    """504 goes out in the resource's place; a response that has begun may take its time."""
    lab = Mounted(later := Later())
    first, second = lab.ask(), lab.ask(b"/r/x")
    later.requests[1].write(b"one")
    lab.wait(2.1)
    assert (first.statuses, second.statuses) == ([504], [200])
    assert later.ends[0].check(error.TimeoutError)
    assert "GET /r; the resource at /r has not begun a response" in caplog.text
    later.requests[0].finish()
    later.requests[1].finish()
    assert body_of(second).endswith(b"0\r\n\r\n")


def test_the_service_ends(caplog: pytest.LogCaptureFixture) -> None:
    """What has no response is cut off, and the log says of which resource."""
    lab = Mounted(later := Later())
    connection = lab.ask()
    lab.site.drain()
    lab.site.abort()
    assert connection.transport.disconnected
    assert later.ends[0].check(error.ConnectionLost)
    assert "GET /r: the resource at /r has not begun a response" in caplog.text


def test_who_the_client_is() -> None:
    """As a trusted proxy has forwarded it, and nobody else."""
    lab = Mounted(later := Later())
    lab.ask(b"/r", b"X-Forwarded-For: 2001:db8::1", b"X-Forwarded-Proto: https")
    lab.ask(b"/r")
    forwarded, direct = later.requests
    assert forwarded.getClientAddress().host == "2001:db8::1"
    assert forwarded.isSecure()
    assert direct.getClientAddress().host == "192.168.1.1"
    assert not direct.isSecure()


def test_a_slow_client_pauses_the_producer() -> None:
    """One that pushes is told; one that is pulled is asked for more when there is room, in later turns."""
    lab = Mounted(later := Later())
    connection = lab.ask()
    told: list[str] = []

    class Producer:
        def pauseProducing(self) -> None:
            told.append("pause")

        def resumeProducing(self) -> None:
            told.append("resume")

        def stopProducing(self) -> None:
            told.append("stop")

    [request] = later.requests
    request.registerProducer(Producer(), True)
    request.write(b"one")
    connection.http.pauseProducing()
    connection.http.resumeProducing()
    assert told == ["pause", "resume"]
    connection.http.stopProducing()
    connection.lose()
    assert told == ["pause", "resume", "stop"]


def test_a_producer_that_fails_when_it_is_stopped_keeps_no_connection(caplog: pytest.LogCaptureFixture) -> None:
    """The transport asks it before it says that the connection is gone."""
    lab = Mounted(later := Later())
    connection = lab.ask()

    class Producer:
        def pauseProducing(self) -> None:
            pass

        def resumeProducing(self) -> None:
            pass

        def stopProducing(self) -> None:
            raise RuntimeError("no way")

    [request] = later.requests
    request.registerProducer(Producer(), True)
    request.write(b"one")
    connection.http.stopProducing()
    connection.lose()
    assert later.ends[0].check(error.ConnectionLost)
    assert (lab.site.in_flight, len(lab.site.connections)) == (0, 0)
    assert "failed when it was stopped" in caplog.text


def test_what_waits_for_a_slow_client_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    """Where the resource has no producer: by as much as a body may be."""
    lab = Mounted(later := Later(), replace(LIMITS, max_body=1000))
    connection = lab.ask()
    [request] = later.requests
    request.write(b"one")
    connection.http.pauseProducing()
    request.write(b"x" * 900)
    assert not connection.transport.disconnected
    request.write(b"x" * 900)
    assert connection.transport.disconnected
    assert "let the resource register a producer" in caplog.text


def test_a_resource_ends_the_connection() -> None:
    """By loseConnection(), as with Twisted's own server."""
    lab = Mounted(later := Later())
    connection = lab.ask()
    later.requests[0].loseConnection()
    assert connection.transport.disconnected


def takes_over(request: Any) -> bytes:
    request.transport.protocol.makeConnection(request.transport)
    return b""


def writes_past_the_request(request: Any) -> bytes:
    request.transport.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
    return b""


@pytest.mark.parametrize("does", [takes_over, writes_past_the_request])
def test_a_resource_that_wants_the_transport(does: Any, caplog: pytest.LogCaptureFixture) -> None:
    """As autobahn's does: it is told what there is instead."""
    assert Mounted(Says(does)).ask().statuses == [500]
    assert "make WebSockets with twisted.web.websocket" in caplog.text
    addresses = Mounted(Says(lambda request: b"%r" % (request.transport.getPeer() == request.getClientAddress())))
    assert body_of(addresses.ask()) == b"True"
    gone = Mounted(Says(lambda request: request.transport.abortConnection() or b"")).ask()
    assert gone.transport.disconnected
