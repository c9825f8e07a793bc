"""A process that another process forks, with the interface of one that the reactor starts: pipes, signals, its end.

Reactor thread, in the parent.
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

_ANY_CHILD = 0
"""A key for Twisted's handlers that is no pid: its handler is called whenever a child has ended."""


class ForkedProcess:
    """The transport of a process protocol. It is there before the process, which `forked` adds.

    `pipes` are "r" and "w" as `spawnProcess` takes them, or the reading end of an existing pipe. `descriptors` are the
    other ends, in this order, for the process to inherit; `pass_on` closes them here.
    """

    def __init__(self, protocol: Any, pipes: Mapping[int, str | int], orphans: Orphans, reactor: Any) -> None:
        self.pid = 0
        self.descriptors: list[int] = []
        self.on_discard: Callable[[], None] = lambda: None
        """Called when the process is killed before it was forked."""
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
        """Close the descriptors here: they were sent to the process that forks, or are not needed."""
        for each in self.descriptors:
            os.close(each)
        self.descriptors.clear()

    def forked(self, pid: int) -> None:
        """The process exists, and is a child of this one."""
        self.pid = pid
        status = self._orphans.watch(pid, self._exited)
        if status is not None:
            self._exited(status)

    def give_up(self, number: int = 0) -> None:
        """There will be no process: report the end of one, with status 1 or by the signal of this number."""
        self.pass_on()
        self._exited(number or 1 << 8)

    # The transport

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
        """Write to a pipe; no effect if it is closed."""
        if number in self._pipes:
            self._pipes[number].write(data)

    def closeChildFD(self, number: int) -> None:
        """Close the parent's end of a pipe."""
        if number in self._pipes:
            self._pipes[number].loseConnection()

    # Events of pipes and of the process

    def childDataReceived(self, number: int, data: bytes) -> None:
        """Data has come from a pipe."""
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
    """Reaps the processes that become children of this one: forked workers, and what workers leave behind.

    Twisted calls `reapProcess` when a child has ended.
    """

    def __init__(self, reactor: Any) -> None:
        self._watched: dict[int, Callable[[int], None]] = {}
        self._reaped: deque[tuple[int, int]] = deque(maxlen=100)
        """Pids and statuses of the last children that were reaped without being watched."""
        self._earlier: frozenset[int] = frozenset()
        """Children from before `adopt`, which other code reaps."""
        self._reactor = reactor

    def adopt(self) -> None:
        """Begin. Children that exist already are left to the code that started them. Raises OSError."""
        adopt_orphans()
        self._earlier = frozenset(_children())
        process.reapProcessHandlers[_ANY_CHILD] = self  # type: ignore[assignment]

    def watch(self, pid: int, on_exit: Callable[[int], None]) -> int | None:
        """Call `on_exit` with the status, as waitpid(2) has it, when a child ends; return that if it has ended already.

        The status is 0 if other code has reaped the child.
        """
        try:
            # First: another process may have had the same pid long ago.
            found, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            for reaped, status in self._reaped:
                if reaped == pid:
                    self._reaped.remove((reaped, status))
                    return status
            return 0
        if found:
            return status
        self._watched[pid] = on_exit
        return None

    def reapProcess(self) -> None:
        """A child has ended."""
        for pid, on_exit in list(self._watched.items()):
            with suppress(ChildProcessError):
                found, status = os.waitpid(pid, os.WNOHANG)
                if not found:
                    continue
                del self._watched[pid]
                on_exit(status)
        # After Twisted has reaped the processes that it started.
        self._reactor.callLater(0, self._reap_unwatched)

    def _reap_unwatched(self) -> None:
        for pid in _children():
            if pid in self._earlier or pid in self._watched or pid in process.reapProcessHandlers:
                continue
            with suppress(ChildProcessError):
                found, status = os.waitpid(pid, os.WNOHANG)
                if found:
                    self._reaped.append((pid, status))


def _children() -> list[int]:
    """The children of this process, as /proc lists them; none where it does not."""
    found: list[int] = []
    with suppress(OSError):
        for task in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{task}/children", "rb") as children:
                found += map(int, children.read().split())
    return found
