"""The threads for files: how many there are, what waits for them, and what becomes of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from twistserve.files.file_threads import FileThreads, Job


class Bench:
    """Two threads, whose jobs wait until they are let go; the test is the reactor."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.called = threading.Semaphore(0)
        self.go = threading.Event()
        self.begun = threading.Semaphore(0)
        self.threads = FileThreads("tests", self.call, threads=2, waiting=3)

    def call(self, *call: Any) -> None:
        self.calls.append(call)
        self.called.release()

    def work(self) -> str:
        self.begun.release()
        assert self.go.wait(30)
        return threading.current_thread().name

    def submit(self) -> Job | None:
        return self.threads.submit(self.work, self.done)

    def done(self, result: Any, error: BaseException | None) -> None:
        raise AssertionError("this is for the reactor to call")

    def results(self, count: int) -> list[Any]:
        for _ in range(count):
            assert self.called.acquire(timeout=30)
        return [result for done, result, error in self.calls if error is None]

    def running(self, count: int) -> None:
        for _ in range(count):
            assert self.begun.acquire(timeout=30)


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.go.set()


def test_no_more_than_there_may_be(bench: Bench) -> None:
    """However much hangs: two run, three wait, and nothing more is taken until one is done."""
    jobs = [bench.submit()]
    bench.running(1)
    jobs.append(bench.submit())
    bench.running(1)
    jobs += [bench.submit() for _ in range(3)]
    assert None not in jobs
    assert bench.submit() is None
    names = [thread.name for thread in threading.enumerate() if thread.name.startswith("tests-")]
    assert sorted(names) == ["tests-1", "tests-2"]
    bench.go.set()
    assert set(bench.results(5)) <= {"tests-1", "tests-2"}
    assert bench.submit() is not None
    assert len(bench.results(1)) == 6


def test_they_do_not_keep_the_process(bench: Bench) -> None:
    """They are daemons."""
    bench.submit()
    bench.running(1)
    assert all(thread.daemon for thread in threading.enumerate() if thread.name.startswith("tests-"))


def test_an_error_is_told(bench: Bench) -> None:
    """And the thread does the next job."""

    def fail() -> None:
        raise OSError("broken")

    bench.threads.submit(fail, bench.done)
    assert bench.called.acquire(timeout=30)
    ((done, result, error),) = bench.calls
    assert (done, result, str(error)) == (bench.done, None, "broken")
    bench.go.set()
    bench.submit()
    assert bench.results(1) == ["tests-1"]


def test_what_has_not_begun_can_be_withdrawn(bench: Bench) -> None:
    """It makes room, and nobody is told of it; what has begun is told."""
    running = [bench.submit(), bench.submit()]
    bench.running(2)
    waiting = [bench.submit() for _ in range(3)]
    assert bench.threads.withdraw(waiting[1])  # type: ignore[arg-type]
    assert not bench.threads.withdraw(running[0])  # type: ignore[arg-type]
    assert bench.submit() is not None
    assert bench.submit() is None
    bench.go.set()
    assert len(bench.results(5)) == 5


def test_a_machine_without_threads(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing waits for a thread that will never be."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert bench.submit() is None
    monkeypatch.undo()
    bench.go.set()
    assert bench.submit() is not None
    assert len(bench.results(1)) == 1


def test_a_pause_begins_once_nothing_runs(bench: Bench) -> None:
    """What comes meanwhile is done after it."""
    bench.submit()
    bench.running(1)
    idle: Any = object()
    bench.threads.pause(idle)
    bench.submit()
    assert bench.calls == []
    bench.go.set()
    for _ in range(2):
        assert bench.called.acquire(timeout=30)
    assert [call[0] for call in bench.calls] == [bench.done, idle]
    bench.threads.resume()
    bench.running(1)
    assert bench.called.acquire(timeout=30)
    assert len(bench.calls) == 3


def test_a_pause_while_nothing_runs(bench: Bench) -> None:
    """It begins at once, and what can be withdrawn before can be so then."""
    idle: Any = object()
    bench.threads.pause(idle)
    assert bench.calls == [(idle,)]
    job = bench.submit()
    assert job is not None
    assert bench.threads.withdraw(job)
    bench.threads.resume()
    assert bench.calls == [(idle,)]
