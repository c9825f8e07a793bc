"""When a process keeps to one core: on simulated loads, window by window."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import repeat

import pytest

from twistserve.threads.affinity import IDLE_FOR, PAUSES, SETTLED, TAKEN_WINDOWS, OneCore
from twistserve.threads.concurrency import EXPLORING, IDLE, WINDOW, Concurrency, Use

Load = Callable[[bool, int], Use]
"""What is used in a window, by whether threads are on one core, and how many of them may be at work."""


def python(held: bool, limit: int) -> Use:
    """Threads that need the GIL."""
    several = limit > 1
    return Use(1.0, 0.8 if several else 0.05) if held else Use(1.2 if several else 1.0, 0.1)


def hashing(held: bool, limit: int) -> Use:
    """Threads that do not, on two cores."""
    cores = 1 if held else 2
    return Use(float(min(limit, cores)), float(max(limit - cores, 0)))


def querying(held: bool, limit: int) -> Use:
    """Threads that wait for a database in turn: all are ready at times."""
    return Use(1.0, 0.9) if held else Use(0.77, 0.7)


def idle(held: bool, limit: int) -> Use:
    """Nothing to speak of."""
    return Use(0.02, 0.0)


def beside_neighbour(held: bool, limit: int) -> Use:
    """A core that another process needs as well, and another one that is free."""
    return Use(0.5, 0.5) if held else Use(1.0, 0.0)


class Process:
    """A process under a load, as the dispatcher and the keeper run it."""

    def __init__(self, chance: float = 0.0) -> None:
        self.now = 100.0
        self.policy = OneCore(lambda: chance)
        self.concurrency = Concurrency(8, cores=2)
        self.changes = 0
        self._free_windows = EXPLORING

    def run(self, load: Load, seconds: float, waiting: bool = True, limit: int | None = None) -> float:
        """The share of the windows that ended with threads on one core."""
        windows = round(seconds / WINDOW)
        return sum(self.window(load, waiting, limit) for _ in range(windows)) / windows

    def until(self, held: bool, load: Load, most: float, waiting: bool = True, limit: int | None = None) -> float:
        """Seconds until threads are on one core, or are not."""
        began = self.now
        while self.policy.held != held:
            self.window(load, waiting, limit)
            assert self.now - began <= most
        return self.now - began

    def window(self, load: Load, waiting: bool = True, limit: int | None = None, seconds: float = WINDOW) -> bool:
        self.now += seconds
        held = self.policy.held
        use = load(held, limit or self.concurrency.limit)
        kept = held or self._free_windows < EXPLORING
        self._free_windows += 1
        if waiting:
            self.concurrency.adapt(use, kept)
        elif use.used <= IDLE:
            self.concurrency.relax()
        if self.policy.decide(self.now, use, self.concurrency.exploring) != held:
            self.changes += 1
            self._free_windows = 0
        return self.policy.held


@pytest.fixture
def process() -> Process:
    return Process()


def test_a_process_that_is_busy_with_the_gil_takes_a_core_at_once(process: Process) -> None:
    """Two windows are enough; and keeps it but for moments in which it looks."""
    process.run(python, 0.5)  # until no more threads are at work than are of use
    assert process.until(True, python, 0.1) >= 0.0
    process.changes = 0
    assert process.run(python, 20) > 0.95
    assert process.changes <= 60


def test_one_in_which_the_gil_goes_to_and_fro_takes_a_core(process: Process) -> None:
    """It uses less than a core, but its threads are ready to use more."""
    process.until(True, querying, 0.1)


def test_one_that_waits_most_of_the_time_takes_none(process: Process) -> None:
    """Whatever its threads are delayed in those moments."""
    assert process.run(lambda held, limit: Use(0.4, 0.6), 1) == 0
    assert process.run(lambda held, limit: Use(0.8, 0.05), 1) == 0


def test_threads_that_wait_for_a_database_in_turn_are_let_go_seldom(process: Process) -> None:
    """They look as if they needed no GIL: only looking tells, and looks become rare."""
    process.until(True, querying, 0.1)
    process.changes = 0
    assert process.run(querying, 20) > 0.95
    assert process.changes <= 100


def test_one_that_computes_without_the_gil_takes_none(process: Process) -> None:
    """It uses more than one core."""
    assert process.run(hashing, 5) == 0


def test_nor_where_others_have_the_second_core(process: Process) -> None:
    """Its threads are ready to use several then."""
    assert process.run(lambda held, limit: Use(0.9, 6.0), 5, limit=8) == 0


def test_what_computes_without_the_gil_is_let_go_within_a_second(process: Process) -> None:
    """Though one thread is at work, which needs no more than a core: it is found out by more of them."""
    process.run(python, 3)
    process.run(hashing, 1)
    assert process.run(hashing, 5) < 0.02
    assert process.concurrency.limit >= 2


def test_it_is_let_go_at_once_where_several_are_at_work(process: Process) -> None:
    """No request need wait for that."""
    process.run(python, 3)
    process.until(False, hashing, 0.05, waiting=False, limit=2)
    assert process.run(hashing, 2, waiting=False, limit=2) == 0


def test_it_is_found_out_where_others_have_the_second_core(process: Process) -> None:
    """Two threads are ready all the time, of which one runs."""
    process.run(python, 3)

    def crowded(held: bool, limit: int) -> Use:
        return Use(1.0, 1.0 if limit > 1 else 0.02)

    process.run(crowded, 2.5)
    assert process.run(crowded, 3) < 0.5


def test_after_it_a_core_is_taken_again(process: Process) -> None:
    """By what needs the GIL."""
    process.run(hashing, 3)
    process.until(True, python, 1)


def test_an_idle_process_lets_go(process: Process) -> None:
    """Within a moment, and at once after a wait."""
    process.run(python, 1)
    process.until(True, python, 1)
    assert process.until(False, idle, 1) <= IDLE_FOR + WINDOW
    process.until(True, python, 1)
    assert not process.window(idle, waiting=False, seconds=0.25)


def test_a_short_rest_is_no_reason_to_let_go(process: Process) -> None:
    """Two windows."""
    process.run(python, 0.5)
    process.until(True, python, 1)
    assert process.window(idle, waiting=False)
    assert process.window(idle, waiting=False)
    assert process.window(python, limit=1)


def test_who_needs_the_core_has_it_within_a_tenth_of_a_second(process: Process) -> None:
    """And for a while; a moment of need is none."""
    process.run(python, 0.5)
    process.until(True, python, 1)
    for _ in range(TAKEN_WINDOWS - 1):
        assert process.window(beside_neighbour)
    assert process.window(python)
    process.until(False, beside_neighbour, 0.1)
    assert process.until(True, beside_neighbour, 0.2) >= PAUSES[0]


def test_where_others_need_it_again_and_again_the_process_stays_free(process: Process) -> None:
    """Longer and longer."""
    process.run(beside_neighbour, 10)
    assert process.run(beside_neighbour, 60) < 0.02


def test_that_it_was_needed_is_forgotten_on_a_quiet_core(process: Process) -> None:
    """The next time the process is free as shortly as at first."""
    process.run(beside_neighbour, 20)
    process.until(True, python, 2 * PAUSES[1])
    process.run(python, 3 * SETTLED)
    process.until(True, python, 1)
    process.window(beside_neighbour)
    assert process.until(True, python, 1) <= PAUSES[0] + 3 * WINDOW


def test_a_core_on_which_others_have_moments_is_kept_most_of_the_time(process: Process) -> None:
    """Every third of a second."""
    process.run(python, 1)
    held = 0.0
    for _ in range(30):
        held += process.run(python, 0.33)
        process.window(beside_neighbour)
    assert held / 30 > 0.7


def test_a_little_less_than_a_core_is_enough(process: Process) -> None:
    """What runs beside it for a moment, or waits of its own, drives nobody away."""
    process.run(python, 1)
    process.until(True, python, 1)
    assert process.window(lambda held, limit: Use(0.85, 0.4))
    assert process.window(lambda held, limit: Use(0.74, 0.17))


def test_two_processes_on_the_same_core_part() -> None:
    """Within a tenth of a second; by chance they do not take one again at the same time."""
    first, second = Process(0.1), Process(0.9)
    core = {first: 0, second: 0}

    def step() -> None:
        together = core[first] == core[second]
        for process in (first, second):
            process.window(beside_neighbour if together else python)
            other = second if process is first else first
            if not process.policy.held and core[other] == core[process]:
                core[process] = 1 - core[process]  # the kernel moves who may go elsewhere

    for process in (first, second):
        process.run(python, 0.5)
        process.until(True, python, 1)
    for _ in range(10):
        step()
    assert core[first] != core[second]
    for _ in range(30):
        step()
    assert [first.policy.held, second.policy.held] == [True, True]


def test_what_could_not_be_taken_is_tried_again(process: Process) -> None:
    """The thread had ended, for instance."""
    process.run(python, 0.5)
    process.until(True, python, 1)
    process.policy.let_go()
    assert not process.policy.held
    process.until(True, python, 0.1)


def test_a_process_with_ups_and_downs_does_not_flap(process: Process) -> None:
    """Windows of 0.6 and 1.0 of a core in turn."""
    loads: Iterator[Use] = (use for pair in repeat((Use(0.6, 0.3), Use(1.0, 0.1))) for use in pair)
    process.run(lambda held, limit: next(loads), 10)
    assert process.changes <= 100
