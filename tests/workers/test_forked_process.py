"""A process that another one forks, as its protocol sees it: before it exists, while it runs, and when it ends."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
from twisted.internet import process as twisted_process
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from twistserve.process import exit_status
from twistserve.workers import forked_process as module
from twistserve.workers.forked_process import ForkedProcess, Orphans


class Protocol(ProcessProtocol):
    """Records its calls."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        self.events.append((childFD, data))

    def childConnectionLost(self, childFD: int) -> None:
        self.events.append(childFD)

    def processExited(self, reason: Failure) -> None:
        self.events.append(("exited", exit_status.of(reason.value)))

    def processEnded(self, reason: Failure) -> None:
        self.events.append(("ended", exit_status.of(reason.value)))


class Bench:
    """A process with a pipe to it and one from it."""

    def __init__(self) -> None:
        self.reactor: Any = MemoryReactorClock()
        self.orphans = Orphans(self.reactor)
        self.protocol = Protocol()
        self.process = ForkedProcess(self.protocol, {3: "w", 4: "r"}, self.orphans, self.reactor)
        self.signals: list[tuple[int, int]] = []

    def fork(self, status: int = 0) -> int:
        """Have a process that ends with this status when its pipe is closed."""
        _, from_child = self.process.descriptors
        pid = os.fork()
        if not pid:
            os.write(from_child, b"hello")
            os._exit(status)
        self.process.pass_on()
        return pid

    def turn(self) -> None:
        """Let the reactor look at the pipes."""
        for each in [*self.reactor.getReaders()]:
            if (why := each.doRead()) is not None:
                self.reactor.removeReader(each)
                each.connectionLost(Failure(why))


def fork_waiting() -> tuple[int, int]:
    """Fork a process that ends when the pipe whose writing end this is closes: its pid, and that end."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    os.close(reading)
    return pid, writing


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_process_that_ends(bench: Bench) -> None:
    """What it has said comes first; its end is told once its pipes are closed, and none is left open."""
    before = len(os.listdir("/proc/self/fd"))
    pid = bench.fork(3)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    bench.process.forked(pid)
    assert bench.process.pid == pid
    assert bench.protocol.events == [("exited", 3)]
    bench.turn()
    bench.turn()
    assert (4, b"hello") in bench.protocol.events
    assert bench.protocol.events[-1] == ("ended", 3)
    assert len(os.listdir("/proc/self/fd")) == before - 4
    with pytest.raises(ProcessExitedAlready):
        bench.process.signalProcess(signal.SIGTERM)


def test_an_end_that_is_reported_later(bench: Bench) -> None:
    """By Twisted, which calls for all children when one has ended."""
    pid, writing = fork_waiting()
    bench.process.pass_on()
    bench.process.forked(pid)
    bench.orphans.reapProcess()
    assert bench.protocol.events == []
    bench.process.signalProcess(signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    bench.orphans.reapProcess()
    os.close(writing)
    assert bench.protocol.events == [("exited", -signal.SIGKILL)]


def test_a_process_that_is_never_forked(bench: Bench) -> None:
    """It counts as one that has failed. If it is killed before, its request is discarded."""
    discarded: list[bool] = []
    bench.process.on_discard = lambda: discarded.append(True)
    bench.process.signalProcess(signal.SIGTERM)
    assert discarded == []
    bench.process.signalProcess(signal.SIGKILL)
    assert discarded == [True]
    bench.reactor.advance(0)
    assert bench.protocol.events == [("exited", -signal.SIGKILL)]
    other = Bench()
    other.process.give_up()
    other.process.give_up()
    assert other.protocol.events == [("exited", 1)]


def test_no_more_pipes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has been opened by then is closed."""
    before, made = len(os.listdir("/proc/self/fd")), [os.pipe()]

    def pipe() -> tuple[int, int]:
        if not made:
            raise OSError(24, "Too many open files")
        return made.pop()

    monkeypatch.setattr(os, "pipe", pipe)
    with pytest.raises(OSError, match="Too many open files"):
        Bench()
    assert len(os.listdir("/proc/self/fd")) == before


def test_children_that_are_not_watched_are_reaped(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The statuses of those that were adopted are kept for a later `watch`. Children from before are left alone."""
    monkeypatch.setattr(module, "adopt_orphans", lambda: None)
    monkeypatch.setattr(twisted_process, "reapProcessHandlers", {})

    def child(status: int) -> int:
        pid = os.fork()
        if not pid:
            os._exit(status)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        return pid

    earlier = child(1)
    bench.orphans.adopt()
    adopted = child(2)
    [registered] = twisted_process.reapProcessHandlers.values()
    registered.reapProcess()
    bench.reactor.advance(0)
    assert os.waitpid(earlier, 0)[0] == earlier
    assert bench.orphans.watch(adopted, print) == 2 << 8
    assert bench.orphans.watch(adopted, print) == 0
    bench.process.give_up()


def test_a_pid_that_is_used_again(bench: Bench) -> None:
    """The status of a process that was reaped is not that of a later one with the same pid."""
    pid, writing = fork_waiting()
    bench.orphans._reaped.append((pid, 2 << 8))
    assert bench.orphans.watch(pid, print) is None
    os.close(writing)
    os.waitpid(pid, 0)
    bench.process.give_up()
