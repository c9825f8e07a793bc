"""Python's main thread: the application's, as under manage.py, while the reactor runs in a thread of its own.

Only in the main thread can handlers of signals be installed, only there do they run, and only there does asyncio make
an event loop by itself (up to Python 3.13). An import there may take a minute; the probes are the reactor's.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from types import FrameType
from typing import Any

from twistserve.errors import describe
from twistserve.logs import get_logger
from twistserve.server_thread import ServerThread

logger = get_logger(__name__)

REACTOR = "reactor"
"""The name of the thread that the reactor runs in, if not in the main thread."""
_set_handler = signal.signal
"""Python's own, in the place of which an application gets another."""
INTERRUPT = signal.SIGURG
"""Interrupts what the main thread is at. By default it is ignored, and only sockets that asked for it make one."""
AT_ONCE = 0.5
"""Seconds that what is interrupted has for its `finally` clauses, before the process ends without it."""

AGAIN = 0.02
"""Seconds between two interrupts: one is lost if it comes the moment before a wait begins."""


class Interrupted(BaseException):
    """Raised in a step of the start-up when the process is to end."""


class MainThread:
    """Runs what it is given, one after another, until the reactor has ended."""

    def __init__(self) -> None:
        self.leave: Callable[[], None] = lambda: None
        """Ends the process from another thread, where the main thread does not come back from what it is at."""
        self.after_step: Callable[[], None] = lambda: None
        """Called in the main thread after each step of the start-up: it may have changed what is the process's."""
        self._calls: SimpleQueue[tuple[Callable[[], object], bool] | None] = SimpleQueue()
        """With whether it may be interrupted."""
        self._lent = self._ended = self._left = False
        self._may_interrupt = self._interrupted = self._handling = False
        self._deciding = threading.Lock()
        """Held to decide which thread ends the process."""
        self._back = threading.Event()

    def call(self, function: Callable[[], object]) -> None:
        """Call it in the main thread: now if this is it, or when it is free; not at all if a reactor has it."""
        if threading.current_thread() is threading.main_thread():
            function()
        elif self._lent:
            self._calls.put((function, False))

    def put(self, work: Callable[[], None]) -> None:
        """Have it called as soon as the main thread is lent and free; the end of the reactor interrupts it."""
        self._calls.put((work, True))

    def step_done(self) -> None:
        """A step of the start-up has run, in whichever thread."""
        if threading.current_thread() is threading.main_thread():
            self.after_step()

    def handle(self, handler: Callable[[int, FrameType | None], Any], number: int, frame: FrameType | None) -> None:
        """Call the application's handler of a signal. It may take its time, and what it raises ends nothing else."""
        before, self._handling = self._handling, True
        try:
            handler(number, frame)
        except BaseException as error:
            name = signal.Signals(number).name
            logger.warning("the application's handler of %s has raised %s", name, describe(error))
        finally:
            self._handling = before

    def lend(self, loop: Callable[[], None]) -> None:
        """Run a reactor's `loop` in a thread of its own, and here, until it ends, what is given. Main thread."""

        def run() -> None:
            try:
                loop()
            finally:
                self._end()

        self._lent = True
        _set_handler(INTERRUPT, self._interrupt)
        sys.unraisablehook = partial(self._on_unraisable, sys.unraisablehook)
        ServerThread(target=run, name=REACTOR, daemon=True).start()
        serving = True
        while serving:
            with suppress(Interrupted):
                serving = self._serve()
        with self._deciding:
            self._back.set()
        if self._left:
            # Too late: the reactor's thread ends the process.
            threading.Event().wait()

    def _serve(self) -> bool:
        call = self._calls.get()
        if call is None:
            return False
        function, self._may_interrupt = call
        pid = os.getpid()
        try:
            function()
        finally:
            self._may_interrupt = False
            if os.getpid() != pid:
                # A child that the application has forked, and that has come back here instead of ending.
                os._exit(0)
        return True

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        """Once: what it interrupts has `finally` clauses to run. A handler of the application's is not interrupted."""
        if self._ended and self._may_interrupt and not self._interrupted and not self._handling:
            self._interrupted = True
            raise Interrupted

    def _on_unraisable(self, report: Callable[[Any], object], unraisable: Any) -> None:
        """Interrupt again where a destructor, or the like, has met it, which nothing can raise in."""
        if unraisable.exc_type is Interrupted:
            self._interrupted = False
        else:
            report(unraisable)

    def _end(self) -> None:
        """Have the main thread go on with the end of the process, or end it from here if it does not come."""
        self._ended = True
        self._calls.put(None)
        waited = 0.0
        while self._may_interrupt and waited < AT_ONCE:
            signal.pthread_kill(threading.main_thread().ident or 0, INTERRUPT)
            if self._back.wait(AGAIN):
                return
            waited += 0.0 if self._handling else AGAIN
        with self._deciding:
            self._left = self._may_interrupt and not self._back.is_set()
        if self._left:
            self.leave()


main_thread = MainThread()
"""There is one."""
