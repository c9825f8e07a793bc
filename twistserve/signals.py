"""The signals that the service acts on, whatever else the application does about them.

They are heard through Python's wake-up descriptor, which C code writes to: a handler in Python runs in the main thread
alone, and waits there for C code to return. There must be one for each signal all the same: ours, which does nothing,
or one of the application's.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

from twistserve.logs import get_logger

logger = get_logger(__name__)


def is_ours(handler: object) -> bool:
    """Whether the handler of a signal was installed by us or by Twisted."""
    return (getattr(handler, "__module__", None) or "").partition(".")[0] in ("twistserve", "twisted")


def is_applications(handler: object) -> bool:
    """Whether it was by the application."""
    return callable(handler) and handler is not signal.default_int_handler and not is_ours(handler)


def call_applications(number: int) -> None:
    """Call the application's handler of a signal that another process has got, if there is one. Main thread."""
    handler = signal.getsignal(number)
    if callable(handler) and is_applications(handler):
        handler(number, None)


class Signals:
    """Calls what each signal is for, `actions` by their number, in the reactor and with the signal's name.

    `hear` makes the wake-up descriptor ours, and says whether it was another's. With `shared` the main thread is the
    application's: its handlers run there, and may take their time. Otherwise they would run in the reactor's thread,
    and ours take their places. All but `heard` belongs to the main thread.
    """

    def __init__(
        self, actions: Mapping[int, Callable[[str], None]], reactor: Any, hear: Callable[[], bool], shared: bool
    ) -> None:
        self._actions = actions
        self._reactor = reactor
        self._hear = hear
        self._shared = shared
        self._told: set[int] = set()
        self._noted: dict[int, Any] = {}

    def note(self, replaced: Mapping[int, Any]) -> None:
        """Remember the application's handlers: those that were `replaced`, and those that the reactor will replace."""
        present = {number: signal.getsignal(number) for number in self._numbers}
        self._noted = {n: handler for n, handler in (*replaced.items(), *present.items()) if is_applications(handler)}

    def take(self) -> None:
        """Take over the signals, once the reactor has installed handlers of its own."""
        for number in self._actions:
            signal.signal(number, self._handle)
        for number, handler in self._noted.items():
            if self._shared:
                signal.signal(number, handler)
            else:
                logger.warning(
                    "the application's handler of %s is not called: the service has the signal", _name(number)
                )
        self.keep()

    def keep(self) -> None:
        """Go on hearing the signals, whatever the application has made of them since."""
        self._hear()
        for number in self._numbers:
            handler = signal.getsignal(number)
            if not callable(handler):
                signal.signal(number, self._handle)
                logger.warning(
                    "the application has switched %s off: the service needs it, and has it again", _name(number)
                )
            elif is_applications(handler) and number not in self._told:
                self._told.add(number)
                logger.info("the application has a handler of %s: it is called too", _name(number))

    @property
    def _numbers(self) -> tuple[int, ...]:
        """With that of children which end, whose handler a reactor needs to be there."""
        return (*self._actions, signal.SIGCHLD)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._hear():
            self.heard(number)

    def heard(self, number: int) -> None:
        """A signal has come; callable from any thread."""
        if number in self._actions:
            self._reactor.callFromThread(self._actions[number], _name(number))


def _name(number: int) -> str:
    return signal.Signals(number).name
