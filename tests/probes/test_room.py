"""Who stays on the probe port when there are too many."""

from __future__ import annotations

from twistserve.probes.room import FEW, ProbeRoom


class Connection:
    """A connection."""

    def __init__(self) -> None:
        self.busy = False
        self.transport = self
        self.aborted = False

    def abortConnection(self) -> None:
        self.aborted = True


def test_those_idle_for_longest_make_way() -> None:
    """Not those that are owed a response, nor the one that comes."""
    room = ProbeRoom(lambda: 3, lambda descriptor: False)
    busy, used, idle, new, newer = connections = [Connection() for _ in range(5)]
    busy.busy = True
    for connection in (busy, used, idle):
        room.joined(connection, 0)
    room.used(used)
    room.joined(new, 0)
    assert [connection.aborted for connection in connections] == [False, False, True, False, False]
    room.joined(newer, 0)
    assert [connection.aborted for connection in connections] == [False, True, True, False, False]


def test_few_stay_when_descriptors_are_scarce() -> None:
    """Each has one of the last."""
    room = ProbeRoom(lambda: 100, lambda descriptor: descriptor > 10)
    connections = [Connection() for _ in range(FEW + 3)]
    for connection in connections[:-1]:
        room.joined(connection, 10)
    assert not any(connection.aborted for connection in connections)
    room.joined(connections[-1], 11)
    assert [connection.aborted for connection in connections] == [True] * 3 + [False] * FEW


def test_who_has_left_is_forgotten() -> None:
    """And is not closed again."""
    room = ProbeRoom(lambda: 1, lambda descriptor: False)
    first, second = Connection(), Connection()
    room.joined(first, 0)
    room.left(first)
    room.left(first)
    room.used(first)
    room.joined(second, 0)
    assert not first.aborted
