"""Producers of mounted resources write as the client reads."""

from __future__ import annotations

from twisted.internet.task import Clock

from tests.support.requests import FakeConnection
from twistserve.resources.flow import Flow


class Pulled:
    """A producer that is pulled, with so many pieces."""

    def __init__(self, flow: Flow, pieces: int) -> None:
        self.flow, self.pieces = flow, pieces
        self.stopped = 0

    def resumeProducing(self) -> None:
        self.pieces -= 1
        self.flow.write(b"x")
        self.flow.pauseProducing()
        if not self.pieces:
            self.flow.unregister()

    def stopProducing(self) -> None:
        self.stopped += 1


def begun(most: int = 10) -> tuple[Flow, FakeConnection, Clock]:
    clock, connection = Clock(), FakeConnection()
    flow = Flow(most, clock.callLater)
    flow.begin(connection)  # type: ignore[arg-type]
    return flow, connection, clock


def test_one_that_is_pulled() -> None:
    """One piece a turn of the reactor, none while the client is slow, and none once it is done."""
    flow, connection, clock = begun()
    producer = Pulled(flow, 3)
    flow.register(producer, False)
    assert connection.body == b""
    clock.advance(0)
    assert connection.body == b"x"
    clock.advance(0)
    assert connection.body == b"x"
    for _ in range(5):
        flow.resumeProducing()
        clock.advance(0)
    assert (connection.body, producer.pieces) == (b"xxx", 0)
    assert clock.getDelayedCalls() == []


def test_the_client_leaves() -> None:
    """The producer is stopped, once."""
    flow, _, clock = begun()
    flow.register(producer := Pulled(flow, 3), False)
    flow.stopProducing()
    flow.stopProducing()
    clock.advance(0)
    assert (producer.stopped, producer.pieces) == (1, 3)


def test_without_a_producer() -> None:
    """What waits is bounded, and counted anew when the client has read."""
    flow, connection, _ = begun()
    assert flow.write(b"x" * 100)
    flow.pauseProducing()
    assert flow.write(b"x" * 10)
    flow.resumeProducing()
    flow.pauseProducing()
    assert flow.write(b"x" * 10)
    assert not flow.write(b"x")
    assert len(connection.body) == 120
