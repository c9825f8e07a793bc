"""What the main thread does while a reactor runs elsewhere; the reactor is a function here."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator

import pytest

from twistserve.main_thread import INTERRUPT, Interrupted, MainThread


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    before, hook = signal.getsignal(INTERRUPT), sys.unraisablehook
    yield
    signal.signal(INTERRUPT, before)
    sys.unraisablehook = hook


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
    main.lend(begun.wait)
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
    main.lend(begun.wait)
    assert seen == ["interrupted"]


def test_a_step_that_cannot_be_interrupted_is_left() -> None:
    """As one in C code; from the thread of the reactor, which ends the process."""
    main, begun, left = MainThread(), threading.Event(), threading.Event()
    main.leave = left.set

    def step() -> None:
        begun.set()
        while not left.is_set():
            try:
                left.wait()
            except Interrupted:
                continue

    main.put(step)
    main.lend(begun.wait)
    assert left.is_set()


def test_a_handler_of_the_application_may_raise(caplog: pytest.LogCaptureFixture) -> None:
    """sys.exit() for instance, as one for gunicorn's workers may: the end takes its course all the same."""
    main, called = MainThread(), threading.Event()

    def handler(number: int, frame: object) -> None:
        called.set()
        raise SystemExit(3)

    before = signal.signal(signal.SIGUSR2, handler)
    try:

        def loop() -> None:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR2)
            called.wait()

        main.lend(loop)
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert "has raised SystemExit" in caplog.text


def test_after_a_step_in_another_thread_nothing_is_looked_at() -> None:
    """Only the main thread can look at signals."""
    main, seen = MainThread(), []
    main.after_step = lambda: seen.append(threading.current_thread())
    thread = threading.Thread(target=main.step_done)
    thread.start()
    thread.join()
    main.step_done()
    assert seen == [threading.main_thread()]
