"""A thread that ends the process when its time is up, wherever the other threads stand.

It hears signals by itself, through the wake-up descriptor (signal.set_wakeup_fd): Python runs the handlers of signals
in the main thread alone, which may be in C code that never looks for them, or past the end of the reactor.
"""

from __future__ import annotations

import _thread
import math
import os
import select
import time
from collections import deque
from collections.abc import Callable, Container
from contextlib import suppress
from signal import set_wakeup_fd

from twistserve.process.first_process import Deadline
from twistserve.server_thread import ServerThread

HURRY = 0.5
"""Seconds from a second signal to the cut, which together with what the cut itself may take is less than one."""
_LOOK_AGAIN = b"\0"
"""No signal has this number."""


class Watchdog:
    """Calls `cut`, which does not return, `seconds` after the first of the signals `asks`, or earlier when told.

    `on_bound` is called with the seconds left whenever they become fewer, from the thread that found out; `on_signal`
    with each signal, from its own.
    """

    def __init__(
        self,
        seconds: float,
        asks: Container[int],
        cut: Callable[[], None],
        on_bound: Callable[[float], None],
        on_signal: Callable[[int], None] = lambda number: None,
    ) -> None:
        self._on_signal = on_signal
        self._deadline = Deadline(seconds, HURRY)
        self._asks = asks
        self._cut = cut
        self._on_bound = on_bound
        self._told: deque[float] = deque()
        self._read, self._write = os.pipe()
        for descriptor in (self._read, self._write):
            os.set_blocking(descriptor, False)
        self._wakes: list[int] = []
        self._applications = -1

    @property
    def descriptors(self) -> tuple[int, ...]:
        """The files that it has open."""
        applications = () if self._applications == -1 else (self._applications,)
        return (self._read, self._write, *self._wakes, *applications)

    def start(self) -> None:
        """Start the thread, a daemon."""
        ServerThread(target=self._run, name="watchdog", daemon=True).start()

    def start_in_handler(self) -> None:
        """The same where the handler of a signal runs, which may have interrupted a holder of threading's own lock."""
        _thread.start_new_thread(self._run, ())

    def hear(self) -> bool:
        """Hear signals from now on, and wake whom they woke before, such as a reactor. Whether it did not yet.

        Main thread.
        """
        previous = set_wakeup_fd(self._write, warn_on_full_buffer=False)
        if previous not in (-1, self._write):
            # A copy: the number may be another file's once the reactor has ended.
            self._wakes.append(os.dup(previous))
        return previous != self._write

    def pass_on(self, fd: int) -> None:
        """Hear signals from now on, and write them to a file of the application's, with -1 to none. Main thread."""
        set_wakeup_fd(self._write, warn_on_full_buffer=False)
        # A copy that is never closed: the thread may be about to write to it.
        self._applications = os.dup(fd) if fd != -1 else -1

    def asked(self) -> None:
        """Count a signal that came before `hear`."""
        if self._deadline.ask():
            self._on_bound(self._deadline.left)

    def bound(self, seconds: float) -> None:
        """Leave no more than so many seconds; callable from any thread."""
        self._told.append(time.monotonic() + seconds)
        self._on_bound(seconds)
        with suppress(OSError):
            os.write(self._write, _LOOK_AGAIN)

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._read, select.POLLIN)
        while (left := self._deadline.left) > 0:
            if poll.poll(None if left == math.inf else math.ceil(left * 1000)):
                self._heard(os.read(self._read, 4096))
        self._cut()

    def _heard(self, numbers: bytes) -> None:
        while self._told:
            self._deadline.no_later_than(self._told.popleft())
        signals = numbers.replace(_LOOK_AGAIN, b"")
        for descriptor in (*self._wakes, self._applications) if signals else ():
            with suppress(OSError):
                os.write(descriptor, signals)
        for number in signals:
            self._on_signal(number)
            if number in self._asks and self._deadline.ask():
                self._on_bound(self._deadline.left)
