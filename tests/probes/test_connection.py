"""The connections of the probe port: how long they have threads take short turns, and which of them make way."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from tests.support.http1 import Recorder
from twistserve.probes.port import ProbeSite
from twistserve.probes.room import ProbeRoom
from twistserve.probes.short_turns import SHORT

GET = b"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n"


class Transport(StringTransport):
    """A transport with a descriptor."""

    aborted = False

    def fileno(self) -> int:
        return 7

    def abortConnection(self) -> None:
        self.aborted = True


class Bench:
    """A site with a probe that responds when the test says so, and with room for two connections."""

    def __init__(self) -> None:
        self.probe = Recorder()
        self.clock = Clock()
        self.site = ProbeSite(self.probe, self.clock)
        self.descriptors: list[int] = []
        self.site.room_for_probes = ProbeRoom(lambda: 2, self.is_scarce)

    def is_scarce(self, descriptor: int) -> bool:
        self.descriptors.append(descriptor)
        return False

    def connect(self, transport: StringTransport | None = None) -> Any:
        self.site.accepting()
        connection = self.site.buildProtocol(None)
        connection.makeConnection(transport or Transport())
        return connection


@pytest.fixture
def bench() -> Iterator[Bench]:
    """With the switch interval as it was before, and afterwards."""
    usual = sys.getswitchinterval()
    yield Bench()
    sys.setswitchinterval(usual)


def lose(connection: Any) -> None:
    connection.connectionLost(Failure(ConnectionDone()))


def turns_are_short() -> bool:
    return sys.getswitchinterval() == pytest.approx(SHORT, rel=0.01)


def test_turns_are_short_from_the_connection_to_the_response(bench: Bench) -> None:
    """A probe is about to come; once it has its response, it is on the connection to ask again."""
    connection = bench.connect()
    assert turns_are_short()
    for _ in range(2):
        connection.dataReceived(GET)
        assert turns_are_short()
        bench.probe.respond()
        assert not turns_are_short()
    lose(connection)
    assert not turns_are_short()


@pytest.mark.parametrize("sent", [b"", b"GET /ready", GET])
def test_turns_are_as_usual_when_the_client_has_left(bench: Bench, sent: bytes) -> None:
    """Whether it has asked, or has only begun to, or has not."""
    connection = bench.connect()
    if sent:
        connection.dataReceived(sent)
    lose(connection)
    assert not turns_are_short()


def test_turns_are_as_usual_after_a_refusal(bench: Bench) -> None:
    """What is no request is no probe."""
    connection = bench.connect()
    connection.dataReceived(b"?\r\n\r\n")
    assert connection.transport.value().startswith(b"HTTP/1.1 400 ")
    assert not turns_are_short()


def test_turns_are_as_usual_when_a_request_does_not_come(bench: Bench) -> None:
    """The rest of it is late: the response is 408."""
    connection = bench.connect()
    connection.dataReceived(b"GET /ready")
    bench.clock.advance(60)
    connection.dataReceived(b" ")
    assert turns_are_short()
    bench.site.connections.sweep()
    assert connection.transport.value().startswith(b"HTTP/1.1 408 ")
    assert not turns_are_short()


def test_a_connection_is_busy_while_it_is_owed_a_response(bench: Bench) -> None:
    """A request that has only begun to arrive is none yet."""
    connection = bench.connect()
    connection.dataReceived(GET[:10])
    assert not connection.busy
    connection.dataReceived(GET[10:])
    assert connection.busy
    bench.probe.respond()
    assert not connection.busy


def test_idle_connections_make_way(bench: Bench) -> None:
    """That which was used longest ago first, and never one that is owed a response."""
    first, second = bench.connect(), bench.connect()
    first.dataReceived(GET)
    bench.probe.respond()
    third = bench.connect()
    assert (first.transport.aborted, second.transport.aborted) == (False, True)
    lose(second)
    first.dataReceived(GET)
    bench.connect()
    assert (first.transport.aborted, third.transport.aborted) == (False, True)
    assert bench.descriptors == [7, 7, 7, 7]


def test_a_connection_that_has_left_takes_no_room(bench: Bench) -> None:
    """The others stay."""
    first, second = bench.connect(), bench.connect()
    lose(second)
    bench.connect()
    assert not first.transport.aborted


def test_a_transport_without_a_descriptor(bench: Bench) -> None:
    """It counts like any other, though the kernel has no number for it."""
    bench.connect(StringTransport())
    assert bench.descriptors == [-1]
