"""How many threads may be at work, on loads that are simulated window by window."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from twistserve.threads.concurrency import WINDOW, Concurrency, Use

Load = Callable[[int, int], Use]
"""What so many threads at work use of so many cores."""


def computing(threads: int, cores: int) -> Use:
    """In Python: the GIL is the limit, and several cores cost contention besides."""
    if cores == 1:
        return Use(1.0, threads - 1.0)
    return Use(1.0 if threads == 1 else 1.28, 0.0 if threads == 1 else 0.25)


def waiting(share: float) -> Load:
    """For a database, that share of the time; the rest is computed in Python."""

    def load(threads: int, cores: int) -> Use:
        return Use(min(threads * (1 - share), 1.0))

    return load


def hashing(threads: int, cores: int) -> Use:
    """Without the GIL."""
    return Use(float(min(threads, cores)), float(max(threads - cores, 0)))


def beside(load: Load, share: float) -> Load:
    """The same where another process has that share of the core."""

    def shared(threads: int, cores: int) -> Use:
        alone = load(threads, cores)
        lost = min(alone.used, 1.0) * share
        return Use(alone.used - lost, alone.delayed + lost)

    return shared


def run(concurrency: Concurrency, load: Load, cores: int, seconds: float) -> list[int]:
    """Let it adapt to a load for so long; the limits of its windows."""
    limits = []
    for _ in range(round(seconds / WINDOW)):
        limits.append(concurrency.limit)
        concurrency.adapt(load(concurrency.limit, cores))
    return limits


@pytest.mark.parametrize("cores", [1, 2, 64])
def test_one_thread_computes(cores: int) -> None:
    """Soon, and from then on, but for a window now and then in which another may show that it needs no GIL."""
    limits = run(Concurrency(8, cores), computing, cores, 10)
    assert limits[0] == 8
    assert set(limits[30:]) <= {1, 2}
    assert limits[200:].count(2) <= 0.05 * len(limits)
    if cores == 1:
        assert set(limits[30:]) == {1}


@pytest.mark.parametrize(("share", "enough"), [(0.3, 2), (0.5, 2), (0.6, 3)])
def test_as_many_as_keep_the_core_busy(share: float, enough: int) -> None:
    """Threads that wait for a part of the time leave room for others."""
    limits = run(Concurrency(8, 1), waiting(share), 1, 5)[100:]
    assert max(limits) <= enough + 1
    assert sum(limits) / len(limits) >= enough - 0.5


@pytest.mark.parametrize("share", [0.95, 0.999])
def test_all_wait(share: float) -> None:
    """Each of them may be at work, however many, within a tenth of a second."""
    concurrency = Concurrency(16, 2)
    run(concurrency, computing, 2, 1)
    assert run(concurrency, waiting(share), 2, 0.1)[-1] == 16


@pytest.mark.parametrize("cores", [2, 4])
def test_hashing_uses_all_cores(cores: int) -> None:
    """From the start, and not for one of them where there is only one."""
    assert min(run(Concurrency(8, cores), hashing, cores, 5)) >= cores
    assert run(Concurrency(8, 1), hashing, 1, 5)[-1] == 1


def test_hashing_after_computing() -> None:
    """It is found out by trying; and the other way round it is given up."""
    concurrency = Concurrency(8, 2)
    run(concurrency, computing, 2, 10)
    assert run(concurrency, hashing, 2, 1.2)[-1] >= 2
    assert set(run(concurrency, computing, 2, 1)[30:]) <= {1, 2}


def test_two_threads_that_hash_on_one_core() -> None:
    """The kernel has put both there: they are ready to run all the time, which those that need the GIL are not."""
    concurrency = Concurrency(8, 2)
    run(concurrency, computing, 2, 10)
    assert run(concurrency, lambda threads, cores: Use(1.0, threads - 1.0), 2, 1.2)[-1] >= 2


def test_a_moment_without_processor_does_not_end_hashing_on_two_cores() -> None:
    """Others had it."""
    concurrency = Concurrency(8, 2)
    run(concurrency, hashing, 2, 1)
    concurrency.adapt(Use(1.1, 0.2))
    assert concurrency.limit == 2


def test_a_neighbour_on_the_core() -> None:
    """The one thread that computes is ready to run all the time: more of them would gain nothing."""
    concurrency = Concurrency(8, 1)
    run(concurrency, computing, 1, 1)
    assert set(run(concurrency, beside(computing, 0.6), 1, 2)) == {1}


def test_nothing_is_tried_while_a_thread_keeps_the_gil() -> None:
    """What computes without it lets the reactor have it at once."""
    concurrency = Concurrency(8, 2)
    run(concurrency, computing, 2, 1)
    limits = set()
    for _ in range(1000):
        concurrency.adapt(Use(1.0, gil_free=False))
        limits.add(concurrency.limit)
    assert limits == {1}
    concurrency.adapt(Use(1.0))
    assert concurrency.exploring


def test_exploring_ends() -> None:
    """After its windows, and at once where threads wait for something else."""
    concurrency = Concurrency(8, 2)
    while not concurrency.exploring:
        concurrency.adapt(computing(concurrency.limit, 2))
    concurrency.adapt(waiting(0.8)(concurrency.limit, 2))
    assert not concurrency.exploring
    while not concurrency.exploring:
        concurrency.adapt(computing(concurrency.limit, 2))
    for _ in range(2):
        concurrency.adapt(computing(concurrency.limit, 2))
    assert not concurrency.exploring


def test_threads_that_are_kept_on_one_core() -> None:
    """Two that need the GIL are ready nearly all the time there; those that don't are, window after window."""
    concurrency = Concurrency(8, 2)
    run(concurrency, computing, 2, 10)
    for _ in range(400):
        ready = 0.0 if concurrency.limit == 1 else 0.9
        concurrency.adapt(Use(1.0, ready), kept=True)
        assert concurrency.limit <= 2
    for _ in range(200):
        concurrency.adapt(Use(1.0, concurrency.limit - 1.0), kept=True)
    assert concurrency.exploring


def test_processes_that_share_two_cores() -> None:
    """Threads that wait for a processor are no reason for more of them, however many are at work."""
    concurrency = Concurrency(8, 2)
    limits = run(concurrency, lambda threads, cores: Use(0.7, 0.3 if threads == 1 else 0.6), 2, 2)
    assert set(limits[30:]) <= {1, 2}


def test_a_load_that_changes() -> None:
    """Within a fraction of a second, in each direction."""
    concurrency = Concurrency(8, 2)
    for _ in range(3):
        assert run(concurrency, computing, 2, 0.4)[-1] <= 2
        assert run(concurrency, waiting(0.9), 2, 0.4)[-1] == 8
        assert run(concurrency, waiting(0.4), 2, 0.4)[-1] <= 3


def test_little_to_do() -> None:
    """Each request has a thread."""
    concurrency = Concurrency(8, 2)
    run(concurrency, computing, 2, 1)
    concurrency.relax()
    assert concurrency.limit == 8


def test_bounds() -> None:
    """At least one, and no more than there are."""
    assert set(run(Concurrency(1, 2), hashing, 2, 1)) == {1}
    assert min(run(Concurrency(3, 1), computing, 1, 1)) == 1
    assert max(run(Concurrency(3, 1), waiting(0.9), 1, 1)) == 3
