"""A worker's process, from the parent's side: it is started with the sockets, and takes AMP commands.

Reactor thread.
"""

from __future__ import annotations

import twistserve.workers.amp_before_tls  # noqa: F401

# isort: split
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionDone, ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.protocols import amp
from twisted.python.failure import Failure

from twistserve.logs import get_logger
from twistserve.process import exit_status
from twistserve.workers.forked_process import ForkedProcess, Orphans
from twistserve.workers.protocol import (
    FIRST_SOCKET,
    FOR_THE_PARENT,
    FROM_WORKER,
    LIFELINE,
    LOG_LOCK,
    TO_WORKER,
    Connection,
)

logger = get_logger(__name__)

STDOUT, STDERR = 1, 2
LAST_WORDS = 1.0
"""Seconds to wait for the pipes of a process that has ended: a program that it left behind may hold them open."""


class _Pipe:
    """AMP's transport: the pipe to a process."""

    disconnecting = False

    def __init__(self, process: Any) -> None:
        self._process = process

    def write(self, data: bytes) -> None:
        self._process.writeToChild(TO_WORKER, data)

    def writeSequence(self, data: Sequence[bytes]) -> None:
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        self._process.closeChildFD(TO_WORKER)

    def getPeer(self) -> Any:
        return IPv4Address("TCP", "", 0)

    getHost = getPeer


class Lines:
    """Splits the output of a process into lines, each standard stream by itself."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._partial = {STDOUT: b"", STDERR: b""}

    def received(self, stream: int, data: bytes) -> None:
        """Pass the complete lines on."""
        *complete, self._partial[stream] = (self._partial[stream] + data).split(b"\n")
        for line in complete:
            self._on_line(line.decode(errors="replace"))

    def end(self) -> None:
        """Pass on what was not ended by a newline."""
        for partial in self._partial.values():
            if partial:
                self._on_line(partial.decode(errors="replace"))


class WorkerProcess(ProcessProtocol):
    """A worker's process. `commands` responds to its AMP commands; `exited` is called with how it ended.

    With `lines` the parent reads its output and calls that with each line; else it writes where the parent does.
    """

    def __init__(
        self, commands: amp.CommandLocator, exited: Callable[[str], None], lines: Callable[[str], None] | None = None
    ) -> None:
        self._amp = Connection(locator=commands)
        self._exited = exited
        self._lines = Lines(lines) if lines is not None else None
        self.at_end = self._ended = False
        self._reactor: Any = None
        self._timer: Any = None
        self.pid = 0

    def start(
        self, reactor: Any, name: str, environ: Mapping[str, str], sockets: Sequence[int], log_lock: int = -1
    ) -> None:
        """Start the process, which inherits the descriptors `sockets` and `log_lock`. Raises OSError."""
        standard: dict[int, int | str] = {0: 0, STDOUT: 1, STDERR: 2}
        if self._lines is not None:
            standard |= {STDOUT: "r", STDERR: "r"}
        descriptors = {
            **standard,
            TO_WORKER: "w",
            FROM_WORKER: "r",
            LIFELINE: "w",
            **({LOG_LOCK: log_lock} if log_lock != -1 else {}),
            **{FIRST_SOCKET + position: descriptor for position, descriptor in enumerate(sockets)},
        }
        self._reactor = reactor
        arguments = [sys.executable, "-m", "twistserve.workers", name, str(len(sockets))]
        # Until Python has started, these signals would end it with a traceback.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, FOR_THE_PARENT)
        try:
            process = reactor.spawnProcess(self, sys.executable, arguments, dict(environ), childFDs=descriptors)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        self.pid = process.pid

    def start_forked(self, reactor: Any, orphans: Orphans) -> ForkedProcess:
        """Prepare for a process that another one forks; commands can be sent already. Raises OSError."""
        self._reactor = reactor
        streams = {STDOUT: "r", STDERR: "r"} if self._lines is not None else {}
        return ForkedProcess(self, {TO_WORKER: "w", FROM_WORKER: "r", LIFELINE: "w", **streams}, orphans, reactor)

    def ask(self, command: Any, **arguments: Any) -> Deferred[dict[str, Any]]:
        """Send a command; fails when the process is gone, or soon will be."""
        if self.at_end:
            return fail(ConnectionDone())
        answer: Deferred[dict[str, Any]] | None = self._amp.callRemote(command, **arguments)
        return answer if answer is not None else Deferred()

    def signal(self, number: int) -> None:
        """Send a signal; no effect if the process is gone."""
        with suppress(ProcessExitedAlready, AttributeError):
            self.transport.signalProcess(number)  # type: ignore[union-attr]

    # ProcessProtocol

    def connectionMade(self) -> None:
        """The pipes are open."""
        self._amp.makeConnection(_Pipe(self.transport))

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """The process has sent AMP, or written something."""
        if childFD == FROM_WORKER:
            self._amp.dataReceived(data)
        elif childFD in (STDOUT, STDERR) and self._lines is not None:
            self._lines.received(childFD, data)

    def childConnectionLost(self, childFD: int) -> None:
        """The process has closed a pipe: it takes no more commands, though it may still run."""
        if childFD == TO_WORKER:
            self.at_end = True

    def processExited(self, reason: Failure) -> None:
        """The process has ended; its last messages may still be in the pipes, which other processes may hold open."""
        self.at_end = True
        self._timer = self._reactor.callLater(LAST_WORDS, self.processEnded, reason)

    def processEnded(self, reason: Failure) -> None:
        """The pipes are closed too, or have been waited for long enough."""
        if self._ended:
            return
        self._ended = True
        if self._timer.active():
            self._timer.cancel()
        if self._lines is not None:
            self._lines.end()
        self._amp.connectionLost(reason)
        self._exited(exit_status.in_words(exit_status.of(reason.value)))
        for descriptor in (STDOUT, STDERR, TO_WORKER, FROM_WORKER, LIFELINE):
            # Others may hold them open. Twisted's loseConnection closes the standard streams alone.
            self.transport.closeChildFD(descriptor)  # type: ignore[union-attr]


def environment_of_a_worker(directory: str | None) -> dict[str, str]:
    """The parent's environment, with the directory of the shared metrics."""
    environ = dict(os.environ)
    if directory is not None:
        environ["PROMETHEUS_MULTIPROC_DIR"] = directory
    return environ
