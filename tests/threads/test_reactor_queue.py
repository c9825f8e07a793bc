"""The way from request threads back to the reactor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from twistserve.threads.reactor_queue import ReactorQueue


class Reactor:
    """Keeps what it is asked to call."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []

    def callFromThread(self, function: Callable[[], None]) -> None:
        self.calls.append(function)

    def turn(self) -> None:
        calls, self.calls = self.calls, []
        for call in calls:
            call()


@pytest.fixture
def reactor() -> Reactor:
    return Reactor()


def test_the_reactor_is_woken_once_for_many(reactor: Reactor) -> None:
    """They are called in the order in which they were put, and the next one wakes it anew."""
    queue = ReactorQueue(reactor.callFromThread)
    called: list[Any] = []
    for number in range(3):
        queue.put(lambda *arguments: called.append(arguments), number, "x")
    assert (len(reactor.calls), called) == (1, [])
    reactor.turn()
    assert called == [(0, "x"), (1, "x"), (2, "x")]
    queue.put(called.append, "next")
    reactor.turn()
    assert called[3:] == ["next"]


def test_what_is_put_meanwhile_is_called_too(reactor: Reactor) -> None:
    """Nothing is left until somebody else puts something."""
    queue = ReactorQueue(reactor.callFromThread)
    called: list[Any] = []
    queue.put(lambda: queue.put(called.append, "late"))
    reactor.turn()
    reactor.turn()
    assert called == ["late"]


def test_an_error_does_not_keep_the_others_from_being_called(
    reactor: Reactor, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, for it is a response that somebody waits for."""

    def fail() -> None:
        raise KeyError("a mistake")

    queue = ReactorQueue(reactor.callFromThread)
    called: list[Any] = []
    queue.put(fail)
    queue.put(called.append, "other")
    reactor.turn()
    assert called == ["other"]
    assert "KeyError: 'a mistake'" in caplog.text


def test_a_reactor_that_naps_is_not_woken(reactor: Reactor) -> None:
    """Unless somebody waits for it; it finds what was put in either case."""
    queue = ReactorQueue(reactor.callFromThread)
    called: list[Any] = []
    queue.wake_reactor()
    assert reactor.calls == []
    queue.before_waiting()
    queue.napping = True
    queue.put(called.append, "put")
    assert reactor.calls == []
    queue.wake_reactor()
    queue.wake_reactor()
    assert len(reactor.calls) == 1
    queue.after_waiting()
    queue.before_waiting()
    assert called == ["put"]


def test_a_reactor_at_work_is_not_woken(reactor: Reactor) -> None:
    """It looks before it waits; from then on it has to be woken."""
    queue = ReactorQueue(reactor.callFromThread)
    called: list[Any] = []
    queue.after_waiting()
    queue.put(called.append, "at work")
    queue.wake_reactor()
    assert reactor.calls == []
    queue.before_waiting()
    assert called == ["at work"]
    queue.put(called.append, "waiting")
    assert len(reactor.calls) == 1
