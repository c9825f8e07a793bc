"""How long a thread waited for a processor, by the kernel's own count."""

from __future__ import annotations

import os
import threading
import time

import pytest

from twistserve.threads.run_delay import RunDelay


def compute(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_a_thread_that_shares_its_core() -> None:
    """Another process has it for a part of the time."""
    found: list[float] = []

    def run() -> None:
        core = min(os.sched_getaffinity(0))
        os.sched_setaffinity(threading.get_native_id(), {core})
        neighbour = os.posix_spawn("/bin/sh", ["sh", "-c", "while :; do :; done"], {})
        try:
            delay = RunDelay()
            delay.since_last()
            while not found or found[-1] < 0.002:
                compute(0.02)
                found.append(delay.since_last())
            delay.close()
        finally:
            os.kill(neighbour, 9)
            os.waitpid(neighbour, 0)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    assert 0.002 <= found[-1] < 60


def test_a_thread_that_sleeps_is_not_ready() -> None:
    """It wants no processor; on a busy machine it waits for one when it wakes, but not each time."""
    delay = RunDelay()
    found: list[float] = []
    while not found or found[-1] >= 0.05:
        assert len(found) < 100, found
        delay.since_last()
        time.sleep(0.05)
        found.append(delay.since_last())
    delay.close()


def test_how_long_it_ran() -> None:
    """The same file tells."""
    delay = RunDelay()
    delay.since_last()
    compute(0.03)
    delay.since_last()
    assert delay.ran >= 0.02
    delay.close()


def test_a_system_that_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is known, and nothing is wrong."""

    def refuse(*arguments: object) -> int:
        raise FileNotFoundError

    monkeypatch.setattr(os, "open", refuse)
    delay = RunDelay()
    assert delay.since_last() == 0
    delay.close()


def test_after_the_end() -> None:
    """Its file is closed; whoever asks still gets an answer."""
    delay = RunDelay()
    delay.close()
    assert delay.since_last() == 0
