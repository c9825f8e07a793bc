"""The probe port as a service, and how its requests are logged."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.address import IPv6Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.web.resource import Resource

from twistserve.errors import StartError
from twistserve.net.open_files import Headroom
from twistserve.probes.port import ProbeService, ProbeSite
from twistserve.probes.room import FEW


class Port:
    """A port that notes what it is told."""

    def __init__(self, opened: Deferred[None]) -> None:
        self.opened = opened
        self.site: Any = None
        self.closed: Deferred[None] = Deferred()

    def __str__(self) -> str:
        return "*:8001"

    def open(self, site: Any) -> Deferred[None]:
        self.site = site
        return self.opened

    def close(self) -> Deferred[None]:
        return self.closed


class Answer(Resource):
    """A probe that passes."""

    isLeaf = True

    def render(self, request: Any) -> bytes:
        return b"pass\n"


class Noting:
    """An access log that keeps what it is given."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.requests: list[Any] = []

    def answered(self, requests: Sequence[Any]) -> None:
        if self.error is not None:
            raise self.error
        self.requests += requests


class Reactor(Clock):
    """A Clock that has no turns to shorten."""

    before_waiting = None


def test_it_listens_from_the_start_to_the_end(caplog: pytest.LogCaptureFixture) -> None:
    """The log says where; stopping lasts until the port is closed."""
    port: Any = Port(succeed(None))
    failures: list[str] = []
    service = ProbeService(port, Answer(), failures.append, Reactor())
    with caplog.at_level("INFO"):
        service.startService()
    assert "probes on *:8001" in caplog.messages
    stopped: list[None] = []
    service.stopService().addCallback(stopped.append)
    assert (stopped, failures) == ([], [])
    port.closed.callback(None)
    assert stopped == [None]


def test_a_port_that_cannot_be_opened() -> None:
    """Why is told, so that the start fails."""
    port: Any = Port(fail(StartError("--probe-port: in use")))
    failures: list[str] = []
    ProbeService(port, Answer(), failures.append, Reactor()).startService()
    assert failures == ["--probe-port: in use"]


def asked(access_log: Any) -> StringTransport:
    """What a client gets that asks a probe."""
    site = ProbeSite(Answer(), Reactor(), access_log)
    site.accepting()
    channel = site.buildProtocol(None)
    transport = StringTransport(peerAddress=IPv6Address("TCP", "::ffff:192.0.2.7", 1))
    channel.makeConnection(transport)
    channel.dataReceived(b"GET /ready?verbose HTTP/1.1\r\nHost: x\r\nUser-Agent: kube-probe\r\n\r\n")
    site.account()
    return transport


def test_requests_are_logged_where_that_is_wanted() -> None:
    """With what the lines of other requests have; an IPv4 address is written as one."""
    log = Noting()
    assert asked(log).value().startswith(b"HTTP/1.1 200 OK\r\n")
    [request] = log.requests
    assert (request.method, request.uri, request.clientproto) == (b"GET", b"/ready?verbose", b"HTTP/1.1")
    assert (request.code, request.sentLength, request.remote) == (200, 5, "192.0.2.7")
    assert (b"User-Agent", b"kube-probe") in request.raw_headers
    assert 0 <= request.duration < 60


@pytest.mark.parametrize("log", [None, Noting(OSError("no space left on device"))])
def test_a_probe_is_answered_whether_it_is_logged_or_not(log: Any) -> None:
    """A log that cannot be written is no reason to restart a container."""
    assert asked(log).value().endswith(b"pass\n")


def test_what_the_port_has_of_its_own() -> None:
    """It accepts few connections in a turn, each within the descriptors that nobody else may take."""
    site = ProbeSite(Answer(), Reactor())
    assert site.room() == FEW
    assert isinstance(site.around_accept, Headroom)
    assert SimpleNamespace(noisy=site.noisy, tracebacks=site.displayTracebacks) == SimpleNamespace(
        noisy=False, tracebacks=False
    )
