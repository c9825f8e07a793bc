"""The thread pool and the way back to the reactor."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.support.functional.harness import wait_for
from twistserve.errors import StartError
from twistserve.load import Load
from twistserve.threads.pool import RequestThreadPool
from twistserve.threads.reactor_queue import ReactorQueue


def test_every_job_runs_once_and_in_order_on_one_thread() -> None:
    """However jobs and sleeping threads meet, none is lost."""
    pool = RequestThreadPool(1, max_queue=2001)
    pool.startService()
    seen: list[int] = []
    done = threading.Event()
    for number in range(2000):
        pool.submit(partial(seen.append, number))
    pool.submit(done.set)
    assert done.wait(30)
    pool.stopService()
    assert seen == list(range(2000))


def test_as_many_jobs_run_at_a_time_as_there_are_threads() -> None:
    """All threads are woken for jobs that wait for one another."""
    pool = RequestThreadPool(4)
    pool.startService()
    for _ in range(200):
        meeting = threading.Barrier(5)
        for _ in range(4):
            pool.submit(lambda meeting=meeting: meeting.wait(30))  # type: ignore[misc]
        meeting.wait(30)
    pool.stopService()


def test_the_snapshot_tells_busy_and_queued() -> None:
    """One job runs, the other waits."""
    pool = RequestThreadPool(1)
    pool.startService()
    running, go_on = threading.Event(), threading.Event()

    def job() -> None:
        running.set()
        go_on.wait(30)

    pool.submit(job)
    assert running.wait(30)
    pool.submit(lambda: None)
    snapshot = pool.snapshot()
    go_on.set()
    assert (snapshot.threads, snapshot.busy, snapshot.queued) == (1, 1, 1)
    pool.stopService()


def test_each_thread_is_known_by_what_the_kernel_knows_it_by() -> None:
    """As long as it runs."""
    pool = RequestThreadPool(3)
    pool.startService()
    workers = pool.workers
    wait_for(lambda: all(worker.native_id for worker in workers), "the threads to begin")
    threads = {thread.native_id for thread in threading.enumerate() if thread.name.startswith("request-")}
    assert {worker.native_id for worker in workers} <= threads
    pool.stopService()
    wait_for(lambda: not any(worker.native_id for worker in workers), "the threads to end")


def test_a_job_that_raises_leaves_its_thread_alive(caplog: pytest.LogCaptureFixture) -> None:
    """SystemExit included."""
    pool = RequestThreadPool(1)
    pool.startService()
    done = threading.Event()

    def leave() -> None:
        raise SystemExit

    pool.submit(leave)
    pool.submit(done.set)
    assert done.wait(30)
    pool.stopService()
    assert "nothing handled" in caplog.text


def test_returns_wake_the_reactor_once_for_many(caplog: pytest.LogCaptureFixture) -> None:
    """Order is kept, one that fails does not keep the others, and what comes later wakes the reactor again."""
    calls: list[Callable[[], Any]] = []
    seen: list[object] = []
    returns = ReactorQueue(calls.append)
    returns.put(seen.append, 1)
    returns.put(int, "x")  # type: ignore[arg-type]
    returns.put(seen.append, 2)
    assert len(calls) == 1
    calls.pop()()
    assert seen == [1, 2]
    assert "could not be sent" in caplog.text
    returns.put(seen.append, 3)
    calls.pop()()
    assert seen == [1, 2, 3]


class Job:
    """Runs until it is told to return."""

    def __init__(self) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()

    def __call__(self) -> None:
        self.begun.set()
        assert self.go_on.wait(30)


def started(*jobs: Job, size: int) -> RequestThreadPool:
    """A pool whose threads run these jobs."""
    pool = RequestThreadPool(size)
    pool.startService()
    for job in jobs:
        assert pool.submit(job)
        assert job.begun.wait(30)
    return pool


def test_a_full_queue_takes_no_more() -> None:
    """Threads that are free count: a job they are about to take does not wait."""
    pool = RequestThreadPool(1, max_queue=1)
    running, waiting = Job(), Job()
    assert pool.submit(running)  # before there is a thread
    pool.startService()
    assert running.begun.wait(30)
    assert pool.submit(waiting)
    assert not pool.submit(Job())
    assert pool.withdraw(waiting)
    assert not pool.withdraw(running)
    assert pool.submit(waiting)
    for job in (running, waiting):
        job.go_on.set()
    pool.stopService()


def test_a_stuck_thread_is_replaced_until_it_returns() -> None:
    """It counts as stuck meanwhile; afterwards the pool is as large as it was."""
    stuck, other = Job(), Job()
    pool = started(stuck, size=1)
    assert pool.give_up(stuck)
    assert pool.submit(other)
    assert other.begun.wait(30)
    assert (pool.snapshot().threads, pool.snapshot().stuck) == (2, 1)
    assert not pool.give_up(Job())
    stuck.go_on.set()
    wait_for(lambda: pool.snapshot().threads == 1, "the thread to end")
    assert pool.snapshot().stuck == 0
    other.go_on.set()
    wait_for(lambda: pool.snapshot().busy == 0, "the other to return")
    pool.stopService()


def test_there_are_at_most_twice_as_many_threads() -> None:
    """When all of them are stuck, none is left; one that returns takes up work again."""
    jobs = [Job() for _ in range(4)]
    pool = started(*jobs[:2], size=2)
    for job in jobs[:2]:
        assert pool.give_up(job)
    for job in jobs[2:]:
        assert pool.submit(job)
        assert job.begun.wait(30)
        assert pool.give_up(job)
    assert (pool.snapshot().threads, pool.snapshot().stuck) == (4, 4)
    late = Job()
    assert pool.submit(late)
    assert not late.begun.wait(0.05)
    jobs[0].go_on.set()
    assert late.begun.wait(30)
    assert pool.snapshot().stuck == 3
    for job in (*jobs[1:], late):
        job.go_on.set()
    wait_for(lambda: pool.snapshot() == Load(2, 0, 0, 0), "the pool to be as it was")
    pool.stopService()


def test_a_system_without_threads(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A start says what to do; a stuck thread is not replaced, and whoever waits for the next is none the worse."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    pool = RequestThreadPool(1)
    pool.startService()
    running, go_on, done = threading.Event(), threading.Event(), threading.Event()

    def job() -> None:
        running.set()
        go_on.wait(30)

    pool.submit(job)
    assert running.wait(30)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(StartError, match="--threads: 5 threads cannot be started"):
            RequestThreadPool(5).startService()
        assert pool.give_up(job)
    assert "cannot be replaced" in caplog.text
    assert pool.snapshot() == Load(threads=1, busy=1, queued=0, stuck=1)
    pool.submit(done.set)
    go_on.set()
    assert done.wait(30)
    pool.stopService()
