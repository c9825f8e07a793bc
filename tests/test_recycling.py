"""When a process ends by itself, on a clock that the test moves."""

from __future__ import annotations

import errno
import re
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from twistserve.lifecycle import Lifecycle, State
from twistserve.recycling import RecyclingService, resident_memory

MEGABYTE = 1 << 20


class Process:
    """What a service looks at, and what it asked for; ready unless told otherwise."""

    def __init__(
        self, requests: int = 0, megabytes: int = 0, state: State | None = State.READY, *, age: float = 0
    ) -> None:
        self.clock = Clock()
        self.lifecycle = Lifecycle(self.clock)
        if state is not None:
            self.lifecycle.enter(state, "a test")
        self.answered = self.memory = 0
        self.error: OSError | None = None
        self.asked: list[tuple[str, str]] = []
        self.service = RecyclingService(
            requests,
            age,
            megabytes * MEGABYTE,
            lambda: self.answered,
            self.lifecycle,
            lambda cause, reason: self.asked.append((cause, reason)),
            self.clock,
            self.read_memory,
        )
        self.service.startService()

    def read_memory(self) -> int:
        if self.error is not None:
            raise self.error
        return self.memory

    @property
    def causes(self) -> list[str]:
        return [cause for cause, _ in self.asked]

    def run_for(self, seconds: float) -> None:
        self.clock.pump([0.5] * round(seconds * 2))


def lifetime(requests: int) -> int:
    """After how many requests a process ends of which so many are wanted."""
    process = Process(requests)
    while not process.asked:
        process.answered += 1
        process.run_for(1)
    return process.answered


def test_a_lifetime_is_as_asked_for_and_up_to_a_tenth_longer() -> None:
    """So that instances that began together do not end together."""
    lifetimes = {lifetime(40) for _ in range(200)}
    assert lifetimes == {40, 41, 42, 43, 44}


@pytest.mark.parametrize("requests", [1, 9])
def test_a_short_lifetime_is_exact(requests: int) -> None:
    """A tenth of it is no request."""
    assert {lifetime(requests) for _ in range(20)} == {requests}


def age_at_the_end(seconds: float) -> float:
    """The age, to half a second, at which a process ends that is to live for so long."""
    process = Process(age=seconds)
    while not process.asked:
        process.run_for(0.5)
    return process.lifecycle.age


def test_an_age_is_as_asked_for_and_up_to_a_tenth_longer() -> None:
    """Whatever second within it, so that instances that became ready together do not end together."""
    ages = {age_at_the_end(100) for _ in range(300)}
    assert min(ages) >= 100
    assert max(ages) <= 111, "a tenth, and the time until the next look"
    assert len(ages) >= 8


def test_the_age_counts_from_when_it_is_ready() -> None:
    """A start that takes longer than the age must not end in the moment in which it is done."""
    process = Process(age=100, state=None)
    process.run_for(500)
    process.lifecycle.enter(State.READY, "a test")
    process.run_for(99)
    assert process.asked == []
    process.run_for(12)
    assert set(process.causes) == {"age"}


def test_the_bound_that_is_reached_first_counts() -> None:
    """Of requests, age and memory."""
    for cause in ("lifetime", "age", "memory"):
        process = Process(requests=5, megabytes=100, age=10)
        process.answered = 100 if cause == "lifetime" else 1
        process.memory = 1 << 40 if cause == "memory" else 1
        process.run_for(12 if cause == "age" else 1)
        assert set(process.causes) == {cause}


def test_memory_may_be_as_much_as_was_said() -> None:
    """One byte more is too much."""
    process = Process(megabytes=100)
    process.memory = 100 * MEGABYTE
    process.run_for(10)
    assert process.asked == []
    process.memory += 1
    process.run_for(1)
    assert process.causes == ["memory"]


def test_the_reason_has_the_figures() -> None:
    """For whoever reads the log."""
    process = Process(requests=5, megabytes=100)
    process.answered = 7
    process.run_for(1)
    process.answered, process.memory = 0, 300 * MEGABYTE
    process.run_for(1)
    (lifetime, requests), (memory, megabytes) = process.asked
    aged = Process(age=5)
    aged.run_for(7)
    assert re.fullmatch(r"ready for [56] s, at most [56] s were wanted", aged.asked[0][1])
    assert (lifetime, re.findall(r"\d+", requests)) == ("lifetime", ["7", "5"])
    assert (memory, re.findall(r"\d+", megabytes)) == ("memory", ["300", "100"])


@pytest.mark.parametrize(("requests", "megabytes"), [(0, 100), (5, 0)])
def test_without_a_bound_there_is_none(requests: int, megabytes: int) -> None:
    """Each can be set without the other."""
    process = Process(requests, megabytes)
    if requests:
        process.memory = 1 << 50
    else:
        process.answered = 1 << 50
    process.run_for(10)
    assert process.asked == []


@pytest.mark.parametrize("state", [None, State.DRAINING, State.STOPPED])
def test_only_what_is_ready_is_recycled(state: State | None) -> None:
    """Not a start that needs much memory, nor what drains already."""
    process = Process(5, 100, state)
    process.answered, process.memory = 100, 1 << 40
    process.run_for(10)
    assert process.asked == []


def test_it_looks_once_it_is_ready() -> None:
    """The start may take as long as it does."""
    process = Process(megabytes=100, state=None)
    process.memory = 1 << 40
    process.run_for(10)
    process.lifecycle.enter(State.READY, "a test")
    process.run_for(1)
    assert process.causes == ["memory"]


def test_it_asks_again_until_something_happens() -> None:
    """Once a second, since whoever decides may have to wait; with one cause at a time."""
    process = Process(requests=5, megabytes=100)
    process.answered, process.memory = 100, 1 << 40
    process.run_for(3)
    assert process.causes == ["lifetime"] * 3
    process.lifecycle.enter(State.DRAINING, "a test")
    process.run_for(3)
    assert len(process.asked) == 3


def test_it_looks_again_after_a_look_that_failed() -> None:
    """The memory cannot be read while every descriptor is taken."""
    process = Process(megabytes=100)
    process.memory, process.error = 1 << 40, OSError(errno.EMFILE, "Too many open files")
    process.run_for(3)
    assert process.causes == []
    process.error = None
    process.run_for(1)
    assert process.causes == ["memory"]


def test_it_does_not_look_after_it_was_stopped() -> None:
    """Nor does it keep a timer."""
    process = Process(requests=5)
    process.service.stopService()
    process.answered = 100
    process.run_for(3)
    assert process.asked == []
    assert process.clock.getDelayedCalls() == []


def test_resident_memory_is_what_the_kernel_says() -> None:
    """In bytes, within what this test itself may allocate meanwhile."""
    status = Path("/proc/self/status").read_text()
    kernel = int(status.partition("VmRSS:")[2].split()[0]) * 1024
    assert abs(resident_memory() - kernel) < 16 * MEGABYTE
