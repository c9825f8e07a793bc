"""The reactor's lag, on a clock that the test moves."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from twistserve.metrics.reactor_lag import INTERVAL, ReactorLagService


def test_a_reactor_in_time_has_no_lag() -> None:
    """One measurement an interval, each of 0."""
    clock, observed = Clock(), list[float]()
    ReactorLagService(observed.append, clock).startService()
    clock.pump([INTERVAL] * 4)
    assert observed == [0.0] * 4


def test_a_blocked_reactor_shows_how_long() -> None:
    """What comes late is told once, by the seconds it was late; the next measurement begins anew."""
    clock, observed = Clock(), list[float]()
    ReactorLagService(observed.append, clock).startService()
    clock.advance(INTERVAL + 0.7)
    clock.advance(INTERVAL)
    assert observed == pytest.approx([0.7, 0.0])


def test_nothing_is_left_after_the_end() -> None:
    """A stopped service measures no more and leaves no timer."""
    clock, observed = Clock(), list[float]()
    service = ReactorLagService(observed.append, clock)
    service.startService()
    clock.advance(INTERVAL)
    service.stopService()
    assert clock.getDelayedCalls() == []
    assert observed == [0.0]
