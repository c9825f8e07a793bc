"""Pauses between tries."""

from __future__ import annotations

from twistserve.backoff import backoff


def test_pauses_double_up_to_the_longest() -> None:
    """From the first on, which is exact, as are the others."""
    assert list(map(backoff(0.25, 3.0), range(6))) == [0.25, 0.5, 1, 2, 3, 3]


def test_however_many_pauses_there_were_there_is_a_next_one() -> None:
    """Half a minute each, a thousand are over in a night; two to the power of as many is more than a float holds."""
    assert backoff(0.5, 30.0)(10_000) == 30
