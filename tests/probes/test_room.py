"""Who stays on the probe port when there are too many."""

from __future__ import annotations

from twistserve.probes.room import FEW, ProbeRoom


class Channel:
    """A connection."""

    def __init__(self) -> None:
        self.busy = False
        self.transport = self
        self.aborted = False

    def abortConnection(self) -> None:
        self.aborted = True


def test_those_idle_for_longest_make_way() -> None:
    """Not those that are being answered, nor the one that comes."""
    room = ProbeRoom(lambda: 3, lambda descriptor: False)
    busy, used, idle, new, newer = channels = [Channel() for _ in range(5)]
    busy.busy = True
    for channel in (busy, used, idle):
        room.joined(channel, 0)
    room.used(used)
    room.joined(new, 0)
    assert [channel.aborted for channel in channels] == [False, False, True, False, False]
    room.joined(newer, 0)
    assert [channel.aborted for channel in channels] == [False, True, True, False, False]


def test_few_stay_when_descriptors_are_scarce() -> None:
    """Each has one of the last."""
    room = ProbeRoom(lambda: 100, lambda descriptor: descriptor > 10)
    channels = [Channel() for _ in range(FEW + 3)]
    for channel in channels[:-1]:
        room.joined(channel, 10)
    assert not any(channel.aborted for channel in channels)
    room.joined(channels[-1], 11)
    assert [channel.aborted for channel in channels] == [True] * 3 + [False] * FEW


def test_who_has_left_is_forgotten() -> None:
    """And is not closed again."""
    room = ProbeRoom(lambda: 1, lambda descriptor: False)
    first, second = Channel(), Channel()
    room.joined(first, 0)
    room.left(first)
    room.left(first)
    room.used(first)
    room.joined(second, 0)
    assert not first.aborted
