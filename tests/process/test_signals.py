"""Whose handlers there are, and what signals do whosever they are."""

from __future__ import annotations

import faulthandler
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest
from twisted.internet.epollreactor import EPollReactor

from twistserve.net.main_thread import INTERRUPT
from twistserve.process.signals import Signals, is_applications, is_ours, outlive_log_rotation

ONE, TWO = signal.SIGUSR1, signal.SIGUSR2


class Reactor:
    """Calls at once what it is asked to from other threads."""

    def callFromThread(self, function: Any, *arguments: Any) -> None:
        function(*arguments)


class Parts:
    """Signals with two actions that note their calls; `lost` says whether the wake-up descriptor is another's."""

    def __init__(self, shared: bool = True, later: tuple[int, ...] = ()) -> None:
        self.called: list[str] = []
        self.passed_on: list[int] = []
        self.lost = False
        actions: dict[int, Callable[[str], None]] = {ONE: self.called.append, TWO: self.called.append}
        self.signals = Signals(actions, Reactor(), lambda: self.lost, self.passed_on.append, shared, later)

    def take(self) -> Parts:
        self.signals.take()
        return self


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    functions = signal.signal, signal.set_wakeup_fd
    handlers = {number: signal.getsignal(number) for number in (ONE, TWO, signal.SIGCHLD, INTERRUPT)}
    yield
    signal.signal, signal.set_wakeup_fd = functions
    for number, handler in handlers.items():
        signal.signal(number, handler)
    signal.set_wakeup_fd(-1)


def handler(number: int, frame: FrameType | None) -> None:
    """Stands for the application's."""


def test_log_rotation_does_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    """A line tells of the signal that would end the process; a handler that is there has it to itself."""
    for before in (signal.SIG_DFL, signal.SIG_IGN):
        signal.signal(signal.SIGUSR1, before)
        outlive_log_rotation(Reactor())
        with caplog.at_level("INFO"):
            signal.raise_signal(signal.SIGUSR1)
    assert caplog.text.count("received SIGUSR1: it is ignored") == 2
    signal.signal(signal.SIGUSR1, handler)
    outlive_log_rotation(Reactor())
    assert signal.getsignal(signal.SIGUSR1) is handler


def test_log_rotation_where_a_handler_is_not_pythons() -> None:
    """It stays: faulthandler.register sets one that signal.getsignal does not know of."""
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    with tempfile.TemporaryFile() as file:
        faulthandler.register(signal.SIGUSR1, file)
        try:
            outlive_log_rotation(Reactor())
            signal.raise_signal(signal.SIGUSR1)
        finally:
            faulthandler.unregister(signal.SIGUSR1)
        file.seek(0)
        assert b"most recent call first" in file.read()


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
    parts = Parts().take()
    signal.raise_signal(ONE)
    assert parts.called == []
    parts.lost = True
    signal.raise_signal(ONE)
    assert parts.called == ["SIGUSR1"]


def test_handlers_from_before(caplog: pytest.LogCaptureFixture) -> None:
    """Those that the reactor replaces, and those that were replaced before; told once, and called."""
    parts, seen = Parts(), []
    signal.signal(ONE, lambda number, frame: seen.append(number))
    parts.signals.note({TWO: lambda number, frame: seen.append(number), signal.SIGCHLD: signal.SIG_DFL})
    signal.signal(ONE, EPollReactor.sigInt)  # type: ignore[arg-type]
    with caplog.at_level("INFO"):
        parts.take().signals.keep()
    for number in (ONE, TWO):
        signal.raise_signal(number)
    assert seen == [ONE, TWO]
    assert caplog.text.count("is called too") == 2


def test_handlers_that_come_later(caplog: pytest.LogCaptureFixture) -> None:
    """Of ours they are called by us, and what they raise is a line of the log; each stays until the next is set."""
    parts, seen = Parts().take(), []

    def raising(number: int, frame: FrameType | None) -> None:
        seen.append(number)
        raise SystemExit(3)

    before = signal.signal(ONE, raising)
    signal.raise_signal(ONE)
    assert seen == [ONE]
    assert "handler of SIGUSR1 has raised SystemExit" in caplog.text
    assert signal.signal(ONE, before) is raising
    signal.raise_signal(ONE)
    assert seen == [ONE]
    assert is_ours(signal.getsignal(ONE))
    assert parts.called == []


def test_handlers_that_come_past_us() -> None:
    """By a function that was imported before: they are taken over after the step."""
    function, parts, seen = signal.signal, Parts().take(), []
    function(ONE, lambda number, frame: seen.append(number))
    parts.signals.keep()
    signal.raise_signal(ONE)
    assert seen == [ONE]
    assert is_ours(signal.getsignal(ONE))


def test_signals_that_are_not_ours() -> None:
    """They are left alone, but for the one that interrupts."""
    Parts().take()
    before = signal.signal(signal.SIGWINCH, handler)
    assert signal.signal(signal.SIGWINCH, before) is handler
    signal.signal(INTERRUPT, handler)
    assert signal.getsignal(INTERRUPT) is not handler


def test_mistakes_are_raised_as_ever() -> None:
    """Python's own function says what is wrong, and nothing is changed by it."""
    Parts().take()
    with pytest.raises(TypeError):
        signal.signal(ONE, "handler")  # type: ignore[arg-type]
    with pytest.raises(OSError, match="Bad file descriptor"):
        signal.set_wakeup_fd(10_000)


def test_a_wake_up_descriptor() -> None:
    """The application's is written to by us, until there is none any more."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    parts = Parts().take()
    assert signal.set_wakeup_fd(writing) == -1
    assert signal.set_wakeup_fd(-1) == writing
    assert parts.passed_on == [writing, -1]
    os.close(reading)
    os.close(writing)


def test_handlers_that_would_hold_the_reactor_up(caplog: pytest.LogCaptureFixture) -> None:
    """Where the main thread is the reactor's they are not called, and the log says so."""
    parts, seen = Parts(shared=False), []
    signal.signal(ONE, lambda number, frame: seen.append(number))
    parts.signals.note({})
    parts.take()
    signal.raise_signal(ONE)
    assert seen == []
    assert "the application's handler of SIGUSR1 is not called" in caplog.text


@pytest.mark.parametrize("how", [signal.SIG_IGN, signal.SIG_DFL])
@pytest.mark.parametrize("number", [ONE, signal.SIGCHLD])
def test_a_signal_that_is_switched_off(caplog: pytest.LogCaptureFixture, how: signal.Handlers, number: int) -> None:
    """It stays on."""
    Parts().take()
    signal.signal(number, how)
    assert is_ours(signal.getsignal(number))
    assert f"has switched {signal.Signals(number).name} off" in caplog.text


def test_handlers_that_are_called_later() -> None:
    """Of a worker, which serves on when it has got the signal; once, when it drains."""
    parts, seen = Parts(later=(ONE,)).take(), []
    signal.signal(ONE, lambda number, frame: seen.append(number))
    signal.raise_signal(ONE)
    assert seen == []
    parts.signals.call(ONE)
    parts.signals.call(TWO)
    assert seen == [ONE]


def test_a_forked_child() -> None:
    """It has Python's own functions, and the application's handlers."""
    function, parts = signal.signal, Parts().take()
    signal.signal(ONE, handler)
    parts.signals.let_go()
    assert signal.signal is function
    assert signal.getsignal(ONE) is handler
