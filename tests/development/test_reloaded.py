"""The process that serves: what it does when a file has changed, what it tells, and when the parent is gone."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.composition import Reactor
from twistserve.development import reloaded as module
from twistserve.development.inheritance import CHANGED
from twistserve.development.reloaded import GRACE, ORPHANED, REST, ReloadedService, be_silent, follow_start
from twistserve.http.port import Drain
from twistserve.lifecycle import Lifecycle, State


class Watcher:
    """What watches: notes whether it does."""

    def __init__(self) -> None:
        self.did: list[str] = []

    def start(self) -> None:
        self.did.append("start")

    def stop(self) -> None:
        self.did.append("stop")


class Bench:
    """The service with fakes for all that it has to do with; `did` has what it did, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reactor = Reactor()
        self.lifecycle = Lifecycle(self.reactor)
        self.lifecycle.observe(self.entered)
        self.did: list[Any] = []
        self.watcher = Watcher()
        self.web = SimpleNamespace(times=Drain(delay=5.0, timeout=25.0))
        self.threads: list[Any] = []
        watcher: Any = self.watcher
        web: Any = self.web
        ending: Any = SimpleNamespace(ask_for_restart=lambda *times: self.did.append(("ask", *times)))
        monkeypatch.setattr(module, "tell", lambda **news: self.did.append(news))
        monkeypatch.setattr(module, "files_of_modules", lambda: {"/srv/views.py", "/srv/a.py"})
        monkeypatch.setattr(module, "ServerThread", self.make_thread)
        self.service = ReloadedService(watcher, web, self.lifecycle, ending, self.reactor)

    def make_thread(self, **options: Any) -> Any:
        self.threads.append(options)
        return SimpleNamespace(start=lambda: None)

    def entered(self, state: State, reason: str) -> None:
        if state is State.DRAINING:
            self.did.append(reason)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    bench = Bench(monkeypatch)
    bench.service.startService()
    return bench


def test_it_watches_while_it_runs(bench: Bench) -> None:
    """Its files, and in a thread that holds nothing up, its parent."""
    assert bench.watcher.did == ["start"]
    [thread] = bench.threads
    assert (thread["name"], thread["daemon"]) == ("lifeline", True)
    bench.service.stopService()
    assert bench.watcher.did == ["start", "stop"]


def test_the_parent_is_told_what_was_read(bench: Bench) -> None:
    """When all of it has been: this process may end without a word."""
    assert bench.did == []
    bench.lifecycle.enter(State.READY, "a test")
    assert bench.did == [{"files": ["/srv/a.py", "/srv/views.py"]}]


@pytest.mark.parametrize("early", [True, False])
def test_a_change(bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, early: bool) -> None:
    """The parent is told before the end begins, for which there is less time than else: the ports close at once."""
    monkeypatch.chdir(tmp_path)
    path = str(tmp_path / "shop" / "views.py")
    bench.service.changed(path, early)
    assert bench.did == [{"changed": path, "early": early}, ("ask", CHANGED, GRACE, REST), "shop/views.py has changed"]
    assert bench.web.times == Drain(delay=0.0, timeout=GRACE)
    assert bench.reactor.stops == 1


def test_whatever_is_waited_for_in_a_reload(bench: Bench) -> None:
    """It is given up when the requests are."""
    bench.service.changed("/srv/views.py", False)
    waiting = bench.lifecycle.hurry()
    bench.reactor.advance(GRACE - 0.1)
    assert not waiting.called
    bench.reactor.advance(0.1)
    assert waiting.called


@pytest.mark.parametrize("state", [State.DRAINING, State.STOPPED])
def test_a_change_in_the_end(bench: Bench, state: State) -> None:
    """The process was told to end for good, and does."""
    bench.lifecycle.enter(state, "received SIGTERM")
    bench.did.clear()
    bench.service.changed("/srv/views.py", False)
    assert bench.did == []
    assert bench.web.times == Drain(delay=5.0, timeout=25.0)


# A start that fails


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> tuple[Lifecycle, list[Any]]:
    """A lifecycle that is followed, and what is told when its start fails."""
    told: list[Any] = []
    lifecycle = Lifecycle(Reactor())
    lifecycle.on_failure = told.append
    monkeypatch.setattr(module, "tell_failure", lambda *failure: told.append(failure))
    follow_start(lifecycle)
    return lifecycle, told


def test_the_parent_is_told_of_a_failure(failing: Any) -> None:
    """With what was raised, and then it is told as ever."""
    lifecycle, told = failing
    error = LookupError("a model")
    lifecycle.fail("setting Django up: LookupError: a model", error)
    assert told == [("setting Django up: LookupError: a model", error), "setting Django up: LookupError: a model"]


def test_the_parent_is_told_of_what_has_caused_it(failing: Any) -> None:
    """Our own error has no traceback that would help anybody."""
    lifecycle, told = failing
    cause, error = LookupError("a model"), RuntimeError("ours")
    error.__cause__ = cause
    lifecycle.fail("no", error)
    assert told[0] == ("no", cause)


def test_a_failure_without_an_exception(failing: Any) -> None:
    """A port that cannot be opened, say."""
    lifecycle, told = failing
    lifecycle.fail("no")
    assert told == [("no", None), "no"]


def test_a_failure_that_cannot_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process ends all the same."""

    def raises(*arguments: object) -> None:
        raise FileNotFoundError("the current directory")

    told: list[str] = []
    reactor = Reactor()
    lifecycle = Lifecycle(reactor)
    lifecycle.on_failure = told.append
    monkeypatch.setattr(module, "tell_failure", raises)
    follow_start(lifecycle)
    lifecycle.fail("no")
    reactor.advance(0)
    assert (told, lifecycle.state, reactor.stops) == (["no"], State.DRAINING, 1)


# The end


@pytest.fixture
def levels() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("twistserve", "twisted")]
    before = [each.level for each in loggers]
    yield
    for each, level in zip(loggers, before, strict=True):
        each.setLevel(level)


@pytest.mark.usefixtures("levels")
def test_silence() -> None:
    """Of what is ours; the project's own loggers are its own."""
    be_silent()
    assert not logging.getLogger("twistserve.http.site").isEnabledFor(logging.ERROR)
    assert not logging.getLogger("twisted").isEnabledFor(logging.ERROR)
    assert logging.getLogger("shop").isEnabledFor(logging.ERROR)


def test_the_end_of_the_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the process is at, it ends: by Ctrl-C's way if it can, or else soon."""
    reading, writing = os.pipe()
    os.write(writing, b"ignored")
    os.close(writing)
    did: list[Any] = []
    monkeypatch.setattr(module, "LIFELINE", reading)
    monkeypatch.setattr(module, "time", SimpleNamespace(sleep=did.append))
    monkeypatch.setattr(os, "kill", lambda *arguments: did.append(arguments))
    monkeypatch.setattr(os, "_exit", lambda status: did.append(("exit", status)))
    module._end_with_parent()
    os.close(reading)
    assert did == [(os.getpid(), signal.SIGINT), ORPHANED, ("exit", 1)]
