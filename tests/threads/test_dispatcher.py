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
from twistserve.threads.concurrency import WINDOW, Concurrency
from twistserve.threads.dispatcher import MOST_PATIENCE, NAP, PATIENCE, Dispatcher
from twistserve.threads.pool import RequestThreadPool
from twistserve.threads.reactor_queue import ReactorQueue

SOON = 1.01 * WINDOW
"""Seconds, enough for the next window."""


class FakeWorker:
    """A thread of a pool that is none; `delay` is what it has waited for a processor since the last window."""

    def __init__(self) -> None:
        self.since = 0.0
        self.delay = 0.0
        self.reads = 0

    def run_delay(self) -> float:
        self.reads += 1
        return self.delay


class FakePool:
    """Eight threads, of which those at `jobs` are at work; `woken` counts, nobody takes a job by itself."""

    dispatcher: Any = None

    def __init__(self) -> None:
        self.at_work: list[FakeWorker] = []
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

    @property
    def workers(self) -> list[FakeWorker]:
        return self.at_work

    def wake(self, number: int) -> None:
        self.woken += max(0, min(number, self.idle))


class Scene:
    """A dispatcher among fakes; time and CPU time pass when told."""

    def __init__(self) -> None:
        self.now = self.cpu = 0.0
        self.pool = FakePool()
        self.calls: list[Callable[[], None]] = []
        self.returns = ReactorQueue(self.calls.append)
        self.concurrency = Concurrency(8, 1)
        clocks: Any = (lambda: self.now, lambda: self.cpu)
        self.dispatcher = Dispatcher(self.pool, self.returns, self.concurrency, *clocks)  # type: ignore[arg-type]

    def go_on(self, seconds: float, share: float = 1.0) -> Scene:
        """Let time pass, in which the process uses that much of a processor."""
        self.now += seconds
        self.cpu += seconds * share
        return self

    def at_work(self, threads: int) -> Scene:
        """So many threads have just begun a job."""
        self.pool.at_work = [FakeWorker() for _ in range(threads)]
        for worker in self.pool.at_work:
            worker.since = self.now
        return self

    def crowded(self, queued: int = 20) -> Scene:
        """Jobs have waited while one thread after another computed."""
        self.pool.queued = queued
        self.dispatcher.dispatch()
        for _ in range(40):
            self.at_work(1).go_on(SOON).dispatcher.dispatch()
        assert self.concurrency.limit == 1
        return self.at_work(0)

    def woken(self) -> int:
        """How many threads a dispatch wakes."""
        self.pool.woken = 0
        self.dispatcher.dispatch()
        return self.pool.woken


def test_each_job_gets_a_thread_while_the_process_is_not_busy() -> None:
    """The reactor waits as always, and is woken by what threads put."""
    scene = Scene().at_work(2)
    scene.pool.queued = 4
    assert scene.go_on(1, share=0.4).woken() == 4
    assert not scene.dispatcher.should_yield()
    scene.at_work(6).pool.queued = 0
    assert scene.dispatcher.dispatch() == 0
    assert not scene.returns.napping


def test_nothing_waits() -> None:
    """However busy it is."""
    scene = Scene().crowded().at_work(1)
    scene.pool.queued = 0
    assert scene.dispatcher.dispatch() == 0
    assert scene.woken() == 0


def test_one_thread_for_many_jobs_of_a_busy_process() -> None:
    """And none more while it computes; sockets are left alone meanwhile, and what it puts wakes nobody."""
    scene = Scene().crowded()
    assert scene.woken() == 1
    assert scene.at_work(1).woken() == 0
    assert scene.dispatcher.dispatch() == NAP
    seen: list[int] = []
    scene.returns.put(seen.append, 1)
    assert not scene.calls
    scene.dispatcher.dispatch()
    assert seen == [1]


def test_more_threads_when_the_one_at_work_waits() -> None:
    """Window by window: what was used while jobs waited tells."""
    scene = Scene().crowded()
    assert scene.woken() == 1
    limits = []
    for _ in range(4):
        scene.at_work(scene.concurrency.limit).go_on(SOON, share=0.8).dispatcher.dispatch()
        limits.append(scene.concurrency.limit)
    assert limits == [1, 2, 3, 5]
    assert scene.at_work(2).woken() == 3


