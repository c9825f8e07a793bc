"""A request as a mounted resource gets it."""

from __future__ import annotations

from tests.support.http1 import get
from tests.support.resources import Later, Mounted


def test_the_label_and_the_version() -> None:
    """The handler is named after the path, which the configuration bounds."""
    lab = Mounted(later := Later())
    connection = lab.connect()
    connection.feed(get(b"/r/x?y=1", version=b"1.0"))
    [request] = later.requests
    assert (request.uri, request.path, request.clientproto) == (b"/r/x?y=1", b"/r/x", b"HTTP/1.0")
    request.write(b"x")
    request.finish()
    lab.wait(1)
    assert [told.handler for told in lab.told] == ["mount:/r"]
    assert connection.closed


def test_a_target_that_is_a_url() -> None:
    """As proxies write it: the resource sees the path."""
    lab = Mounted(later := Later())
    lab.ask(b"http://x/r/y?z")
    assert later.requests[0].uri == b"/r/y?z"
