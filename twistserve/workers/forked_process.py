"""A process that another one has forked for us, as Twisted has those that the reactor starts: pipes, signals, its end.

Reactor thread.
"""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from twisted.internet import process
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.interfaces import IProcessProtocol
from twisted.python.failure import Failure

from twistserve.workers.orphan_fork import adopt_orphans

_EACH_TIME = 0
"""No process's pid: what is registered for it is told of the end of each."""


class ForkedProcess:
    """The transport of a process protocol, before there is a process too: `forked` says when there is one.

    `pipes` are "r" and "w" as `spawnProcess` takes them, or the reading end of one that is there. The process is to
    have the `descriptors`, in this order, until `pass_on` has closed them here.
    """

    def __init__(self, protocol: Any, pipes: Mapping[int, str | int], orphans: Orphans, reactor: Any) -> None:
        self.pid = 0
        self.descriptors: list[int] = []
        self.on_discard: Callable[[], None] = lambda: None
        """Called when the process is killed before there is one."""
        self._protocol: IProcessProtocol = protocol
        self._orphans = orphans
        self._reactor = reactor
        self._pipes: dict[int, Any] = {}
        self._reason: Failure | None = None
        self._ended = False
        try:
            for number, kind in pipes.items():
                if isinstance(kind, int):
                    self._pipes[number] = process.ProcessReader(reactor, self, number, kind)
                    continue
                reading, writing = os.pipe()
                ours, theirs = (writing, reading) if kind == "w" else (reading, writing)
                self.descriptors.append(theirs)
                make = process.ProcessWriter if kind == "w" else process.ProcessReader
                self._pipes[number] = make(reactor, self, number, ours)
        except OSError:
            self._close()
            raise
        protocol.makeConnection(self)

    def pass_on(self) -> None:
        """The process has its descriptors, or will have: they are closed here."""
        for each in self.descriptors:
            os.close(each)
        self.descriptors.clear()

    def forked(self, pid: int) -> None:
        """There is a process, a child of ours."""
        self.pid = pid
        status = self._orphans.watch(pid, self._exited)
        if status is not None:
            self._exited(status)

    def give_up(self, number: int = 0) -> None:
        """There will be no process; it counts as one that has ended with status 1, or by the signal of this number."""
        self.pass_on()
        self._exited(number or 1 << 8)

    # What the protocol wants of its transport

    def signalProcess(self, number: int) -> None:
        """Send a signal. Raises ProcessExitedAlready."""
        if self._reason is not None:
            raise ProcessExitedAlready
        if self.pid:
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                raise ProcessExitedAlready from None
        elif number == signal.SIGKILL:
            self.on_discard()
            self._reactor.callLater(0, self.give_up, number)

    def writeToChild(self, number: int, data: bytes) -> None:
        """Write to a pipe."""
        if number in self._pipes:
            self._pipes[number].write(data)

    def closeChildFD(self, number: int) -> None:
        """Close our end of a pipe."""
        if number in self._pipes:
            self._pipes[number].loseConnection()

    # What its pipes and the kernel tell

    def childDataReceived(self, number: int, data: bytes) -> None:
        """A pipe has brought something."""
        self._protocol.childDataReceived(number, data)

    def childConnectionLost(self, number: int, reason: Failure) -> None:
        """A pipe is closed."""
        os.close(self._pipes.pop(number).fileno())
        self._protocol.childConnectionLost(number)
        self._end_if_over()

    def _exited(self, status: int) -> None:
        if self._reason is not None:
            return
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
        code = os.WEXITSTATUS(status) if number is None else None
        self._reason = Failure(ProcessTerminated(code, number, status) if code or number else ProcessDone(status))
        self._protocol.processExited(self._reason)
        self._end_if_over()

    def _end_if_over(self) -> None:
        if self._reason is not None and not self._pipes and not self._ended:
            self._ended = True
            self._protocol.processEnded(self._reason)

    def _close(self) -> None:
        self.pass_on()
        for each in list(self._pipes.values()):
            each.stopReading()
            each.stopWriting()
            os.close(each.fd)
        self._pipes.clear()


class Orphans:
    """Reaps the children that the kernel makes ours, those too that we know nothing of.

    Twisted calls `reapProcess` of what it has registered when a child has ended.
    """

    def __init__(self, reactor: Any) -> None:
        self._told: dict[int, Callable[[int], None]] = {}
        self._strangers: deque[tuple[int, int]] = deque(maxlen=100)
        """Pids and statuses of those that have ended before somebody asked."""
        self._others: frozenset[int] = frozenset()
        self._reactor = reactor

    def adopt(self) -> None:
        """Begin; the children that are there are somebody else's to reap. Raises OSError."""
        adopt_orphans()
        self._others = frozenset(_children())
        process.reapProcessHandlers[_EACH_TIME] = self  # type: ignore[assignment]

    def watch(self, pid: int, told: Callable[[int], None]) -> int | None:
        """Have its exit status told, as waitpid(2) has it; the status itself if it has ended already."""
        try:
            # First: a stranger may have had the same pid long ago.
            found, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            # It is a stranger that has been reaped, or somebody else has done that.
            for stranger, status in self._strangers:
                if stranger == pid:
                    self._strangers.remove((stranger, status))
                    return status
            return 0
        if found:
            return status
        self._told[pid] = told
        return None

    def reapProcess(self) -> None:
        """A child has ended."""
        for pid, told in list(self._told.items()):
            with suppress(ChildProcessError):
                found, status = os.waitpid(pid, os.WNOHANG)
                if not found:
                    continue
                del self._told[pid]
                told(status)
        # When Twisted has reaped its own.
        self._reactor.callLater(0, self._reap_strangers)

    def _reap_strangers(self) -> None:
        for pid in _children():
            if pid in self._others or pid in self._told or pid in process.reapProcessHandlers:
                continue
            with suppress(ChildProcessError):
                found, status = os.waitpid(pid, os.WNOHANG)
                if found:
                    self._strangers.append((pid, status))


def _children() -> list[int]:
    """The children of this process, by /proc; none where that does not tell."""
    found: list[int] = []
    with suppress(OSError):
        for task in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{task}/children", "rb") as children:
                found += map(int, children.read().split())
    return found