def test_a_nap_that_ends_late_tells_that_the_gil_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """In that window; one that a thread ends early, or that ends in time, tells that it is not."""
    scene = Scene().crowded()
    told: list[bool] = []
    monkeypatch.setattr(scene.concurrency, "adapt", lambda use, kept: told.append(use.gil_free))
    for naps in ([NAP + 0.001, NAP, NAP], [NAP + 0.0001] * 3, [NAP, NAP / 2, NAP * 1.1, NAP]):
        for seconds in naps:
            scene.at_work(1).go_on(seconds).dispatcher.dispatch()
    assert told == [False, True, True]


def test_time_in_which_nothing_waited_says_nothing() -> None:
    """Between two bursts the process has little to do; and a window of them is no reason for more threads."""
    scene = Scene().crowded()
    for _ in range(10):
        scene.pool.queued = 20
        scene.dispatcher.dispatch()
        scene.at_work(1).go_on(SOON * 0.4)
        scene.pool.queued = 0
        scene.dispatcher.dispatch()
        scene.go_on(SOON * 0.6, share=0.3)
    assert scene.concurrency.limit == 1


def test_who_shares_the_processor_with_others() -> None:
    """The one thread was ready to run all the time, so another would gain nothing."""
    scene = Scene().crowded()
    for _ in range(10):
        scene.at_work(1).pool.at_work[0].delay = SOON * 0.6
        scene.go_on(SOON, share=0.4).dispatcher.dispatch()
    assert scene.concurrency.limit == 1


def test_delays_are_read_only_where_they_count() -> None:
    """Not while several threads share the only core; from the window on in which one is left."""
    scene = Scene().at_work(3)
    worker = scene.pool.at_work[0]
    scene.pool.queued = 20
    scene.dispatcher.dispatch()
    scene.go_on(SOON).dispatcher.dispatch()
    first = worker.reads
    while scene.concurrency.limit > 1:
        assert worker.reads == first
        scene.go_on(SOON).dispatcher.dispatch()
    assert worker.reads == first + 1, "what it was delayed before does not count"
    scene.go_on(SOON).dispatcher.dispatch()
    assert worker.reads == first + 2


def test_the_cpu_time_is_read_once_and_only_if_it_counts() -> None:
    """While requests wait, or a window ends: each reading is a system call."""
    scene = Scene().at_work(3)
    reads = iter(range(100))
    scene.dispatcher._cpu_clock = lambda: float(next(reads))
    scene.dispatcher.dispatch()
    scene.pool.queued = 20
    for _ in range(3):
        scene.go_on(SOON).dispatcher.dispatch()
    assert next(reads) == 3


def test_little_to_do() -> None:
    """Each job has a thread again."""
    scene = Scene().crowded()
    scene.pool.queued = 0
    scene.dispatcher.dispatch()
    scene.go_on(SOON, share=0.3).dispatcher.dispatch()
    scene.pool.queued = 5
    assert scene.woken() == 5


def test_a_thread_too_many_yields() -> None:
    """The last goes on, whatever happens."""
    scene = Scene().crowded().at_work(2)
    assert scene.dispatcher.should_yield()
    assert not scene.at_work(1).dispatcher.should_yield()


def test_what_takes_long_does_not_keep_others_waiting() -> None:
    """The first for PATIENCE, and twice as long if two are at it; many of them not for long."""
    scene = Scene().crowded().at_work(1)
    one = scene.pool.at_work[0]

    def pass_time(seconds: float) -> Scene:
        """In windows of full use."""
        for _ in range(round(seconds / SOON)):
            scene.go_on(SOON).dispatcher.dispatch()
        return scene

    assert pass_time(0.8 * PATIENCE).woken() == 0
    assert pass_time(0.4 * PATIENCE).woken() == 1
    scene.at_work(1).pool.at_work.append(one)
    assert pass_time(0.9 * PATIENCE).woken() == 0
    assert not scene.dispatcher.should_yield(), "the old one does not count"
    assert pass_time(1.3 * PATIENCE).woken() == 1
    scene.at_work(7)
    assert pass_time(0.9 * MOST_PATIENCE).woken() == 0
    assert pass_time(0.2 * MOST_PATIENCE).woken() == 1


def test_the_reactor_is_woken_when_it_must_look() -> None:
    """By a thread that yields while it waits for sockets, and by one with nothing left while it does not."""
    scene = Scene()
    scene.dispatcher.on_idle()
    assert not scene.calls
    scene.dispatcher.on_yield()
    assert len(scene.calls) == 1
    scene.calls.pop()()
    scene.crowded().at_work(1).dispatcher.dispatch()
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
    dispatcher = Dispatcher(pool, returns, Concurrency(8, 2))
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
