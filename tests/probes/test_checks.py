"""A check: one run at a time, within its deadline, on a Clock and without threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.task import Clock

from twistserve.probes.checks import PASSED, Check, Result, Status, worst


class Reactor(Clock):
    """A Clock whose other threads are this one."""

    def callFromThread(self, function: Any, *args: Any) -> None:
        function(*args)


class Bench:
    """A check, its clock, and its work, which is done when the test says so."""

    def __init__(self, function: Callable[[], Result], *, debug: bool = False) -> None:
        self.clock = Reactor()
        self.work: list[Callable[[], None]] = []
        spawn = lambda name, work: self.work.append(work)  # noqa: E731
        self.check = Check("shop", function, 5.0, self.clock, lambda: debug, spawn)
        self.results: list[Result] = []

    def ask(self) -> None:
        self.check.run().addCallback(self.results.append)


def test_a_result_comes_back() -> None:
    """Who asked gets what the function found, and no timer is left."""
    bench = Bench(lambda: PASSED)
    bench.ask()
    assert bench.results == []
    bench.work.pop()()
    assert bench.results == [PASSED]
    assert bench.clock.getDelayedCalls() == []


def test_concurrent_probes_share_a_run() -> None:
    """Two that ask at the same time get one run's result; one that asks later starts a new run."""
    bench = Bench(lambda: PASSED)
    bench.ask()
    bench.ask()
    assert len(bench.work) == 1
    bench.work.pop()()
    assert bench.results == [PASSED, PASSED]
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


def test_who_asks_late_waits_only_for_what_is_left_of_the_deadline() -> None:
    """The deadline belongs to the run, not to the one who asks."""
    bench = Bench(lambda: PASSED)
    bench.ask()
    bench.clock.advance(4)
    bench.ask()
    bench.clock.advance(1)
    assert [result.status for result in bench.results] == [Status.FAIL, Status.FAIL]


@pytest.mark.parametrize(("debug", "output"), [(True, "raised ValueError: password=x"), (False, "raised ValueError")])
def test_an_exception_is_a_failure_and_keeps_its_secrets(
    debug: bool, output: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The answer names the type, with DEBUG the text too; the log has the traceback, once."""

    def function() -> Result:
        raise ValueError("password=x")

    bench = Bench(function, debug=debug)
    for _ in range(3):
        bench.ask()
        bench.work.pop()()
    assert bench.results[0] == Result(Status.FAIL, output=output)
    assert caplog.text.count("Traceback") == 1


def test_the_log_tells_changes_only(caplog: pytest.LogCaptureFixture) -> None:
    """A probe asks every few seconds: the same answer again is no news."""
    answers = [PASSED, Result(Status.FAIL, output="down"), Result(Status.FAIL, output="down"), PASSED]
    bench = Bench(lambda: answers.pop(0))
    caplog.set_level("INFO")
    for _ in range(4):
        bench.ask()
        bench.work.pop()()
    assert [record.getMessage() for record in caplog.records] == ["check shop: fail down", "check shop: pass "]


def test_the_worst_status_counts() -> None:
    """Failing is worse than warning, which is worse than passing."""
    assert worst([]) is Status.PASS
    assert worst([Status.PASS, Status.WARN]) is Status.WARN
    assert worst([Status.FAIL, Status.WARN, Status.PASS]) is Status.FAIL
