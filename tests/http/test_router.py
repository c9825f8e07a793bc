"""Which handler gets a request, by its path."""

from __future__ import annotations

import pytest

from tests.support.requests import make_request
from twistserve.http.request import Request
from twistserve.http.router import MountRouter, Router, depth_of
from twistserve.http.site import Handler


class Bench:
    """A router with handlers at two prefixes, one within the other, and at two paths."""

    def __init__(self) -> None:
        self.handled: list[tuple[str, Request]] = []
        self.router: Router = Router(self.handler("default"))
        self.router.mount("/static/", self.handler("static"))
        self.router.mount("static/media", self.handler("media"))
        self.router.mount_at(["/robots.txt", "/static/robots.txt", "/b\u00fccher.txt"], self.handler("outside"))

    def handler(self, name: str) -> Handler:
        return lambda request: self.handled.append((name, request))

    def asked(self, target: bytes) -> str:
        """Which of them gets a request."""
        request = make_request(target)
        self.router(request)
        [(name, handled)] = self.handled
        assert handled is request
        self.handled.clear()
        return name


@pytest.mark.parametrize(
    ("target", "name"),
    [
        (b"/", "default"),
        (b"*", "default"),
        (b"/static", "default"),
        (b"/static/", "static"),
        (b"/static/a/b.css?version=1", "static"),
        (b"/staticmedia/a", "default"),
        (b"/a/static/b", "default"),
        (b"//static/b", "default"),
        (b"http://x/static/b", "static"),
        (b"/static/media", "static"),
        (b"/static/media/a", "media"),
        (b"/static/media/../a", "media"),
    ],
)
def test_prefixes(target: bytes, name: str) -> None:
    """They end at a slash, and of two that fit the longer one wins, whichever was mounted first."""
    assert Bench().asked(target) == name


@pytest.mark.parametrize(
    ("target", "name"),
    [
        (b"/robots.txt", "outside"),
        (b"/robots.txt?a=b", "outside"),
        (b"/robots.txt/", "default"),
        (b"/robots.txt.gz", "default"),
        (b"/static/robots.txt", "static"),
    ],
)
def test_paths(target: bytes, name: str) -> None:
    """One path is one handler's, unless it is below a prefix."""
    assert Bench().asked(target) == name


@pytest.mark.parametrize(
    ("target", "name"),
    [
        (b"/st%61tic/a", "static"),
        (b"/static/%6dedia/a", "media"),
        (b"/static%2Fa", "default"),
        (b"/static/media%2fa", "static"),
        (b"/r%6fbots.txt", "outside"),
        (b"/%2Frobots.txt", "default"),
        (b"/b%C3%BCcher.txt", "outside"),
        (b"/100%", "default"),
    ],
)
def test_paths_are_compared_decoded(target: bytes, name: str) -> None:
    """Segment by segment: a slash that is encoded divides nothing (RFC 3986 section 2.2)."""
    assert Bench().asked(target) == name


def test_other_paths_take_the_place_of_those_before() -> None:
    """Those of a new index."""
    bench = Bench()
    bench.router.mount_at(["/humans.txt"], bench.handler("outside"))
    assert (bench.asked(b"/humans.txt"), bench.asked(b"/robots.txt")) == ("outside", "default")


def test_the_default_may_change() -> None:
    """Files at any path come before Django once they are known."""
    bench = Bench()
    bench.router.default = bench.handler("files")
    assert bench.asked(b"/a") == "files"


@pytest.mark.parametrize(("prefix", "depth"), [(b"/static/", 1), (b"/shop/static/", 2), (b"/", 0)])
def test_the_depth_of_a_prefix(prefix: bytes, depth: int) -> None:
    """So many segments of a path come before what is relative to it."""
    assert depth_of(prefix) == depth
    assert len(make_request(prefix + b"a").segments) == depth + 1


@pytest.mark.parametrize(
    ("target", "name"),
    [
        (b"/live", "live"),
        (b"/live/", "live"),
        (b"/live/a", "live"),
        (b"/l%69ve", "live"),
        (b"/live/in", "in"),
        (b"/live/in/a", "in"),
        (b"/live/inner", "live"),
        (b"/lively", "default"),
        (b"/live%2Fin", "default"),
        (b"/", "default"),
        (b"/static/a", "static"),
    ],
)
def test_a_path_and_all_below(target: bytes, name: str) -> None:
    """A mount has its path without the slash too, and the longer one wins."""
    bench = Bench()
    bench.router = router = MountRouter(bench.handler("default"))
    router.mount("/static/", bench.handler("static"))
    router.mount_all("/live", bench.handler("live"))
    router.mount_all("/live/in", bench.handler("in"))
    assert bench.asked(target) == name
