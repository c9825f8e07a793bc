"""The thread pool and the way back to the reactor."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from twistserve.web.threads import RequestThreadPool, Returns


def test_every_job_runs_once_and_in_order_on_one_thread() -> None:
    """However jobs and sleeping threads meet, none is lost."""
    pool = RequestThreadPool(1)
    pool.startService()
    seen: list[int] = []
    done = threading.Event()
    for number in range(2000):
        pool.submit(lambda number=number: seen.append(number))
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
    pool.submit(lambda: (running.set(), go_on.wait(30)))  # type: ignore[arg-type, return-value]
    assert running.wait(30)
    pool.submit(lambda: None)
    snapshot = pool.snapshot()
    go_on.set()
    assert (snapshot.threads, snapshot.busy, snapshot.queued) == (1, 1, 1)
    pool.stopService()


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
    returns = Returns(calls.append)
    returns.put(seen.append, 1)
    returns.put(int, "x")
    returns.put(seen.append, 2)
    assert len(calls) == 1
    calls.pop()()
    assert seen == [1, 2]
    assert "could not be sent" in caplog.text
    returns.put(seen.append, 3)
    calls.pop()()
    assert seen == [1, 2, 3]
