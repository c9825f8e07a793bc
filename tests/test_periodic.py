"""A call that is repeated, on a clock that the test moves."""

from __future__ import annotations

from twisted.internet.task import Clock

from twistserve.periodic import PeriodicService


def test_it_calls_at_its_start_and_at_each_interval() -> None:
    """Until it is stopped, and again from its next start on."""
    clock, called = Clock(), []
    service = PeriodicService(2.0, lambda: called.append(clock.seconds()), clock)
    clock.advance(2)
    service.startService()
    clock.pump([2, 2])
    service.stopService()
    clock.advance(2)
    assert (called, service.running) == ([2, 4, 6], 0)
    service.startService()
    assert called == [2, 4, 6, 8]
    service.stopService()
    assert clock.getDelayedCalls() == []


def test_a_call_that_raises_is_not_the_last() -> None:
    """Nor is one that wants to end the process."""
    clock, called = Clock(), []

    def fail() -> None:
        called.append(clock.seconds())
        raise SystemExit("a test")

    service = PeriodicService(1.0, fail, clock)
    service.startService()
    clock.pump([1, 1])
    assert called == [0, 1, 2]
    service.stopService()


def test_it_can_be_stopped_before_it_starts() -> None:
    """A start may have failed before it."""
    PeriodicService(1.0, lambda: None, Clock()).stopService()
