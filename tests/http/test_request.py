"""The request: what was received, and its body."""

from __future__ import annotations

import pytest

from tests.support.http1 import Lab, get, posted
from tests.support.requests import make_request
from twistserve.http.request import Request


def received(*data: bytes) -> Request:
    """A request that was received and has no response yet."""
    seen: list[Request] = []
    connection = Lab(handler=seen.append).connect()
    connection.feed(*data)
    return seen[0]


def test_the_path() -> None:
    """Its segments are decoded; a slash that is encoded divides none."""
    assert make_request(b"/static/a%2Fb/%E2%82%AC?c").segments == [b"static", b"a/b", "€".encode()]
    assert make_request(b"/").segments == [b""]


@pytest.mark.parametrize(
    ("target", "path"),
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
def test_the_path_of_a_target(target: bytes, path: bytes) -> None:
    """Of a URL, which proxies send, what comes after its host; without the query."""
    assert make_request(target).path == path


def test_fields() -> None:
    """They are found whatever their case; those of one name are one list."""
    request = make_request(b"/", (b"Accept", b"a"), (b"X-A", b"1"), (b"accept", b"b;q=0.5"))
    assert (request.field(b"accept"), request.field(b"x-a"), request.field(b"x-b")) == ("a, b;q=0.5", "1", "")


@pytest.mark.parametrize(
    ("data", "has_body", "length"),
    [
        (get(b"/"), False, 0),
        (posted(b"/", 0), True, 0),
        (posted(b"/", 4) + b"body", True, 4),
        (get(b"/", b"Transfer-Encoding: chunked", method=b"POST") + b"4\r\nbody\r\n0\r\n\r\n", True, 4),
    ],
    ids=["none", "empty", "length", "chunks"],
)
def test_whether_there_is_a_body(data: bytes, has_body: bool, length: int) -> None:
    """What the head says of one, and its length however it was framed."""
    request = received(data)
    assert (request.has_body, request.body_length) == (has_body, length)


@pytest.mark.parametrize("taken", [True, False])
def test_the_body_is_closed_with_the_response(taken: bool) -> None:
    """Unless a handler has taken it: a temporary file is not kept for longer than the request."""
    request = received(posted(b"/", 4) + b"body")
    body = request.body
    assert body is not None
    assert body.read() == b"body"
    if taken:
        request.body = None
    request.connection.site.responded(request)
    assert body.closed is not taken


def test_requests_are_compared_by_identity() -> None:
    """A set of them is looked up with each one."""
    one, two = received(get(b"/")), received(get(b"/"))
    assert len({one, two, one}) == 2
