"""What the main thread does while a reactor runs elsewhere; the reactor is a function here."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from twistserve.net.main_thread import INTERRUPT, Interrupted, MainThread


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    before, hook = signal.getsignal(INTERRUPT), sys.unraisablehook
    yield
    signal.signal(INTERRUPT, before)
    sys.unraisablehook = hook


def until(event: threading.Event) -> Callable[[], None]:
    """A reactor that runs until the event."""

    def loop() -> None:
        event.wait()

    return loop


def test_what_is_given_runs_there_in_order() -> None:
    """What was given before, and by the reactor's thread; with its end the main thread is given back."""
    main, seen = MainThread(), []

    def note() -> None:
        seen.append(threading.current_thread())

    main.put(note)

    def loop() -> None:
        assert threading.current_thread().name == "reactor"
        main.call(note)

    main.lend(loop)
    assert seen == [threading.main_thread()] * 2


def test_calls_without_a_reactor() -> None:
    """In the main thread at once; from another, which nobody would attend to, not at all."""
    main, seen = MainThread(), []
    main.call(lambda: seen.append("main"))
    thread = threading.Thread(target=main.call, args=(lambda: seen.append("another"),))
    thread.start()
    thread.join()
    assert seen == ["main"]


def test_a_step_is_interrupted_at_the_end() -> None:
    """Wherever it waits, and its `finally` clauses run."""
    main, begun, seen = MainThread(), threading.Event(), []
    main.leave = lambda: seen.append("left")

    def step() -> None:
        try:
            begun.set()
            threading.Event().wait()
        except Interrupted:
            seen.append("interrupted")
            raise

    main.put(step)
    main.lend(until(begun))
    assert seen == ["interrupted"]


def test_an_interrupt_that_meets_a_destructor() -> None:
    """Which cannot raise anything: the step is interrupted after it, and nothing is said of that."""
    main, begun, seen = MainThread(), threading.Event(), []

    class Slow:
        def __del__(self) -> None:
            begun.set()
            threading.Event().wait()

    def step() -> None:
        Slow()
        try:
            threading.Event().wait()
        finally:
            seen.append("interrupted")

    main.put(step)
    main.lend(until(begun))
    assert seen == ["interrupted"]


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), LookupError("lost")])
def test_a_handler_of_the_application_may_raise(caplog: pytest.LogCaptureFixture, error: BaseException) -> None:
    """sys.exit() for instance, as one for gunicorn's workers may: a line of the log is all that comes of it."""

    def handler(number: int, frame: object) -> None:
        raise error

    MainThread().handle(handler, signal.SIGTERM, None)
    assert f"handler of SIGTERM has raised {type(error).__name__}" in caplog.text


def test_a_handler_of_the_application_is_not_interrupted() -> None:
    """What it was called in is, when it has returned."""
    main, begun, seen = MainThread(), threading.Event(), []

    def handler(number: int, frame: object) -> None:
        begun.set()
        # Until the interrupts have begun, and some more.
        for _ in range(5):
            signal.sigtimedwait([], 0.02)
        seen.append("handled")

    def step() -> None:
        try:
            main.handle(handler, signal.SIGTERM, None)
            threading.Event().wait()
        finally:
            seen.append("interrupted")

    main.put(step)
    main.lend(until(begun))
    assert seen == ["handled", "interrupted"]


def test_only_one_thread_ends_the_process() -> None:
    """A step that comes back while the reactor's thread is leaving waits for that."""
    program = """
import os, threading, time
from twistserve.net.main_thread import Interrupted, MainThread
main, begun, leaving = MainThread(), threading.Event(), threading.Event()

def leave():
    leaving.set()
    time.sleep(0.3)
    os._exit(7)

def step():
    begun.set()
    while not leaving.is_set():
        try:
            leaving.wait()
        except Interrupted:
            continue

main.leave = leave
main.put(step)
main.lend(begun.wait)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 7


def test_after_a_step_in_another_thread_nothing_is_looked_at() -> None:
    """Only the main thread can look at signals."""
    main, seen = MainThread(), []
    main.after_step = lambda: seen.append(threading.current_thread())
    thread = threading.Thread(target=main.step_done)
    thread.start()
    thread.join()
    main.step_done()
    assert seen == [threading.main_thread()]
