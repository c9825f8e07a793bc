"""What threads do, seen from outside: real threads, each until it is seen at what it does."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.support.functional.harness import wait_for
from twistserve.development import thread_state as doing
from twistserve.development.thread_state import ThreadState, ThreadStateReader


@contextmanager
def watched(work: Callable[[threading.Event], object]) -> Iterator[ThreadStateReader]:
    """A thread that does `work`, which returns once the event is set."""
    made: list[ThreadStateReader] = []
    ready, end = threading.Event(), threading.Event()

    def run() -> None:
        made.append(ThreadStateReader())
        ready.set()
        work(end)

    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(30)
    yield made[0]
    end.set()
    thread.join(30)
    made[0].close()


def compute(end: threading.Event) -> None:
    """Python code, without a call that gives the GIL up."""
    while not end.is_set():
        sum(range(100))


def sleep(end: threading.Event) -> None:
    """A system call of some length."""
    while not end.is_set():
        time.sleep(0.2)


def digest(end: threading.Event) -> None:
    """C code that needs no GIL."""
    data = bytes(20_000_000)
    while not end.is_set():
        hashlib.sha256(data).digest()


@pytest.mark.parametrize(
    ("work", "expected"),
    [
        (compute, ThreadState.COMPUTING),
        (sleep, ThreadState.WAITING),
        (lambda end: end.wait(), ThreadState.LOCKED),
        (digest, ThreadState.RUNNING),
    ],
)
def test_what_a_thread_does(work: Callable[[threading.Event], object], expected: ThreadState) -> None:
    """Each is told from the others, as the kernel sees them."""
    with watched(work) as watch:
        wait_for(lambda: watch.read() is expected, f"{expected}")


def test_a_thread_that_computes_is_never_seen_waiting() -> None:
    """While this thread has the GIL it waits for it, or is about to."""
    with watched(compute) as watch:
        assert {watch.read() for _ in range(1000)} <= {ThreadState.COMPUTING, ThreadState.RUNNING}


def test_a_thread_by_its_number() -> None:
    """Another thread may make the reader."""
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    reader = ThreadStateReader(thread.native_id)
    wait_for(lambda: reader.read() is ThreadState.LOCKED, "the thread to wait for the event")
    reader.close()
    end.set()
    thread.join(30)


def test_nothing_is_left_open() -> None:
    """A thread that has ended is unknown, and so is one that is not looked at any more."""
    before = os.listdir("/proc/self/fd")
    with watched(sleep) as watch:
        pass
    assert watch.read() is ThreadState.UNKNOWN
    assert os.listdir("/proc/self/fd") == before
    watch.close()


@pytest.mark.parametrize("missing", ["_FUTEX", "_HAS_GIL"])
def test_where_it_cannot_be_told(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    """Another processor, a Python without the GIL."""
    monkeypatch.setattr(doing, missing, None)
    assert ThreadStateReader().read() is ThreadState.UNKNOWN


def test_a_kernel_that_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in some container runtimes."""
    monkeypatch.setattr(threading, "get_native_id", lambda: "none")
    assert ThreadStateReader().read() is ThreadState.UNKNOWN
