"""Lines on their way: nothing waits, nothing raises, what is lost is counted."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import pytest

from twistserve.logs.queue import LogQueue

PATIENCE = 10.0
"""Seconds that a thread may take to come to it."""


class Gate:
    """A write that waits until it is let through."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.open = threading.Event()
        self.written: list[object] = []
        self.threads: set[int] = set()

    def write(self, item: object) -> None:
        self.entered.set()
        assert self.open.wait(PATIENCE)
        self.written.append(item)
        self.threads.add(threading.get_ident())


@pytest.fixture
def gate() -> Gate:
    return Gate()


def running(room: int = 1000) -> LogQueue:
    queue = LogQueue(room)
    queue.start()
    return queue


def fail(item: object) -> None:
    raise OSError("no space left on device")


def test_before_the_start_a_line_is_written_at_once(gate: Gate) -> None:
    """There may be no thread before a daemon forks."""
    gate.open.set()
    queue = LogQueue()
    queue.put(gate.write, "one")
    assert gate.written == ["one"]
    assert gate.threads == {threading.get_ident()}
    assert not queue.running


def test_lines_are_written_in_order_on_another_thread(gate: Gate) -> None:
    """Who puts a line does not wait for it."""
    queue = running()
    for number in range(3):
        queue.put(gate.write, number)
    assert gate.written == []
    assert not queue.flush(0)
    gate.open.set()
    assert queue.flush(PATIENCE)
    assert gate.written == [0, 1, 2]
    assert threading.get_ident() not in gate.threads


def test_lines_that_nobody_waits_for_are_written_with_others(gate: Gate) -> None:
    """At the latest when somebody waits after all, and in the order in which they came."""
    gate.open.set()
    queue = running()
    queue.put(gate.write, "one", size=10, soon=False)
    queue.put(gate.write, "two", size=10, soon=False)
    queue.put(gate.write, "three")
    queue.put(gate.write, "four", size=10, soon=False)
    assert queue.flush(PATIENCE)
    assert gate.written == ["one", "two", "three", "four"]
    queue.put(gate.write, "five", size=10, soon=False)
    for _ in range(1000):
        if len(gate.written) == 5:
            break
        threading.Event().wait(0.01)
    assert gate.written[4:] == ["five"]


def test_what_finds_no_room_is_lost_and_counted(gate: Gate) -> None:
    """The room is counted in bytes, the line that is being written included; there is room again when it is written."""
    queue = running(room=300)
    queue.put(gate.write, "one", size=200)
    assert gate.entered.wait(PATIENCE)
    queue.put(gate.write, "two", lines=7, size=200)
    queue.put(gate.write, "three", size=100)
    queue.put(gate.write, "four", size=1)
    assert queue.dropped == 8
    gate.open.set()
    assert queue.flush(PATIENCE)
    queue.put(gate.write, "five", size=200)
    assert queue.flush(PATIENCE)
    queue.put(gate.write, "larger than the room", size=2000)
    assert queue.flush(PATIENCE)
    assert gate.written == ["one", "three", "five", "larger than the room"]
    assert queue.dropped == 8


@pytest.mark.parametrize("error", [OSError, ValueError, SystemExit, KeyboardInterrupt])
def test_what_cannot_be_written_is_counted(gate: Gate, error: type[BaseException]) -> None:
    """Whatever a handler raises, the next lines are written."""

    def fail(item: object) -> None:
        raise error

    gate.open.set()
    queue = running()
    queue.put(fail, "one", lines=3)
    queue.put(gate.write, "two")
    assert queue.flush(PATIENCE)
    assert gate.written == ["two"]
    assert queue.dropped == 3


def test_a_line_that_is_logged_while_one_is_written_comes_at_once(gate: Gate) -> None:
    """A handler that logs does not wait for its own thread."""
    gate.open.set()
    queue = running()
    order: list[str] = []

    def outer(item: object) -> None:
        queue.put(lambda inner: order.append("inner"), None)
        order.append("outer")

    queue.put(outer, None)
    assert queue.flush(PATIENCE)
    assert order == ["inner", "outer"]


def test_a_line_may_be_logged_while_one_is_queued(gate: Gate) -> None:
    """By what the garbage collector finds meanwhile, such as an error that no Deferred has handled."""
    gate.open.set()
    queue = running()
    with queue._lock:
        queue.put(gate.write, "one")
    assert queue.flush(PATIENCE)
    assert gate.written == ["one"]


def test_losses_are_told_once_lines_can_be_written(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not more than once in a while, for a disk that is full may have room for every second line."""
    now = [100.0]
    monkeypatch.setattr("twistserve.logs.queue.time.monotonic", lambda: now[0])
    told: list[int] = []
    gate.open.set()
    queue = running()
    queue.on_recovery = told.append
    steps: list[tuple[Callable[[object], None], list[int]]] = [
        (fail, []),
        (gate.write, [1]),
        (fail, [1]),
        (gate.write, [1]),
    ]
    for write, expected in steps:
        queue.put(write, None)
        assert queue.flush(PATIENCE)
        assert told == expected
    now[0] += 60
    queue.put(gate.write, None)
    assert queue.flush(PATIENCE)
    assert told == [1, 1]


def test_a_forked_child_writes_by_itself() -> None:
    """Its parent's thread is not there, and what waits for that is the parent's to write; locks are free."""
    reading, writing = os.pipe()
    gate = Gate()
    queue = running()
    queue.put(gate.write, "the parent's")
    assert gate.entered.wait(PATIENCE)
    with queue._lock:
        child = os.fork()
        if not child:
            try:
                queue.put(lambda line: os.write(writing, line), b"the child's")
                os._exit(0 if queue.flush(0) and not queue.running else 1)
            finally:
                os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert os.read(reading, 100) == b"the child's"
    gate.open.set()
    assert queue.flush(PATIENCE)
    assert gate.written == ["the parent's"]
    os.close(reading)
    os.close(writing)
