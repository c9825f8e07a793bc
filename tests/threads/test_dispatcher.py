"""How many threads are let at the queue."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import Any

import pytest

from tests.support.functional.harness import wait_for
from twistserve.threads.dispatcher import LOOK, MOST_PATIENCE, NAP, PATIENCE, Dispatcher
from twistserve.threads.pool import RequestThreadPool
from twistserve.threads.reactor_queue import ReactorQueue
from twistserve.threads.thread_state import ThreadState

MOMENT = 1.01 * LOOK
"""Seconds, enough for the next look."""


class FakeWorker:
    """A thread of a pool that is none."""

    def __init__(self) -> None:
        self.state = ThreadState.COMPUTING
        self.since = 0.0
        self.before = False

    def read_state(self) -> ThreadState:
        return self.state

    def ran_before(self) -> bool:
        return self.before


class FakePool:
    """Eight threads, of which those at `jobs` are at work; `woken` counts, nobody takes a job by itself."""

    dispatcher: Any = None

    def __init__(self, jobs: int = 0) -> None:
        self.at_work = [FakeWorker() for _ in range(jobs)]
        self.queued = 0
        self.woken = 0

    @property
    def awake(self) -> int:
        return len(self.at_work)

    @property
    def idle(self) -> int:
        return 8 - self.awake

    def at_jobs(self) -> list[FakeWorker]:
        return self.at_work

    def wake(self, number: int) -> None:
        self.woken += max(0, min(number, self.idle))


class Scene:
    """A dispatcher among fakes; time and CPU time pass when told."""

    def __init__(self, jobs: int = 0) -> None:
        self.now = self.cpu = 0.0
        self.pool = FakePool(jobs)
        self.calls: list[Callable[[], None]] = []
        self.returns = ReactorQueue(self.calls.append)
        clocks: Any = (lambda: self.now, lambda: self.cpu)
        self.dispatcher = Dispatcher(self.pool, self.returns, *clocks)  # type: ignore[arg-type]

    def go_on(self, seconds: float, share: float = 1.0) -> Scene:
        """Let time pass, in which the process uses that much of a processor."""
        self.now += seconds
        self.cpu += seconds * share
        return self

    def busy(self, queued: int = 1) -> Scene:
        """The process has been busy for long, and so many jobs wait."""
        self.pool.queued = queued
        self.go_on(1).dispatcher.dispatch()
        for worker in self.pool.at_work:
            worker.since = self.now
        return self.go_on(MOMENT)

    def woken(self) -> int:
        """How many threads a dispatch wakes."""
        self.pool.woken = 0
        self.dispatcher.dispatch()
        return self.pool.woken


def test_each_job_gets_a_thread_while_the_process_is_not_busy() -> None:
    """The reactor waits as always, and is woken by answers."""
    scene = Scene(2)
    scene.pool.queued = 4
    assert scene.go_on(1, share=0.4).woken() == 4
    assert scene.dispatcher.dispatch() == 0
    assert not scene.returns.held
    assert not scene.dispatcher.should_yield(scene.pool.at_work[0])  # type: ignore[arg-type]


def test_nothing_waits() -> None:
    """However busy it is."""
    scene = Scene(1).busy(queued=0)
    assert scene.dispatcher.dispatch() == 0
    assert scene.pool.woken == 0


def test_one_thread_for_many_jobs_of_a_busy_process() -> None:
    """And none more while it computes; sockets are left alone meanwhile, and answers wake nobody."""
    scene = Scene().busy(queued=20)
    assert scene.woken() == 1
    scene.pool.at_work = [FakeWorker()]
    scene.pool.at_work[0].since = scene.now
    assert scene.go_on(MOMENT).dispatcher.dispatch() == NAP
    assert scene.pool.woken == 1
    assert scene.returns.held
    seen: list[int] = []
    scene.returns.put(seen.append, 1)
    assert not scene.calls
    scene.dispatcher.dispatch()
    assert seen == [1]


@pytest.mark.parametrize("state", [ThreadState.WAITING, ThreadState.LOCKED, ThreadState.UNKNOWN])
def test_another_thread_when_the_one_at_work_does_not_compute(state: ThreadState) -> None:
    """One for each look; and the next look is soon."""
    scene = Scene(1).busy(queued=20)
    scene.pool.at_work[0].state = state
    assert scene.woken() == 1
    assert scene.woken() == 0, "it has only just looked"
    assert scene.go_on(MOMENT).woken() == 1
    assert scene.dispatcher.dispatch() == LOOK


def test_two_may_compute_where_some_wait() -> None:
    """Who computes between waits will wait again; three are too many."""
    scene = Scene(2).busy()
    scene.pool.at_work[0].state = ThreadState.WAITING
    assert scene.woken() == 1
    scene.pool.at_work.append(FakeWorker())
    scene.pool.at_work[2].since = scene.now
    assert scene.go_on(MOMENT).woken() == 0
    assert scene.dispatcher.should_yield(FakeWorker())  # type: ignore[arg-type]
    assert not scene.dispatcher.should_yield(scene.pool.at_work[1])  # type: ignore[arg-type]


def test_a_thread_gives_way_to_one_that_computes() -> None:
    """And not to one that waits."""
    scene = Scene(2).busy()
    one, other = scene.pool.at_work
    assert scene.dispatcher.should_yield(one)  # type: ignore[arg-type]
    other.state = ThreadState.WAITING
    assert not scene.dispatcher.should_yield(one)  # type: ignore[arg-type]


def test_the_last_thread_goes_on() -> None:
    """Whatever it looks like."""
    scene = Scene(1).busy()
    assert not scene.dispatcher.should_yield(scene.pool.at_work[0])  # type: ignore[arg-type]


def test_who_computes_for_long_does_not_keep_others_waiting() -> None:
    """The first for PATIENCE, and twice as long if two are at it, both of them; many of them not for long."""
    scene = Scene(1).busy()
    scene.pool.at_work[0].since = scene.now
    assert scene.go_on(0.9 * PATIENCE).woken() == 0
    assert scene.go_on(0.2 * PATIENCE).woken() == 1
    scene.pool.at_work.append(FakeWorker())
    scene.pool.at_work[1].since = scene.now
    assert scene.go_on(1.9 * PATIENCE).woken() == 0
    assert scene.go_on(0.2 * PATIENCE).woken() == 1
    assert not scene.dispatcher.should_yield(FakeWorker())  # type: ignore[arg-type]
    for worker in (FakeWorker() for _ in range(5)):
        worker.since = scene.now
        scene.pool.at_work.append(worker)
    assert scene.go_on(0.9 * MOST_PATIENCE).woken() == 0
    assert scene.go_on(0.2 * MOST_PATIENCE).woken() == 1


def test_who_runs_without_the_gil() -> None:
    """Seen running once it may be about to wait for the GIL; seen so again in the same job it is in C code."""
    scene = Scene(1).busy()
    worker = scene.pool.at_work[0]
    worker.state = ThreadState.RUNNING
    assert scene.woken() == 0
    worker.before = True
    assert scene.go_on(MOMENT).woken() == 1


def test_the_reactor_is_woken_when_it_must_look() -> None:
    """By a thread that gives way while it waits for sockets, and by one with nothing left while it does not."""
    scene = Scene(1)
    scene.dispatcher.on_idle()
    assert not scene.calls
    scene.dispatcher.on_yield()
    assert len(scene.calls) == 1
    scene.calls.pop()()
    scene.busy().dispatcher.dispatch()
    scene.dispatcher.on_yield()
    assert not scene.calls
    scene.dispatcher.on_idle()
    assert len(scene.calls) == 1


def test_no_job_is_left_behind() -> None:
    """Real threads, of which some compute and some wait, as a reactor would drive them; jobs come in bursts."""
    called = threading.Event()
    calls: list[Callable[[], None]] = []
    done: list[int] = []

    def call_from_thread(function: Callable[[], None]) -> None:
        calls.append(function)
        called.set()

    def job(number: int, kind: float) -> None:
        if kind < 0.5:
            end = time.thread_time() + 0.001
            while time.thread_time() < end:
                pass
        elif kind < 0.8:
            time.sleep(0.002)
        returns.put(done.append, number)

    returns = ReactorQueue(call_from_thread)
    pool = RequestThreadPool(8)
    dispatcher = Dispatcher(pool, returns)
    pool.startService()
    chance = random.Random(1)
    numbers = iter(range(600))
    deadline = time.monotonic() + 60
    while len(done) < 600 and time.monotonic() < deadline:
        if pool.queued < 20:
            for number in islice(numbers, chance.randrange(30)):
                assert pool.submit(partial(job, number, chance.random()))
        while calls:
            calls.pop(0)()
        called.clear()
        nap = dispatcher.dispatch()
        if not calls and len(done) < 600:
            called.wait(nap or (0.0 if pool.queued < 20 and len(done) < 500 else 60))
    pool.stopService()
    assert sorted(done) == list(range(600))
    wait_for(lambda: not [each for each in threading.enumerate() if each.name.startswith("request-")], "their ends")
