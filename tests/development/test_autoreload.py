"""The parent's service: what is started when, what is served while nothing is, and how all of it ends."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.composition import Reactor
from twistserve.development.autoreload import (
    INTERRUPTED,
    KILLED_AFTER,
    MOST_EARLY,
    PAUSE,
    AutoreloadService,
)
from twistserve.development.inheritance import CHANGED
from twistserve.lifecycle import Lifecycle, State

GRACE = 35.0


class Process:
    """A process that was started: the test tells in its place, and ends it."""

    def __init__(self, started: float, unreliable: list[str], told: Any, ended: Callable[[int], None]) -> None:
        self.started, self.unreliable = started, unreliable
        self.tell, self.end = lambda **news: told(news), ended
        self.signals: list[int] = []

    def signal(self, number: int) -> None:
        self.signals.append(number)


class Watcher:
    """What watches: the test says what has changed."""

    def __init__(self, files: list[str], since: float, unreliable: list[str], changed: Callable[[str], None]) -> None:
        self.files, self.since, self.unreliable, self.changed = files, since, unreliable, changed
        self.stopped = False

    def stop(self) -> None:
        self.stopped = True


class ErrorSite:
    """What responds while nothing else does: `shown` is what, None while it is closed."""

    shown: tuple[str, str] | None = None

    def open(self, message: str, traceback: str) -> None:
        assert self.shown is None, "it is open already"
        self.shown = message, traceback

    def close(self) -> None:
        self.shown = None


class Bench:
    """The service with fakes for all that it has to do with."""

    def __init__(self) -> None:
        self.reactor = Reactor()
        self.lifecycle = Lifecycle(self.reactor)
        self.lifecycle.enter(State.READY, "a test")
        self.processes: list[Process] = []
        self.watchers: list[Watcher] = []
        self.error_site = ErrorSite()
        self.error: OSError | None = None
        self.service = AutoreloadService(
            self.start_process, self.watch, self.error_site, GRACE, self.lifecycle, self.reactor
        )
        self.service.startService()
        self.stopped: list[object] = []

    def start_process(self, *arguments: Any) -> Process:
        if self.error is not None:
            raise self.error
        self.processes.append(Process(*arguments))
        return self.processes[-1]

    def watch(self, *arguments: Any) -> Watcher:
        self.watchers.append(Watcher(*arguments))
        return self.watchers[-1]

    @property
    def process(self) -> Process:
        return self.processes[-1]

    def run(self, seconds: float = 0.0) -> None:
        """Let the reactor run for so long, with what other threads have asked of it."""
        calls, self.reactor.from_threads = self.reactor.from_threads, []
        for call in calls:
            call()
        self.reactor.advance(seconds)

    def reload(self, path: str = "/srv/views.py", early: bool = False) -> None:
        self.process.tell(changed=path, early=early)
        self.process.end(CHANGED)
        self.run()

    def fail(self, **news: Any) -> None:
        self.process.tell(**{"failed": "no", "traceback": "Traceback", "files": ["/srv/views.py"], **news})
        self.process.end(1)

    def change(self, path: str) -> None:
        self.watchers[-1].changed(path)
        self.run()

    def stop(self) -> None:
        self.service.stopService().addCallback(self.stopped.append)


@pytest.fixture
def bench() -> Bench:
    bench = Bench()
    bench.run()
    return bench


# Processes


def test_a_process_is_started_when_the_reactor_runs() -> None:
    """And no second one."""
    bench = Bench()
    assert bench.processes == []
    bench.run()
    bench.run(60)
    [process] = bench.processes
    assert process.unreliable == []
    assert bench.error_site.shown is None


def test_a_change_starts_another(bench: Bench) -> None:
    """At once when the first has ended, not before."""
    bench.process.tell(changed="/srv/views.py", early=False)
    bench.run(5)
    assert len(bench.processes) == 1
    bench.process.end(CHANGED)
    bench.run()
    assert len(bench.processes) == 2
    assert bench.error_site.shown is None


def test_a_process_that_asks_for_another_without_a_change(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """A project may exit with that status: another is started, not as fast as it can, and a line says so."""
    bench.process.end(CHANGED)
    assert caplog.messages == ["the process that serves has ended with status 3 by itself: starting again"]
    bench.run(PAUSE - 0.1)
    assert len(bench.processes) == 1
    bench.run(0.1)
    assert len(bench.processes) == 2


def test_a_process_that_ends_by_itself(bench: Bench) -> None:
    """As --max-lifetime has it: all ends then."""
    bench.process.end(0)
    assert bench.lifecycle.state is State.DRAINING
    assert bench.reactor.stops == 1
    assert bench.error_site.shown is None


# Errors


def test_an_error_is_served_until_something_changes(bench: Bench) -> None:
    """What has been read is watched for that, from when the process was started on."""
    bench.fail()
    assert bench.error_site.shown == ("no", "Traceback")
    [watcher] = bench.watchers
    assert (watcher.files, watcher.since, watcher.unreliable) == (["/srv/views.py"], bench.process.started, [])
    bench.run(60)
    assert len(bench.processes) == 1
    bench.change("/srv/views.py")
    assert bench.error_site.shown is None
    assert len(bench.processes) == 2


def test_a_change_is_heard_by_the_reactor(bench: Bench) -> None:
    """The watcher tells it in a thread of its own."""
    bench.fail()
    bench.watchers[-1].changed("/srv/views.py")
    assert (len(bench.processes), bench.error_site.shown) == (1, ("no", "Traceback"))


@pytest.mark.parametrize(
    ("status", "how"), [(1, "status 1"), (-signal.SIGKILL, "killed by SIGKILL"), (-40, "killed by signal 40")]
)
def test_a_process_that_ends_without_a_word(
    bench: Bench, caplog: pytest.LogCaptureFixture, status: int, how: str
) -> None:
    """How it has ended is told, in the log too; what it had read is watched."""
    bench.process.tell(files=["/srv/settings.py"])
    bench.process.end(status)
    message = f"the process that serves has ended: {how}"
    assert bench.error_site.shown == (message, "")
    assert message in caplog.messages
    assert bench.watchers[-1].files == ["/srv/settings.py"]


def test_what_the_process_before_had_read(bench: Bench) -> None:
    """It is watched if the next ends before it can tell."""
    bench.process.tell(files=["/srv/settings.py"])
    bench.reload()
    bench.process.end(-signal.SIGSEGV)
    assert bench.watchers[-1].files == ["/srv/settings.py"]


def test_an_error_is_not_logged_twice(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """The process has done so; that a change is waited for is new."""
    bench.fail()
    assert caplog.messages == ["waiting for a change"]


def test_a_process_that_cannot_be_started(bench: Bench) -> None:
    """That is an error as any: the next change tries again."""
    bench.error = OSError(12, "Cannot allocate memory")
    bench.reload()
    assert bench.error_site.shown == ("no process could be started: Cannot allocate memory", "")
    bench.error = None
    bench.change("/srv/views.py")
    assert len(bench.processes) == 2


def test_an_error_after_another(bench: Bench) -> None:
    """Each is shown in its time, and the news of one are not the other's."""
    bench.fail()
    bench.change("/srv/views.py")
    bench.process.end(1)
    assert bench.error_site.shown == ("the process that serves has ended: status 1", "")
    assert len(bench.watchers) == 2


