"""The signals that the service acts on, and the application's handlers of them.

Signals are heard through Python's wake-up descriptor, which C code writes to: a handler in Python runs in the main
thread alone, and waits there for C code to return. The handler of each is ours, and calls the application's, if there
is one: whatever that raises must end neither a step of the start-up nor what the main thread does otherwise.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Collection, Mapping
from types import FrameType
from typing import Any

from twistserve.logs import get_logger
from twistserve.net.main_thread import INTERRUPT, main_thread

logger = get_logger(__name__)

_set_handler, _set_wakeup_fd = signal.signal, signal.set_wakeup_fd
"""Python's own, in the place of which an application gets ours."""


def is_ours(handler: object) -> bool:
    """Whether the handler of a signal was installed by us or by Twisted."""
    return (getattr(handler, "__module__", None) or "").partition(".")[0] in ("twistserve", "twisted")


def is_applications(handler: object) -> bool:
    """Whether it was by the application."""
    return callable(handler) and handler is not signal.default_int_handler and not is_ours(handler)


class Signals:
    """Calls what each signal is for, `actions` by their number, in the reactor and with the signal's name.

    `hear` makes the wake-up descriptor ours, and says whether it was another's; `pass_on` does so and has what is heard
    written to a file of the application's, with -1 to none. With `shared` the main thread is the application's, and its
    handlers run there, those of signals `later` when they are called for; otherwise they would hold the reactor up, and
    are not called. All but `heard` belongs to the main thread.
    """

    def __init__(
        self,
        actions: Mapping[int, Callable[[str], None]],
        reactor: Any,
        hear: Callable[[], bool],
        pass_on: Callable[[int], None],
        shared: bool,
        later: Collection[int] = (),
    ) -> None:
        self._actions = actions
        self._reactor = reactor
        self._hear = hear
        self._pass_on = pass_on
        self._shared = shared
        self._later = later
        # With that of children which end: a reactor needs a handler to be there.
        self._numbers = (*actions, signal.SIGCHLD)
        self._applications: dict[int, Any] = {}
        self._applications_fd = -1

    def note(self, replaced: Mapping[int, Any]) -> None:
        """Remember the application's handlers: those that were `replaced`, and those that the reactor will replace."""
        present = {number: signal.getsignal(number) for number in self._numbers}
        for number, handler in (*replaced.items(), *present.items()):
            if is_applications(handler):
                self._applications[number] = handler

    def take(self) -> None:
        """Take over the signals, once the reactor has installed handlers of its own."""
        for number in self._numbers:
            _set_handler(number, self._handle)
        self._hear()
        for number in self._applications:
            self._tell(number)
        if self._shared:
            signal.signal, signal.set_wakeup_fd = self._signal, self._wakeup_fd  # type: ignore[assignment]
        else:
            self._applications.clear()

    def keep(self) -> None:
        """Go on hearing the signals, whatever the application has made of them past us."""
        self._hear()
        for number in self._numbers:
            handler = signal.getsignal(number)
            if not is_ours(handler):
                # None is one that C code has installed.
                self._signal(number, signal.SIG_DFL if handler is None else handler)

    def heard(self, number: int) -> None:
        """A signal has come; callable from any thread."""
        if number in self._actions:
            self._reactor.callFromThread(self._actions[number], _name(number))

    def call(self, number: int) -> None:
        """Call the application's handler of a signal, if there is one."""
        handler = self._applications.get(number)
        if handler is not None:
            main_thread.handle(handler, number, None)

    def give_back(self) -> None:
        """Have Python's own functions again: the reactor takes its handlers back."""
        signal.signal, signal.set_wakeup_fd = _set_handler, _set_wakeup_fd

    def let_go(self) -> None:
        """Give a forked child Python's own functions and the application's handlers."""
        self.give_back()
        for number, handler in self._applications.items():
            _set_handler(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._hear():
            self.heard(number)
        if number in self._applications and number not in self._later:
            main_thread.handle(self._applications[number], number, frame)

    # What the application calls

    def _signal(self, number: int, handler: Any) -> Any:
        """signal.signal(): our handler calls the application's, and none of our signals can be switched off."""
        number = int(number)
        if number == INTERRUPT:
            logger.warning("the application's handler of SIGURG is not called: the service has the signal")
            return signal.SIG_DFL
        if number not in self._numbers:
            return _set_handler(number, handler)
        # For what is wrong with the arguments, and where this is not the main thread.
        _set_handler(number, handler)
        _set_handler(number, self._handle)
        previous = self._applications.pop(number, self._handle)
        if is_applications(handler):
            self._applications[number] = handler
            self._tell(number)
        elif not callable(handler):
            logger.warning("the application has switched %s off: the service needs it, and leaves it on", _name(number))
        return previous

    def _wakeup_fd(self, fd: int, **options: Any) -> int:
        """signal.set_wakeup_fd(): written to by us."""
        # For what is wrong with the file, and where this is not the main thread.
        _set_wakeup_fd(fd, **options)
        self._pass_on(fd)
        previous, self._applications_fd = self._applications_fd, fd
        return previous

    def _tell(self, number: int) -> None:
        if self._shared:
            logger.info("the application has a handler of %s: it is called too", _name(number))
        else:
            logger.warning("the application's handler of %s is not called: the service has the signal", _name(number))


def outlive_log_rotation(reactor: Any) -> None:
    """Have SIGUSR1 do no harm, by which log rotation tells servers to reopen their files. Main thread.

    twistd with a log file has a handler that does so, and the application may have one of its own, perhaps in C, as
    faulthandler.register does: they stay.
    """

    def tell() -> None:
        logger.info("received SIGUSR1: it is ignored, for there is no log file to reopen")

    def handle(number: int, frame: FrameType | None) -> None:
        # In the reactor: logging within a handler of a signal may wait for a lock that this thread holds.
        reactor.callFromThread(tell)

    _replace(handle)


def outlive_early_log_rotation() -> None:
    """The same while the service is composed, without a line: settings may take long to import. Main thread."""
    if threading.current_thread() is threading.main_thread():
        _replace(_ignore)


def _ignore(number: int, frame: FrameType | None) -> None:
    """What programs that the application starts do not inherit, as they would SIG_IGN."""


def _replace(handler: Callable[[int, FrameType | None], None]) -> None:
    present = signal.getsignal(signal.SIGUSR1)
    if present is _ignore or (present in (signal.SIG_DFL, signal.SIG_IGN) and not _is_caught(signal.SIGUSR1)):
        signal.signal(signal.SIGUSR1, handler)


def _is_caught(number: int) -> bool:
    """Whether a signal has a handler, also one that Python does not know of (proc_pid_status(5))."""
    try:
        with open("/proc/self/status", "rb") as status:
            caught = next((int(line.split()[1], 16) for line in status if line.startswith(b"SigCgt:")), 0)
    except OSError:
        return False
    return bool(caught >> (number - 1) & 1)


def _name(number: int) -> str:
    return signal.Signals(number).name
