"""Whose handlers there are, and what signals do whosever they are."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest
from twisted.internet.epollreactor import EPollReactor

from twistserve.signals import Signals, call_applications, is_applications, is_ours

ONE, TWO = signal.SIGUSR1, signal.SIGUSR2


class Reactor:
    """Calls at once what it is asked to from other threads."""

    def callFromThread(self, function: Any, *arguments: Any) -> None:
        function(*arguments)


class Parts:
    """Signals with two actions that note their calls; `heard_elsewhere` says whether the descriptor was lost."""

    def __init__(self, shared: bool = True) -> None:
        self.called: list[str] = []
        self.heard_elsewhere = False
        actions = {ONE: self.called.append, TWO: self.called.append}
        self.signals = Signals(actions, Reactor(), lambda: self.heard_elsewhere, shared)


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (ONE, TWO, signal.SIGCHLD)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def handler(number: int, frame: FrameType | None) -> None:
    """Stands for the application's."""


def test_whose_handlers() -> None:
    """Ours and Twisted's, the application's, and those that are nobody's."""
    for ours in (Parts().signals._handle, EPollReactor.sigInt):
        assert is_ours(ours)
        assert not is_applications(ours)
    assert is_applications(handler)
    for nobodys in (signal.default_int_handler, signal.SIG_DFL, signal.SIG_IGN, None):
        assert not is_ours(nobodys)
        assert not is_applications(nobodys)


def test_actions_are_called_in_the_reactor() -> None:
    """With the signal's name; other signals are not ours."""
    parts = Parts()
    parts.signals.heard(ONE)
    parts.signals.heard(signal.SIGWINCH)
    assert parts.called == ["SIGUSR1"]


def test_a_handler_in_python_does_nothing() -> None:
    """The signal is heard already; unless somebody else has taken the wake-up descriptor."""
    parts = Parts()
    parts.signals.take()
    signal.raise_signal(ONE)
    assert parts.called == []
    parts.heard_elsewhere = True
    signal.raise_signal(ONE)
    assert parts.called == ["SIGUSR1"]


def test_handlers_from_before_are_put_back(caplog: pytest.LogCaptureFixture) -> None:
    """Those that the reactor replaces, and those that were replaced before; told once."""
    parts = Parts()
    signal.signal(ONE, handler)
    parts.signals.note({TWO: handler, signal.SIGCHLD: signal.SIG_DFL})
    signal.signal(ONE, EPollReactor.sigInt)
    with caplog.at_level("INFO"):
        parts.signals.take()
        parts.signals.keep()
    assert signal.getsignal(ONE) is signal.getsignal(TWO) is handler
    assert caplog.text.count("is called too") == 2


def test_handlers_that_would_hold_the_reactor_up(caplog: pytest.LogCaptureFixture) -> None:
    """Where the main thread is the reactor's they are replaced, and the log says so."""
    parts = Parts(shared=False)
    signal.signal(ONE, handler)
    parts.signals.note({})
    parts.signals.take()
    assert is_ours(signal.getsignal(ONE))
    assert "the application's handler of SIGUSR1 is not called" in caplog.text


@pytest.mark.parametrize("how", [signal.SIG_IGN, signal.SIG_DFL])
@pytest.mark.parametrize("number", [ONE, signal.SIGCHLD])
def test_a_signal_that_is_switched_off(caplog: pytest.LogCaptureFixture, how: signal.Handlers, number: int) -> None:
    """It is on again after the step that did so."""
    parts = Parts()
    parts.signals.take()
    signal.signal(number, how)
    parts.signals.keep()
    assert is_ours(signal.getsignal(number))
    assert f"has switched {signal.Signals(number).name} off" in caplog.text


def test_a_signal_that_another_process_has_got() -> None:
    """The application's handler is called, and no other."""
    seen: list[int] = []
    call_applications(ONE)
    signal.signal(ONE, lambda number, frame: seen.append(number))
    call_applications(ONE)
    assert seen == [ONE]
