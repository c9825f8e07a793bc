"""The probes on the web port: which requests are theirs, what others get meanwhile, and what is told of each."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.task import Clock

from tests.support.http1 import LIMITS, OK, Connection, Recorder, Transport, get, posted
from twistserve.http.request import Request
from twistserve.http.response import PLAIN, whole
from twistserve.probes.handlers import ProbeRoot
from twistserve.probes.web_port import SharedSite


class Bench:
    """A site with a probe at /ready, and an application that responds when the test says so."""

    def __init__(self) -> None:
        self.application = Recorder()
        self.told: list[Request] = []
        self.told_of_probes: list[Request] = []
        self.refused: list[Any] = []
        self.waiting: list[Request] = []
        refused = lambda *refusal: self.refused.append(refusal)  # noqa: E731
        on_probes = self.told_of_probes.extend
        self.site = SharedSite(self.application, Clock(), LIMITS, self.told.extend, refused, on_probes)
        self.site.put_first(ProbeRoot({"/ready": _passes, "/slow": self.waiting.append}))

    def connect(self) -> Connection:
        connection = Connection(self.site.buildProtocol(None), Transport())
        connection.http.makeConnection(connection.transport)
        return connection

    def ask(self, *data: bytes) -> Connection:
        connection = self.connect()
        connection.feed(*data)
        return connection


def _passes(request: Request) -> None:
    request.connection.respond(whole(200, b"pass\n", PLAIN))


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.mark.parametrize("path", [b"/ready", b"/ready/", b"/ready?verbose", b"/%72eady", b"http://x/ready"])
@pytest.mark.parametrize("begun", [False, True])
def test_a_probe_wins(bench: Bench, path: bytes, begun: bool) -> None:
    """However its path is written that the application would take for the same; during the start and after it."""
    if begun:
        bench.site.begin()
    assert bench.ask(get(path)).sent.endswith(b"\r\n\r\npass\n")
    assert bench.application.targets == []


def test_a_probe_only_reads(bench: Bench) -> None:
    """Other methods at its path are no way to the application."""
    bench.site.begin()
    assert bench.ask(get(b"/ready", method=b"DELETE")).statuses == [405]
    assert bench.application.targets == []


def test_everything_else_is_told_that_the_service_starts(bench: Bench) -> None:
    """When its body is received; the connection ends, so that it is there for others, with requests that came along."""
    connection = bench.ask(get(b"/ready/too") + posted(b"/", 3), b"abc")
    assert connection.statuses == [503, 503]
    assert connection.sent.count(b"\r\nRetry-After: 1\r\n") == 2
    assert connection.sent.count(b"\r\nConnection: close\r\n") == 1
    assert connection.sent.endswith(b"\r\n\r\nThe service is starting.\n")
    assert bench.application.targets == []


def test_connections_are_kept_when_the_start_is_complete(bench: Bench) -> None:
    """As on the web port without probes."""
    bench.site.begin()
    connection = bench.ask(get(b"/ready"), get(b"/ready"))
    assert connection.statuses == [200, 200]
    assert b"Connection: close" not in connection.sent


def test_the_application_has_everything_else_when_the_start_is_complete(bench: Bench) -> None:
    """Also what a connection asks that was there before, and a request that had begun to arrive."""
    connection = bench.ask(posted(b"/a", 3))
    bench.site.begin()
    connection.feed(b"abc")
    bench.application.respond()
    connection.feed(get(b"/unknown"))
    bench.application.respond()
    assert connection.statuses == [200, 200]
    assert bench.application.targets == [b"/a", b"/unknown"]


def test_probes_are_told_of_apart(bench: Bench) -> None:
    """What counts and logs requests hears of the application's alone, with --log-probes another log of the others."""
    bench.site.begin()
    connection = bench.ask(get(b"/ready"), get(b"/"))
    bench.application.respond()
    connection.feed(get(b"/ready/"))
    bench.site.tell()
    assert [request.target for request in bench.told] == [b"/"]
    assert [request.target for request in bench.told_of_probes] == [b"/ready", b"/ready/"]


def test_probes_do_not_count(bench: Bench) -> None:
    """Neither for --max-lifetime nor as requests in flight."""
    bench.site.begin()
    bench.ask(get(b"/ready"))
    bench.ask(get(b"/slow"))
    bench.ask(get(b"/"))
    assert (bench.site.responses, bench.site.in_flight, len(bench.site.requests)) == (0, 1, 2)
    bench.application.respond()
    bench.waiting.pop().connection.respond(OK)
    assert (bench.site.responses, bench.site.in_flight, len(bench.site.requests)) == (1, 0, 0)


def test_who_asks_a_probe_and_leaves(bench: Bench) -> None:
    """Is told of as a probe: it is no client that lost patience with the application."""
    connection = bench.ask(get(b"/slow"))
    connection.lose()
    assert [request.status for request in bench.told_of_probes] == [499]
    assert (bench.told, bench.site.responses) == ([], 0)


def test_what_is_no_request_is_told_of_as_ever(bench: Bench) -> None:
    """Nobody can tell whether it was for a probe."""
    assert bench.ask(b"?\r\n\r\n").statuses == [400]
    assert [reason for _, _, reason in bench.refused] == ["malformed"]
