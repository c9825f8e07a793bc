"""The process that serves, from the side of the parent of --autoreload."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from twistserve.development.inheritance import FIRST_SOCKET, LIFELINE, REPORT
from twistserve.process import exit_status

LAST_WORDS = 1.0
"""Seconds to wait for what a process has told last: a program it left behind may hold the pipe."""
_LATER = (signal.SIGINT, signal.SIGHUP)
"""Signals of a terminal, which a Python that is starting would end by with a traceback."""


class ServingProcess(ProcessProtocol):
    """Starts it; `told` gets what it tells, and `ended` its exit status, negative for a signal."""

    def __init__(self, told: Callable[[dict[str, Any]], None], ended: Callable[[int], None], reactor: Any) -> None:
        self._told = told
        self._ended: Callable[[int], None] | None = ended
        self._reactor = reactor
        self._partial = b""
        self._timer: Any = None

    def start(self, command: Sequence[str], environ: Mapping[str, str], sockets: Sequence[int]) -> None:
        """Start the command with these sockets. Raises OSError."""
        descriptors: dict[int, int | str] = {0: 0, 1: 1, 2: 2, REPORT: "r", LIFELINE: "w"}
        descriptors |= {FIRST_SOCKET + position: descriptor for position, descriptor in enumerate(sockets)}
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _LATER)
        try:
            self._reactor.spawnProcess(self, command[0], command, dict(environ), childFDs=descriptors)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def signal(self, number: int) -> None:
        """Send a signal, if the process is there."""
        with suppress(ProcessExitedAlready, AttributeError):
            self.transport.signalProcess(number)  # type: ignore[union-attr]

    # What the reactor tells

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """It tells something."""
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            # A project may write to a descriptor that it has not opened.
            with suppress(ValueError):
                if isinstance(news := json.loads(line), dict):
                    self._told(news)

    def processExited(self, reason: Failure) -> None:
        """It has ended; what it has told last may be in the pipe."""
        self._timer = self._reactor.callLater(LAST_WORDS, self.processEnded, reason)

    def processEnded(self, reason: Failure) -> None:
        """The pipes are closed too, or have been waited for."""
        if self._ended is None:
            return
        if self._timer.active():
            self._timer.cancel()
        ended, self._ended = self._ended, None
        for descriptor in (REPORT, LIFELINE):
            # Twisted's loseConnection closes those of standard streams alone.
            self.transport.closeChildFD(descriptor)  # type: ignore[union-attr]
        ended(exit_status.of(reason.value))
