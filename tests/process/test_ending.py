"""The end as Python's own functions see it; each in a process of its own, which it ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import threading
from typing import Any

import pytest
from twisted.internet.task import Clock

from twistserve.lifecycle import Lifecycle, State
from twistserve.process.ending import CUT, END, KILL, Ending
from twistserve.process.first_process import FirstProcess


def run(code: str) -> subprocess.CompletedProcess[str]:
    """Run code with an Ending in a process of its own."""
    prelude = "import atexit, os, sys\nfrom twistserve.process.ending import Ending\nending = Ending()\n"
    words = [sys.executable, "-c", prelude + textwrap.dedent(code)]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)


def test_functions_run_once_and_in_order() -> None:
    """Those that were registered before ours, and those after it."""
    done = run("""
        atexit.register(print, "one")
        ending.fail_early()
        atexit.register(print, "two")
        atexit.register(print, "three")
    """)
    assert (done.returncode, done.stdout.split()) == (1, ["three", "two", "one"])


def test_an_early_end_may_be_a_good_one() -> None:
    """As after what was asked for has been printed."""
    done = run("""
        atexit.register(print, "one")
        ending.end_early(0)
    """)
    assert (done.returncode, done.stdout.split()) == (0, ["one"])


def test_functions_run_once_that_were_registered_twice() -> None:
    """Each time that it was registered."""
    done = run("""
        def again(text): print(text)
        atexit.register(again, "one")
        ending.fail_early()
        atexit.register(again, "two")
    """)
    assert done.stdout.split() == ["two", "one"]


@pytest.mark.parametrize("step", [1, -1])
def test_functions_run_once_in_whichever_order_python_compares_them(step: int) -> None:
    """Python 3.14.0 to 3.14.2 go through the list of functions backwards, all others forwards."""
    done = run(f"""
        import types
        from twistserve.process import ending as module
        functions = [lambda: print("one")]
        def unregister(function):
            for each in functions[::{step}]:
                if function == each:
                    functions.remove(each)
        def run_all():
            for each in functions[::-1]:
                each()
        module.atexit = types.SimpleNamespace(
            register=functions.append, unregister=unregister, _run_exitfuncs=run_all
        )
        ending.fail_early()
        functions.append(lambda: print("two"))
        run_all()
    """)
    assert done.stdout.split() == ["two", "one"]


def test_a_forked_child_ends_as_any() -> None:
    """It is none of ours: Python ends it, with its own status."""
    done = run("""
        ending.fail_early()
        if not (pid := os.fork()):
            sys.exit(7)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    """)
    assert (done.returncode, done.stdout) == (1, "7\n")


def test_the_log_is_flushed_before_and_after_the_functions() -> None:
    """What they log is written too, and what was printed."""
    done = run("""
        ending.flush = lambda seconds: print("flushed")
        atexit.register(print, "function")
        ending.fail_early()
    """)
    assert done.stdout.split() == ["flushed", "function", "flushed"]


def test_standard_streams_that_are_closed() -> None:
    """The status stays."""
    assert run("ending.fail_early()\nsys.stdout.close()\nsys.stderr = None").returncode == 1


class First(FirstProcess):
    """Remembers what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[str, float]] = []

    def tell_bound(self, seconds: float) -> None:
        self.told.append(("bound", round(seconds, 2)))

    def tell_end(self, seconds: float) -> None:
        self.told.append(("end", round(seconds, 2)))


class Reactor(Clock):
    """A Clock that never runs."""

    def callWhenRunning(self, function: Any, *args: Any) -> None:
        pass

    def addSystemEventTrigger(self, *args: Any) -> None:
        pass

    def stop(self) -> None:
        pass


class Watchdog:
    """Remembers how long there is."""

    def __init__(self, ending: Ending) -> None:
        self.bounds: list[float] = []
        self.ending = ending

    def bound(self, seconds: float) -> None:
        self.bounds.append(seconds)
        self.ending._on_bound(seconds)


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> tuple[Ending, Lifecycle, First, Watchdog, list[int]]:
    """An Ending of 25 seconds of grace with its lifecycle, whose threads and alarms are fakes."""
    alarms: list[int] = []
    monkeypatch.setattr("signal.alarm", lambda seconds: alarms.append(seconds) or 0)  # type: ignore[func-returns-value]
    monkeypatch.setattr("signal.signal", lambda number, handler: None)
    monkeypatch.setattr("atexit.register", lambda function: None)
    first, reactor = First(), Reactor()
    ending, lifecycle = Ending(first), Lifecycle(reactor)
    ending._watchdog = watchdog = Watchdog(ending)  # type: ignore[assignment]
    ending.grant(25.0)
    ending.follow(lifecycle, reactor)
    lifecycle.on_failure = lambda message: None
    return ending, lifecycle, first, watchdog, alarms


