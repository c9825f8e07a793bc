"""A check: one run at a time, within its deadline, on a Clock and without threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.task import Clock

from twistserve.probes.checks import LONGEST, PASSED, Check, CheckThread, Result, Status, worst

PATIENCE = 30.0
"""Seconds that a real thread has for a function that does nothing."""


class Reactor(Clock):
    """A Clock whose other threads are this one."""

    def callFromThread(self, function: Any, *args: Any) -> None:
        function(*args)


class Bench:
    """A check, its clock, and its work, which is done when the test says so."""

    def __init__(self, function: Callable[[], Result], *, debug: bool = False) -> None:
        self.clock = Reactor()
        self.work: list[Callable[[], None]] = []
        self.check = Check("shop", function, 5.0, self.clock, lambda: debug, self.work.append)
        self.results: list[Result] = []

    def ask(self) -> None:
        self.check.run().addCallback(self.results.append)

    def asked(self) -> Result:
        """The result of a run made for this question."""
        self.clock.advance(1)
        self.ask()
        self.work.pop()()
        return self.results[-1]


def test_a_result_comes_back() -> None:
    """Who asked gets what the function found and how long it took, and no timer is left."""
    bench = Bench(lambda: PASSED)
    bench.ask()
    assert bench.results == []
    bench.clock.advance(0.25)
    bench.work.pop()()
    assert bench.results == [PASSED]
    assert bench.results[0].seconds == 0.25
    assert bench.clock.getDelayedCalls() == []


def test_concurrent_probes_share_a_run() -> None:
    """Two that ask at the same time get one run's result."""
    bench = Bench(lambda: PASSED)
    bench.ask()
    bench.ask()
    assert len(bench.work) == 1
    bench.work.pop()()
    assert bench.results == [PASSED, PASSED]


def test_a_result_is_good_for_less_than_a_second() -> None:
    """Who asks within a second gets the last result at once; after that there is a new run."""
    results = [Result(Status.FAIL, output="down"), PASSED]
    bench = Bench(lambda: results.pop(0))
    bench.ask()
    bench.work.pop()()
    bench.clock.advance(0.999)
    bench.ask()
    assert [result.status for result in bench.results] == [Status.FAIL, Status.FAIL]
    assert bench.work == []
    bench.clock.advance(0.001)
    bench.ask()
    assert len(bench.results) == 2
    bench.work.pop()()
    assert bench.results[2] == PASSED


def test_a_clock_that_is_set_back_makes_no_result_last() -> None:
    """The system's clock may jump an hour back: a result from its future is asked for anew."""
    bench = Bench(lambda: PASSED)
    bench.clock.advance(3600)
    bench.ask()
    bench.work.pop()()
    bench.clock.rightNow -= 3600
    bench.ask()
    assert len(bench.work) == 1


def test_a_hanging_check_fails_in_time_and_is_not_started_again() -> None:
    """At the deadline it fails; while it hangs it fails at once; when it has returned it is run anew."""
    bench = Bench(lambda: PASSED)
    bench.ask()
    bench.clock.advance(4.9)
    assert bench.results == []
    bench.clock.advance(0.1)
    assert [result.status for result in bench.results] == [Status.FAIL]
    assert "no answer within 5 s" in str(bench.results[0].output)
    bench.clock.advance(10)
    bench.ask()
    assert "running for 15.0 s" in str(bench.results[1].output)
    assert len(bench.work) == 1
    bench.work.pop()()
    bench.ask()
    bench.work.pop()()
    assert bench.results[2] == PASSED


def test_a_check_that_is_always_late_always_fails(caplog: pytest.LogCaptureFixture) -> None:
    """A result after the deadline is sent to nobody, however soon they ask; the log tells it once."""
    bench = Bench(lambda: PASSED)
    for _ in range(3):
        bench.ask()
        bench.clock.advance(6)
        bench.work.pop()()
        bench.clock.advance(0.5)
    assert [result.status for result in bench.results] == [Status.FAIL] * 3
    assert caplog.text.count("check shop: fail") == 1


def test_who_asks_late_waits_only_for_what_is_left_of_the_deadline() -> None:
    """The deadline belongs to the run, not to the one who asks."""
    bench = Bench(lambda: PASSED)
    bench.ask()
    bench.clock.advance(4)
    bench.ask()
    bench.clock.advance(1)
    assert [result.status for result in bench.results] == [Status.FAIL, Status.FAIL]


