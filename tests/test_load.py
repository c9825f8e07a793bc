"""How busy a process is, and several together."""

from __future__ import annotations

from twistserve.load import Load


def test_the_total_is_of_each_number() -> None:
    """A process that has not told yet adds nothing, and none at all are idle."""
    one = Load(threads=4, busy=3, queued=2, stuck=1, requests=6, connections=40)
    assert Load.total([one, Load(), one]) == Load(8, 6, 4, 2, 12, 80)
    assert Load.total([]) == Load()