Parts = tuple[Ending, Lifecycle, First, Watchdog, list[int]]


def test_a_drain_has_the_time_of_requests_and_ten_seconds(parts: Parts) -> None:
    """From its beginning, whoever began it; the kernel's alarm comes a second later, and another process earlier."""
    ending, lifecycle, first, watchdog, alarms = parts
    lifecycle.enter(State.READY, "a test")
    assert first.told == [("bound", 25 + END - KILL)]
    lifecycle.recycle("a test")
    assert watchdog.bounds == [25 + END - CUT]
    assert first.told[1:] == [("end", 25 + END - KILL)]
    assert alarms == [36, 36]
    assert ending.status == 0


def test_a_failed_start_has_ten_seconds(parts: Parts) -> None:
    """And status 1."""
    ending, lifecycle, _, watchdog, alarms = parts
    lifecycle.fail("a test")
    assert (watchdog.bounds, alarms, ending.status) == ([END - CUT], [11, 11], 1)


def test_what_goes_wrong_later_has_the_time_of_a_drain(parts: Parts) -> None:
    """And status 1."""
    ending, lifecycle, _, watchdog, _ = parts
    lifecycle.enter(State.READY, "a test")
    lifecycle.give_up("a test")
    assert (watchdog.bounds, ending.status) == ([25 + END - CUT], 1)


def test_a_restart_has_times_of_its_own(parts: Parts) -> None:
    """And the status that asks for it; whoever waits for the next process shall not wait for long."""
    ending, lifecycle, first, watchdog, _ = parts
    lifecycle.enter(State.READY, "a test")
    ending.ask_for_restart(3, 2.0, 1.0)
    lifecycle.recycle("views.py has changed")
    assert (watchdog.bounds, ending.status) == ([2 + 1 - CUT], 3)
    assert first.told[1:] == [("bound", round(3 - KILL, 2)), ("end", round(3 - KILL, 2))]


def test_a_restart_during_the_start(parts: Parts) -> None:
    """It has the same status: the start has not failed."""
    ending, lifecycle, _, watchdog, _ = parts
    ending.ask_for_restart(3, 2.0, 1.0)
    lifecycle.recycle("views.py has changed")
    lifecycle.fail("cancelled")
    assert (watchdog.bounds, ending.status) == ([2 + 1 - CUT], 3)


@pytest.mark.parametrize("asks", [(), (15,)])
def test_an_alarm_that_comes_earlier(parts: Parts, monkeypatch: pytest.MonkeyPatch, asks: tuple[int, ...]) -> None:
    """It stays in a worker, for which the kernel sets one when its parent dies; elsewhere it is the application's."""
    monkeypatch.setattr(parts[0], "_asks", asks)
    alarms = [16]

    def alarm(seconds: int) -> int:
        alarms.append(seconds)
        return alarms[-2]

    def handle(number: int, handler: Any) -> None:
        if handler is signal.SIG_IGN and asks:
            # Until now the application's handler may have set its own.
            alarms.append(1)

    monkeypatch.setattr("signal.alarm", alarm)
    monkeypatch.setattr("signal.signal", handle)
    parts[1].recycle("a test")
    assert alarms[-1] == (36 if asks else 16)


def test_what_is_unfinished_is_named(parts: Parts) -> None:
    """The service, the threads that Python waits for, where the main thread stands, and what is not called any more."""
    ending = parts[0]
    ending.stopping = lambda: "webhooks"
    event = threading.Event()
    thread = threading.Thread(target=event.wait, name="exporter")
    thread.start()
    try:
        text = ending._unfinished()
    finally:
        event.set()
        thread.join()
    assert text.startswith("the service webhooks is being stopped; ")
    assert "the thread exporter is at threading.py" in text
    assert "the main thread is at " in text
    assert "logging.shutdown" in text
