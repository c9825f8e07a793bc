"""The probe port as a service, and how its requests are logged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from twisted.internet.address import IPv6Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from twistserve.errors import StartError
from twistserve.http.request import Request
from twistserve.http.response import PLAIN, whole
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

    def close(self, last: bool = True) -> Deferred[None]:
        self.last = last
        return self.closed


def passing(request: Request) -> None:
    """A probe that passes."""
    request.connection.respond(whole(200, b"pass\n", PLAIN))


class Noting:
    """An access log that keeps what it is given: requests, and addresses and statuses of refusals."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.requests: list[Any] = []
        self.refusals: list[tuple[str, int]] = []

    def responded(self, requests: Sequence[Any]) -> None:
        if self.error is not None:
            raise self.error
        self.requests += requests

    def refused(self, remote: str, status: int) -> None:
        if self.error is not None:
            raise self.error
        self.refusals.append((remote, status))


class Reactor(Clock):
    """A Clock that has no turns to shorten."""

    before_waiting = None


def test_it_listens_from_the_start_to_the_end(caplog: pytest.LogCaptureFixture) -> None:
    """The log says where; stopping lasts until the port is closed."""
    port: Any = Port(succeed(None))
    failures: list[str] = []
    service = ProbeService(port, passing, failures.append, Reactor())
    with caplog.at_level("INFO"):
        service.startService()
    assert "probes on *:8001" in caplog.messages
    stopped: list[None] = []
    service.stopService().addCallback(stopped.append)
    assert (stopped, failures) == ([], [])
    port.closed.callback(None)
    assert stopped == [None]


@pytest.mark.parametrize("last", [True, False])
def test_whether_others_accept_after_it(last: bool) -> None:
    """The port is told, to leave to them what waits."""
    port: Any = Port(succeed(None))
    service = ProbeService(port, passing, lambda message: None, Reactor())
    assert service.last
    service.last = last
    service.startService()
    service.stopService()
    assert port.last is last


def test_a_port_that_cannot_be_opened() -> None:
    """Why is told, so that the start fails."""
    port: Any = Port(fail(StartError("--probe-port: in use")))
    failures: list[str] = []
    ProbeService(port, passing, failures.append, Reactor()).startService()
    assert failures == ["--probe-port: in use"]


GET = b"GET /ready?verbose HTTP/1.1\r\nHost: x\r\nUser-Agent: kube-probe\r\n\r\n"


def asked(access_log: Any, request: bytes = GET) -> bytes:
    """What a client gets that asks a probe."""
    site = ProbeSite(passing, Reactor(), access_log)
    site.accepting()
    connection = site.buildProtocol(None)
    transport = StringTransport(peerAddress=IPv6Address("TCP", "::ffff:192.0.2.7", 1))
    connection.makeConnection(transport)
    connection.dataReceived(request)
    site.tell()
    sent: bytes = transport.value()
    return sent


def test_requests_are_logged_where_that_is_wanted() -> None:
    """With what the lines of other requests have; an IPv4 address is written as one."""
    log = Noting()
    assert asked(log).startswith(b"HTTP/1.1 200 OK\r\n")
    [request] = log.requests
    assert (request.method, request.target, request.version) == (b"GET", b"/ready?verbose", "1.1")
    assert (request.status, request.sent, request.remote) == (200, 5, "192.0.2.7")
    assert (b"User-Agent", b"kube-probe") in request.fields
    assert 0 <= request.duration < 60
    assert log.refusals == []


def test_refusals_are_logged_where_that_is_wanted() -> None:
    """What is no request has an address and a status."""
    log = Noting()
    assert asked(log, b"?\r\n\r\n").startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert (log.requests, log.refusals) == ([], [("192.0.2.7", 400)])


@pytest.mark.parametrize("log", [None, Noting(OSError("no space left on device"))])
def test_a_probe_gets_its_response_whether_it_is_logged_or_not(log: Any) -> None:
    """A log that cannot be written is no reason to restart a container."""
    assert asked(log).endswith(b"pass\n")
    assert asked(log, b"?\r\n\r\n").startswith(b"HTTP/1.1 400 ")


def test_what_the_port_has_of_its_own() -> None:
    """It accepts few connections in a turn, each within the descriptors that nobody else may take."""
    site = ProbeSite(passing, Reactor())
    assert site.room() == FEW
    assert isinstance(site.around_accept, Headroom)
    assert site.acceptableProtocols() == [b"http/1.1"]
    assert not site.noisy
