"""What of twisted.web works in a mounted resource."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.web.resource import EncodingResourceWrapper, Resource
from twisted.web.server import NOT_DONE_YET, GzipEncoderFactory
from twisted.web.util import redirectTo

from tests.support.http1 import Connection
from tests.support.resources import Later, Mounted, body_of

with warnings.catch_warnings():
    # It makes a resource that it has deprecated itself.
    warnings.simplefilter("ignore", DeprecationWarning)
    from twisted.web.static import File


class Tree(Resource):
    """Tells its path, and of its children each its own."""

    def getChild(self, name: bytes, request: Any) -> Any:
        return self

    def render_GET(self, request: Any) -> bytes:
        return b"%r %r" % (request.prepath, request.postpath)


@pytest.mark.parametrize(
    ("path", "prepath"),
    [(b"/r", [b"r"]), (b"/r/", [b"r", b""]), (b"/r/a%2Fb?c=d", [b"r", b"a/b"]), (b"/%72/a", [b"r", b"a"])],
)
def test_paths(path: bytes, prepath: list[bytes]) -> None:
    """The resource is at its path, and its children below."""
    assert body_of(Mounted(Tree()).ask(path)) == b"%r []" % prepath


def test_files(tmp_path: Path) -> None:
    """Of twisted.web.static, with ranges and conditions, pulled piece by piece."""
    (tmp_path / "a.txt").write_bytes(b"0123456789" * 20_000)
    lab = Mounted(File(str(tmp_path)))
    whole = lab.ask(b"/r/a.txt")
    lab.clock.pump([0] * 10)
    assert (whole.statuses, len(body_of(whole))) == ([200], 200_000)
    assert b"Content-Type: text/plain" in whole.sent
    part = lab.ask(b"/r/a.txt", b"Range: bytes=3-5")
    lab.clock.pump([0] * 3)
    assert (part.statuses, body_of(part)) == ([206], b"345")
    modified = whole.sent.partition(b"Last-Modified: ")[2].partition(b"\r\n")[0]
    assert lab.ask(b"/r/a.txt", b"If-Modified-Since: " + modified).statuses == [304]
    assert lab.ask(b"/r/b.txt").statuses == [404]
    assert lab.ask(b"/r/a.txt", method=b"HEAD").statuses == [200]


def posted(lab: Mounted, content_type: bytes, body: bytes) -> Connection:
    return lab.ask(
        b"/r?q=1", b"Content-Type: " + content_type, b"Content-Length: %d" % len(body), method=b"POST", body=body
    )


def test_forms() -> None:
    """As `args`, and the body as `content`; one that is none although it says so is refused."""
    lab = Mounted(later := Later())
    posted(lab, b"application/x-www-form-urlencoded", b"a=1&a=2")
    multipart = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--x--\r\n'
    posted(lab, b"multipart/form-data; boundary=x", multipart)
    assert [request.args for request in later.requests] == [
        {b"q": [b"1"], b"a": [b"1", b"2"]},
        {b"q": [b"1"], b"a": [b"1"]},
    ]
    assert later.requests[1].content.read() == multipart
    assert later.requests[1].getHeader(b"content-length") == b"%d" % len(multipart)
    assert posted(lab, b"multipart/form-data; boundary=x", b"nothing").statuses == [400]
    assert lab.site.in_flight == 1 + 1


def test_fields_that_django_would_not_see() -> None:
    """Neither does a resource: names with underscores, and Proxy; all have the request's id."""
    lab = Mounted(later := Later())
    lab.ask(b"/r", b"X_Forwarded_For: 1.1.1.1", b"Proxy: http://evil", b"X-A: 1", b"Cookie: a=b")
    [request] = later.requests
    assert request.getHeader(b"x_forwarded_for") is None
    assert request.getHeader(b"proxy") is None
    assert request.getHeader(b"x-a") == b"1"
    assert request.getCookie(b"a") == b"b"
    assert len(request.getHeader(b"x-request-id")) == 24


def test_sessions() -> None:
    """Twisted's, whose cookie has the path's name in its own."""

    class Counts(Resource):
        isLeaf = True

        def render_GET(self, request: Any) -> bytes:
            session = request.getSession()
            session.count = getattr(session, "count", 0) + 1
            return b"%d" % session.count

    lab = Mounted(Counts())
    first = lab.ask()
    cookie = first.sent.partition(b"Set-Cookie: ")[2].partition(b";")[0]
    assert cookie.startswith(b"TWISTED_SESSION_r=")
    assert body_of(lab.ask(b"/r", b"Cookie: " + cookie)) == b"2"
    lab.clock.advance(1000)
    assert lab.clock.getDelayedCalls() == [] or body_of(lab.ask(b"/r", b"Cookie: " + cookie)) == b"1"


def test_redirects_deferreds_and_encodings() -> None:
    """What resources do often."""

    class Redirects(Resource):
        isLeaf = True

        def render_GET(self, request: Any) -> bytes:
            return redirectTo(b"/elsewhere", request)

    class Waits(Resource):
        isLeaf = True
        waited: Deferred[bytes] = succeed(b"hello")

        def render_GET(self, request: Any) -> int:
            self.waited.addCallback(lambda body: (request.write(body), request.finish()))
            return NOT_DONE_YET

    redirected = Mounted(Redirects()).ask()
    assert redirected.statuses == [302]
    assert b"Location: /elsewhere\r\n" in redirected.sent
    assert b"hello" in body_of(Mounted(Waits()).ask())
    encoded = Mounted(EncodingResourceWrapper(Tree(), [GzipEncoderFactory()])).ask(b"/r", b"Accept-Encoding: gzip")
    assert b"Content-Encoding: gzip" in encoded.sent


@pytest.mark.filterwarnings("ignore:twisted.web.resource._Unsafe:DeprecationWarning")
def test_methods() -> None:
    """405 with Allow for one that the resource does not have; HEAD by its GET."""
    lab = Mounted(Tree())
    refused = lab.ask(method=b"POST")
    assert refused.statuses == [405]
    assert b"Allow: HEAD, GET" in refused.sent
    head = lab.ask(method=b"HEAD")
    assert (head.statuses, body_of(head)) == ([200], b"")


def test_text_where_bytes_are_wanted(caplog: pytest.LogCaptureFixture) -> None:
    """Is an error like any other: nothing of the resource goes out, and the log says what it was."""

    class Text(Resource):
        isLeaf = True

        def render_GET(self, request: Any) -> Any:
            return "text"

    connection = Mounted(Text()).ask()
    assert connection.statuses == [500]
    assert body_of(connection) == b"The resource failed.\n"
    assert "returned a str where twisted.web wants bytes" in caplog.text
