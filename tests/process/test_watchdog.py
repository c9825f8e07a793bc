"""When the process is cut off, by a clock that the test sets."""

from __future__ import annotations

import math
import os
import signal
import threading

import pytest

from twistserve.process.first_process import Deadline
from twistserve.process.watchdog import HURRY, Watchdog


class Clock:
    """A clock that stands still."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_nothing_is_due_before_a_signal() -> None:
    """There is all the time in the world."""
    assert Deadline(35.0, HURRY, Clock()).left == math.inf


def test_the_first_signal_begins_and_the_second_hurries() -> None:
    """The bound counts from the first; a third changes nothing."""
    clock = Clock()
    deadline = Deadline(35.0, HURRY, clock)
    assert deadline.ask()
    assert deadline.left == 35.0
    clock.now += 10
    assert deadline.ask()
    assert deadline.left == HURRY
    clock.now += 0.1
    assert not deadline.ask()
    assert deadline.left == pytest.approx(HURRY - 0.1)


def test_the_earlier_moment_counts() -> None:
    """A drain that has begun by itself is not put off by a signal, and a failed start has less time."""
    clock = Clock()
    deadline = Deadline(35.0, HURRY, clock)
    assert deadline.no_later_than(clock() + 20)
    assert not deadline.ask()
    assert deadline.left == 20
    assert deadline.no_later_than(clock() + 10)
    assert not deadline.no_later_than(clock() + 15)
    assert deadline.left == 10


def watch(asks: tuple[int, ...] = (signal.SIGTERM,)) -> tuple[Watchdog, threading.Event, list[float]]:
    cut = threading.Event()
    bounds: list[float] = []
    return Watchdog(30.0, asks, cut.set, lambda seconds: bounds.append(round(seconds))), cut, bounds


def test_it_hears_signals_and_passes_them_on() -> None:
    """Whoever was woken by them is still; those that do not ask for the end begin nothing."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    previous = signal.set_wakeup_fd(writing)
    handler = signal.signal(signal.SIGUSR2, lambda number, frame: None)
    watchdog, cut, bounds = watch((signal.SIGUSR2,))
    try:
        watchdog.hear()
        watchdog.start()
        os.kill(os.getpid(), signal.SIGUSR2)
        assert os.read(reading, 10) == bytes([signal.SIGUSR2])
        os.kill(os.getpid(), signal.SIGUSR2)
        assert cut.wait(10)
        assert bounds == [30, 0]
    finally:
        signal.set_wakeup_fd(previous)
        signal.signal(signal.SIGUSR2, handler)
        for descriptor in (reading, writing, *watchdog.descriptors):
            os.close(descriptor)


def test_it_can_be_told() -> None:
    """From any thread, and the cut follows."""
    watchdog, cut, bounds = watch()
    watchdog.start()
    watchdog.bound(30.0)
    assert not cut.is_set()
    watchdog.bound(0.0)
    assert cut.wait(10)
    assert bounds == [30, 0]
    for descriptor in watchdog.descriptors[:2]:
        os.close(descriptor)
