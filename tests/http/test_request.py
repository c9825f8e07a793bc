"""The request as resources of twisted.web see it, and the heads of responses."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET

from tests.support.http1 import Connection, Lab, Transport, get, posted
from twistserve.http.request import Request, target_path
from twistserve.http.response import make_head, refusal_text

PEER = IPv4Address("TCP", "192.0.2.7", 1234)


def asked(*data: bytes) -> tuple[Request, Connection]:
    """A request that was received and is not answered yet, and its connection."""
    lab = Lab()
    connection = lab.connect(lambda: Transport(peerAddress=PEER))
    connection.feed(*data)
    return lab.recorder.pending[0], connection


# What twisted.web's resources ask


def test_what_is_made_on_demand() -> None:
    """All that twisted.web's own request has from the beginning is there when it is asked for, and stays."""
    request, connection = asked(get(b"/a?b=1&b=2&c=", b"X-A: 1", b"x-a: 2", b"Cookie: d=e"))
    assert request.requestHeaders.getRawHeaders(b"x-a") == [b"1", b"2"]
    assert request.args == {b"b": [b"1", b"2"], b"c": [b""]}
    assert (request.client, request.transport) == (PEER, connection.transport)
    assert request.getClientAddress() == PEER
    assert request.host == connection.transport.getHost()
    assert request.getComponent(IResource) is None
    request.responseHeaders.setRawHeaders(b"x-b", [b"3"])
    assert request.responseHeaders.getRawHeaders(b"x-b") == [b"3"]
    with pytest.raises(AttributeError, match="'Request' object has no attribute 'unknown'"):
        request.unknown  # noqa: B018


def test_arguments_can_be_replaced() -> None:
    """As middleware of twisted.web's does."""
    request, _ = asked(get(b"/?a=1"))
    request.args = {b"b": [b"2"]}
    assert request.args == {b"b": [b"2"]}


def test_cookies_and_sessions_of_twisted_web() -> None:
    """A resource can set cookies and keep a session; both reach the client."""
    request, connection = asked(get(b"/"))
    request.addCookie(b"a", b"b")
    session = request.getSession()
    session.expire()
    request.write(b"x")
    assert b"\r\nSet-Cookie: a=b\r\n" in connection.sent
    assert b"\r\nSet-Cookie: TWISTED_SESSION=" in connection.sent


def test_the_path() -> None:
    """Its segments are decoded; those that led to the resource stand apart from those that are left to it."""
    request = Request(None)
    request.path, request.depth = b"/static/a%2Fb/%E2%82%AC", 1
    assert request.segments == [b"static", b"a/b", "€".encode()]
    assert (request.prepath, request.postpath) == ([b"static"], [b"a/b", "€".encode()])


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        (b"/a/b?c=d", b"/a/b"),
        (b"*", b"*"),
        (b"http://host/a?b", b"/a"),
        (b"https://host:443/", b"/"),
        (b"http://host", b"/"),
        (b"http://host?b=/c", b"/"),
        (b"//host/a", b"//host/a"),
    ],
)
def test_the_path_of_a_target(uri: bytes, path: bytes) -> None:
    """Of a URL, which proxies send, what comes after its host."""
    assert target_path(uri) == path


def test_options_of_the_server_itself() -> None:
    """`OPTIONS *` asks no resource, and is answered at once; by a private name of Twisted's."""
    lab = Lab()
    connection = lab.connect()
    connection.feed(get(b"*", method=b"OPTIONS"))
    assert (connection.statuses, lab.recorder.seen, lab.site.requests) == ([200], [], set())


def test_a_resource_that_raises() -> None:
    """The response is a 500 that shows nothing of the error."""

    class Broken(Resource):
        isLeaf = True

        def render(self, request: Request) -> int:
            raise KeyError("secret")

    connection = Lab(resource=Broken()).connect()
    connection.feed(get(b"/"))
    assert connection.statuses == [500]
    assert b"secret" not in connection.sent


# The body


def test_the_body_is_handed_over_once() -> None:
    """Whoever takes it closes it; a request without one, or whose body was taken, has an empty one."""
    request, _ = asked(posted(b"/", 4) + b"body")
    body = request.content
    assert body is not None
    body.seek(0)
    assert request.take_body() is body
    assert request.content is None
    assert request.take_body().read() == b""
    request.send(200, make_head(200, []), b"")
    assert not body.closed