@pytest.mark.parametrize(("debug", "output"), [(True, "raised ValueError: key=x"), (False, "raised ValueError")])
def test_an_exception_is_a_failure_and_keeps_its_secrets(
    debug: bool, output: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The response names the type, with DEBUG the text too; the log has the traceback, once."""

    def function() -> Result:
        raise ValueError("key=x")

    bench = Bench(function, debug=debug)
    assert [bench.asked() for _ in range(3)] == [Result(Status.FAIL, output=output)] * 3
    assert caplog.text.count("Traceback") == 1
    assert "check shop: fail raised ValueError: key=x" in caplog.text


def test_an_exception_that_cannot_be_shown() -> None:
    """An exception whose text raises is a failure like any other."""

    class Shy(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    def function() -> Result:
        raise Shy

    assert Bench(function, debug=True).asked() == Result(Status.FAIL, output="raised Shy, which cannot be shown")


def test_details_are_for_developers_and_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """The reason in full is in the log, and in responses only under DEBUG."""
    found = Result(Status.FAIL, output="full", detail="/var/lib is full")
    assert Bench(lambda: found).asked() == Result(Status.FAIL, output="full")
    assert Bench(lambda: found, debug=True).asked() == Result(Status.FAIL, output="/var/lib is full")
    assert "check shop: fail /var/lib is full" in caplog.text


@pytest.mark.parametrize(("debug", "output"), [(True, "/srv/shop/a is full"), (False, "…/a is full")])
def test_directories_are_for_developers(debug: bool, output: str) -> None:
    """A message with a path in it is shown with its name alone, with DEBUG as it is."""
    assert Bench(lambda: Result(Status.WARN, output="/srv/shop/a is full"), debug=debug).asked().output == output


@pytest.mark.parametrize("debug", [False, True])
def test_credentials_are_for_nobody(debug: bool, caplog: pytest.LogCaptureFixture) -> None:
    """What a check says may have a password in it: neither response nor log shows it."""
    found = Result(Status.WARN, output="redis://shop:t0p@cache:6379 is slow", detail="host=db password=t0p is slow")
    assert "t0p" not in str(Bench(lambda: found, debug=debug).asked().output)
    assert "t0p" not in caplog.text
    assert "is slow" in caplog.text


def test_exceptions_are_logged_without_credentials(caplog: pytest.LogCaptureFixture) -> None:
    """The traceback in the log ends with what was raised, but for the password."""

    def function() -> Result:
        raise ValueError("cannot connect to postgres://shop:t0p@db/shop, password='t0p t0p'")

    Bench(function).asked()
    assert "Traceback" in caplog.text
    assert "ValueError: cannot connect to postgres://" in caplog.text
    assert "t0p" not in caplog.text


def test_what_is_cut_has_no_half_of_a_password() -> None:
    """A reason is shortened when its credentials are gone."""
    reason = "x" * (LONGEST - 20) + " https://shop:t0p-and-much-longer@host/"
    shown = Bench(lambda: Result(Status.FAIL, output=reason), debug=True).asked().output
    assert shown is not None
    assert "t0p" not in shown
    assert len(Bench(lambda: Result(Status.FAIL, output="x" * 9999)).asked().output or "") == LONGEST + 1


def test_what_steers_a_terminal_is_escaped(caplog: pytest.LogCaptureFixture) -> None:
    """A check's message goes to the terminal of whoever asks or reads the log."""
    found = Bench(lambda: Result(Status.FAIL, output="\x1b[2J\0 red\x9b31m\n\tshelves")).asked()
    assert found.output == "\\x1b[2J\\x00 red\\x9b31m\n\tshelves"
    assert "\x1b" not in caplog.text


def test_the_log_tells_changes_only(caplog: pytest.LogCaptureFixture) -> None:
    """A probe asks every few seconds: the same result again is no news."""
    results = [PASSED, Result(Status.FAIL, output="down"), Result(Status.FAIL, output="down"), PASSED]
    bench = Bench(lambda: results.pop(0))
    caplog.set_level("INFO")
    for _ in range(4):
        bench.asked()
    assert [record.getMessage() for record in caplog.records] == ["check shop: fail down", "check shop: pass"]


def test_no_thread_to_be_had() -> None:
    """Where the system gives no more threads the check fails, and is tried again with the next probe."""

    def refuse(work: Callable[[], None]) -> None:
        raise RuntimeError("can't start new thread")

    bench = Bench(lambda: PASSED)
    bench.check.thread = refuse
    bench.ask()
    assert bench.results == [Result(Status.FAIL, output="could not be started: can't start new thread")]
    bench.check.thread = bench.work.append
    bench.ask()
    bench.work.pop()()
    assert bench.results[1] == PASSED


def test_a_thread_stays() -> None:
    """One thread, a daemon of this name, runs everything it is given, whatever that raises."""
    threads: list[threading.Thread] = []
    done = threading.Event()

    def note() -> None:
        threads.append(threading.current_thread())

    def fail() -> None:
        note()
        raise SystemExit

    thread = CheckThread("check shop")
    for function in (note, fail, note, done.set):
        thread(function)
    assert done.wait(PATIENCE)
    assert len(threads) == 3
    assert len(set(threads)) == 1
    assert (threads[0].name, threads[0].daemon) == ("check shop", True)


def test_the_worst_status_counts() -> None:
    """Failing is worse than warning, which is worse than passing."""
    assert worst([]) is Status.PASS
    assert worst([Status.PASS, Status.WARN]) is Status.WARN
    assert worst([Status.FAIL, Status.WARN, Status.PASS]) is Status.FAIL
