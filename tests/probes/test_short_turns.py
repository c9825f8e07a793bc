"""The switch interval while probes wait for their responses, on a clock that the test moves."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from twisted.internet.task import Clock

from twistserve.probes.short_turns import MOST, SHORT, ShortTurns


@pytest.fixture
def usual() -> Iterator[float]:
    """The interval before, which is there again afterwards."""
    usual = sys.getswitchinterval()
    yield usual
    sys.setswitchinterval(usual)


def short() -> bool:
    return sys.getswitchinterval() == pytest.approx(SHORT, rel=0.01)


def test_it_is_short_as_long_as_somebody_waits(usual: float) -> None:
    """From the first who asks until the last has its response, however often they say so."""
    clock = Clock()
    turns = ShortTurns(clock)
    one, other = object(), object()
    turns.end(one)
    for each in (one, one, other):
        turns.begin(each)
    turns.end(one)
    assert short()
    turns.end(other)
    turns.end(other)
    assert sys.getswitchinterval() == usual
    assert clock.getDelayedCalls() == []


def test_a_probe_that_hangs_does_not_keep_it_short(usual: float) -> None:
    """It has had its share; the next that asks has one too."""
    clock = Clock()
    turns = ShortTurns(clock)
    turns.begin(turns)
    clock.advance(MOST)
    assert sys.getswitchinterval() == usual
    turns.begin(clock)
    assert short()
    turns.end(turns)
    assert short()
    turns.end(clock)
    assert sys.getswitchinterval() == usual