def test_a_body_that_nobody_took_is_closed_with_the_response() -> None:
    """A temporary file is not kept for longer than the request."""
    request, _ = asked(posted(b"/", 4) + b"body")
    body = request.content
    assert isinstance(body, BytesIO)
    request.send(200, make_head(200, []), b"")
    assert body.closed


# Responses


def test_a_whole_response() -> None:
    """It is counted with its length, and whoever waits for its end is told."""
    request, connection = asked(get(b"/"))
    ended: list[Any] = []
    waiting: Deferred[None] = request.notifyFinish()
    waiting.addCallback(ended.append)
    request.send(200, make_head(200, [(b"Content-Length", b"5")]), b"whole")
    assert (request.code, request.sentLength, request.finished, ended) == (200, 5, 1, [None])
    assert connection.sent.endswith(b"\r\n\r\nwhole")


def test_a_response_to_a_client_that_has_left() -> None:
    """Nothing is sent or counted, whichever way it is given."""
    request, connection = asked(get(b"/"))
    connection.lose()
    request.send(200, make_head(200, []), b"late")
    request.abort()
    assert (request.code, connection.sent, connection.closed) == (499, b"", False)


def test_a_head_that_is_sent_before_the_body() -> None:
    """Status, reason and all fields are as `make_head` was given them, more than one of a name too."""
    request, connection = asked(get(b"/"))
    fields = [(b"Set-Cookie", b"a=b"), (b"Set-Cookie", b"c: d"), (b"Content-Length", b"4")]
    request.send_head(413, make_head(413, fields))
    request.write(b"body")
    request.finish()
    assert connection.sent.startswith(b"HTTP/1.1 413 Content Too Large\r\n")
    for name, value in fields:
        assert b"\r\n%b: %b\r\n" % (name, value) in connection.sent
    assert connection.sent.endswith(b"\r\n\r\nbody")


@pytest.mark.parametrize(("method", "body"), [(b"GET", b"no\n"), (b"HEAD", b"")])
def test_an_error_of_ours(method: bytes, body: bytes) -> None:
    """It is plain text with the length that a GET would have, and with the fields that it is given."""
    request, connection = asked(get(b"/", method=method))
    request.fail(503, b"no\n", [(b"Retry-After", b"1")])
    assert connection.statuses == [503]
    head, _, sent = connection.sent.partition(b"\r\n\r\n")
    assert b"Retry-After: 1\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 3\r\n" in head
    assert sent == body


def test_a_response_that_is_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection is aborted, so that it never looks complete, and the request counts as a 500."""
    request, connection = asked(get(b"/"))
    aborted: list[bool] = []
    monkeypatch.setattr(connection.transport, "abortConnection", lambda: aborted.append(True), raising=False)
    request.send_head(200, make_head(200, []))
    request.abort()
    assert (request.code, aborted, request.site.requests) == (500, [True], set())


def test_what_runs_elsewhere_is_told_that_the_client_has_left() -> None:
    """Once, and whoever waits for the end of the response gets the reason."""
    request, connection = asked(get(b"/"))
    told: list[str] = []
    failures: list[Failure] = []

    class Exchange:
        def client_left(self) -> None:
            told.append("left")

        def where(self) -> str:
            return "nowhere"

    request.exchange = Exchange()
    request.notifyFinish().addErrback(failures.append)
    connection.lose()
    assert (told, len(failures), request.code) == (["left"], 1, 499)


# Heads


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (200, b"200 OK"),
        (413, b"413 Content Too Large"),
        (416, b"416 Range Not Satisfiable"),
        (431, b"431 Request Header Fields Too Large"),
        (299, b"299 "),
    ],
)
def test_status_lines(status: int, line: bytes) -> None:
    """The reasons are RFC 9110's; a status that has none is sent without."""
    assert make_head(status, [(b"A", b"b")]) == b"HTTP/1.1 %b\r\nA: b\r\n" % line


@pytest.mark.parametrize(("status", "retry"), [(400, False), (503, True)])
def test_the_response_to_a_refused_request(status: int, retry: bool) -> None:
    """It says what is wrong in plain text; a 503 asks to try again."""
    fields, body = refusal_text(status)
    assert dict(fields)[b"Content-Length"] == b"%d" % len(body)
    assert body == (b"Service Unavailable.\n" if retry else b"Bad Request.\n")
    assert (dict(fields).get(b"Retry-After") == b"1") is retry


def test_requests_are_compared_by_identity() -> None:
    """A set of them is looked up with each one."""
    one, two = asked(get(b"/"))[0], asked(get(b"/"))[0]
    assert len({one, two, one}) == 2
    assert NOT_DONE_YET not in {one}