# Files that the start itself writes


def test_a_file_that_changes_during_each_start(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """It does not start another any more after a while, and a line says why, once."""
    for _ in range(MOST_EARLY - 1):
        bench.reload("/srv/made.py", early=True)
    assert bench.process.unreliable == []
    bench.reload("/srv/made.py", early=True)
    assert bench.process.unreliable == ["/srv/made.py"]
    assert f"/srv/made.py has changed during {MOST_EARLY} starts in a row" in caplog.text
    bench.fail()
    assert bench.watchers[-1].unreliable == ["/srv/made.py"]


def test_a_change_by_the_developer(bench: Bench) -> None:
    """All files are reliable again with it."""
    for _ in range(MOST_EARLY):
        bench.reload("/srv/made.py", early=True)
    bench.reload("/srv/views.py")
    assert bench.process.unreliable == []


@pytest.mark.parametrize("fails", [True, False])
def test_a_file_that_each_start_writes_before_it_fails(bench: Bench, tmp_path: Path, fails: bool) -> None:
    """It is older than the failure, so that it counts as one of those; what is saved later does not."""
    path = tmp_path / "made.py"
    path.write_text("")
    at = 0 if fails else 1e10
    os.utime(path, (at, at))
    for _ in range(MOST_EARLY):
        bench.fail()
        bench.change(str(path))
    assert bench.process.unreliable == ([str(path)] if fails else [])


def test_a_file_that_was_removed_when_it_is_looked_at(bench: Bench) -> None:
    """It has changed all the same."""
    bench.fail()
    bench.change("/nowhere/views.py")
    assert len(bench.processes) == 2


# The end


def test_the_process_ends_first(bench: Bench) -> None:
    """In its own time, and is not killed."""
    bench.stop()
    assert bench.process.signals == [signal.SIGTERM]
    bench.run(GRACE - 1)
    assert bench.stopped == []
    bench.process.end(0)
    assert len(bench.stopped) == 1
    assert (bench.process.signals, bench.lifecycle.state) == ([signal.SIGTERM], State.READY)
    assert bench.reactor.getDelayedCalls() == []


def test_a_process_that_does_not_end(bench: Bench) -> None:
    """It is killed when its time is up, and waited for, but not for ever."""
    bench.stop()
    bench.run(GRACE)
    assert bench.process.signals == [signal.SIGTERM]
    bench.run(KILLED_AFTER)
    assert bench.process.signals == [signal.SIGTERM, signal.SIGKILL]
    assert bench.stopped == []
    bench.run(KILLED_AFTER)
    assert len(bench.stopped) == 1


def test_a_second_signal(bench: Bench) -> None:
    """There is no more time then, but for the process to hear it."""
    bench.lifecycle.shut_down("SIGTERM")
    bench.stop()
    bench.lifecycle.shut_down("SIGTERM")
    assert signal.SIGKILL not in bench.process.signals
    bench.run(KILLED_AFTER)
    assert bench.process.signals[-1] == signal.SIGKILL
    bench.process.end(-signal.SIGKILL)
    assert len(bench.stopped) == 1
    assert bench.error_site.shown is None


def test_ctrl_c(bench: Bench) -> None:
    """The process gets it too, and has little time."""
    bench.service.interrupt()
    bench.stop()
    assert bench.process.signals == [signal.SIGINT]
    bench.run(INTERRUPTED)
    bench.run(KILLED_AFTER)
    assert bench.process.signals == [signal.SIGINT, signal.SIGKILL]


@pytest.mark.parametrize("status", [CHANGED, 0, 1, -9])
def test_nothing_is_started_in_the_end(bench: Bench, status: int) -> None:
    """However the process ends: one that was about to be replaced is not."""
    bench.stop()
    bench.process.tell(changed="/srv/views.py", early=False)
    bench.process.end(status)
    bench.run(60)
    assert (len(bench.processes), bench.error_site.shown, bench.watchers) == (1, None, [])


@pytest.mark.parametrize("changed", [True, False])
def test_an_end_between_two_processes(bench: Bench, changed: bool) -> None:
    """There is nothing to wait for, and no process comes after it."""
    if changed:
        bench.process.tell(changed="/srv/views.py", early=False)
    bench.process.end(CHANGED)
    bench.stop()
    assert len(bench.stopped) == 1
    bench.run(60)
    assert len(bench.processes) == 1


def test_an_end_while_the_project_does_not_start(bench: Bench) -> None:
    """The site is closed, nothing is watched, and a change that comes too late starts nothing."""
    bench.fail()
    bench.stop()
    assert len(bench.stopped) == 1
    assert (bench.error_site.shown, bench.watchers[-1].stopped) == (None, True)
    bench.change("/srv/views.py")
    assert len(bench.processes) == 1


def test_an_end_before_the_reactor_runs() -> None:
    """No process is started at all."""
    bench = Bench()
    bench.stop()
    bench.run(1)
    assert (bench.processes, len(bench.stopped)) == ([], 1)


def test_signals_are_passed_on(bench: Bench) -> None:
    """To the process, if there is one."""
    bench.service.signal(signal.SIGQUIT)
    bench.service.kill()
    assert bench.process.signals == [signal.SIGQUIT, signal.SIGKILL]
    bench.fail()
    bench.service.signal(signal.SIGQUIT)
    assert len(bench.process.signals) == 2
