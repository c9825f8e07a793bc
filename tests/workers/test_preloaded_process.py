"""The preloaded process from the parent's side: requests, messages, and how it ends."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from twistserve.workers.control_messages import receive, send
from twistserve.workers.preloaded_process import END, PROMPT, ForkRequest, PreloadedProcess
from twistserve.workers.protocol import CONTROL, PRELOADED_LOG_LOCK


class Transport:
    """A process that the reactor has started."""

    pid = 4711

    def __init__(self) -> None:
        self.signals: list[int] = []

    def signalProcess(self, number: int) -> None:
        self.signals.append(number)


class Reactor(MemoryReactorClock):
    """Starts fake processes, and keeps their end of the socket."""

    def spawnProcess(self, protocol: Any, executable: Any, arguments: Any, environ: Any, childFDs: Any) -> Any:
        self.arguments, self.environ, self.descriptors = arguments, environ, childFDs
        self.theirs = socket.socket(fileno=os.dup(childFDs[CONTROL]))
        self.theirs.setblocking(False)
        self.transport = Transport()
        protocol.makeConnection(self.transport)
        return self.transport


class Worker:
    """In place of a worker's process that is to be forked."""

    def __init__(self) -> None:
        self.descriptors = [*os.pipe(), os.open(os.devnull, os.O_RDONLY)]
        self.pid = 0
        self.on_discard: Any = None

    def pass_on(self) -> None:
        for each in self.descriptors:
            os.close(each)
        self.descriptors.clear()

    def forked(self, pid: int) -> None:
        self.pid = pid


class Bench:
    """A process and its observer."""

    def __init__(self) -> None:
        self.reactor = Reactor()
        self.events: list[Any] = []
        self.results: list[Any] = []
        self.lines: list[str] = []
        self.workers: list[Worker] = []
        observer: Any = self
        self.process = PreloadedProcess(observer, self.lines.append, self.reactor)
        self.process.start({"NAME": "value"}, 9)

    def at_step(self, process: Any, step: str) -> None:
        self.events.append(step)

    def loaded(self, process: Any) -> None:
        self.events.append("loaded")

    def gone(self, process: Any, reason: str) -> None:
        self.events.append(("gone", reason))

    def fork(self, name: str = "worker-1") -> Worker:
        worker: Any = Worker()
        self.workers.append(worker)
        self.process.fork(ForkRequest(name, worker, [0], self.results.append, self.results.append))
        return worker  # type: ignore[no-any-return]

    def say(self, word: str, **content: Any) -> None:
        """Have the process say something."""
        send(self.reactor.theirs, word, **content)
        [control] = self.reactor.getReaders()
        assert control.doRead() is None

    def asked(self) -> Any:
        """What the process is asked next."""
        message = receive(self.reactor.theirs)
        assert message is not None
        for each in message.descriptors:
            os.close(each)
        return message.word, message.content, len(message.descriptors)

    def end(self, reason: Exception, closed: bool = True) -> None:
        """Let the process end, and close its end of the socket, unless workers have that too."""
        if closed:
            self.reactor.theirs.close()
            [control] = self.reactor.getReaders()
            self.reactor.removeReader(control)
            why: Any = control.doRead()
            control.connectionLost(Failure(why))
        self.process.processExited(Failure(reason))
        self.process.processEnded(Failure(reason))


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.reactor.theirs.close()
    for worker in bench.workers:
        worker.pass_on()
    for each in [*bench.reactor.getReaders()]:
        each.connectionLost(Failure(ProcessDone(0)))


def test_what_it_gets(bench: Bench) -> None:
    """The socket, the lock of the log, and no port; its output comes through here, line by line."""
    assert bench.reactor.arguments[-1] == "preloaded"
    assert bench.reactor.environ == {"NAME": "value"}
    standard = {0: 0, 1: "r", 2: "r", PRELOADED_LOG_LOCK: 9}
    assert {number: each for number, each in bench.reactor.descriptors.items() if number != CONTROL} == standard
    bench.process.childDataReceived(1, b"one\ntw")
    bench.end(ProcessDone(0))
    assert bench.lines == ["one", "tw"]


def test_it_loads_and_then_forks(bench: Bench) -> None:
    """What is asked before that waits; a worker has its pipes and the sockets, which are closed here."""
    worker = bench.fork()
    bench.process.load({"workers": 2}, ["/srv"], "/metrics")
    content = {"configuration": {"workers": 2}, "path": ["/srv"], "directory": "/metrics"}
    assert bench.asked() == ("load", content, 0)
    with pytest.raises(BlockingIOError):
        bench.asked()
    bench.say("at_step", step="setting Django up")
    bench.say("loaded")
    assert bench.events == ["setting Django up", "loaded"]
    assert bench.asked() == ("fork", {"request": 1, "name": "worker-1", "streams": 0}, 4)
    assert worker.descriptors == []
    bench.say("forked", request=1, pid=4712)
    assert (worker.pid, bench.results) == (4712, [4712])
    bench.fork()
    bench.say("not_forked", request=2, reason="Resource temporarily unavailable")
    assert bench.results[1] == "a worker's process cannot be forked: Resource temporarily unavailable"


def test_a_request_that_is_discarded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not sent; if it was, the worker is killed as soon as its pid is known."""
    killed: list[Any] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: killed.append((pid, number)))
    bench.fork().on_discard()
    bench.say("loaded")
    with pytest.raises(BlockingIOError):
        bench.asked()
    bench.fork().on_discard()
    bench.say("forked", request=1, pid=4712)
    assert killed == [(4712, signal.SIGKILL)]
    assert bench.results == []


def test_a_process_that_cannot_load(bench: Bench) -> None:
    """When it has ended, the requests that wait fail with the reason that it sent, or else with how it ended."""
    bench.fork()
    bench.say("failed", message="the shelf is gone")
    assert bench.results == []
    bench.end(ProcessTerminated(exitCode=1))
    assert bench.events == [("gone", "the shelf is gone")]
    assert bench.results == ["the shelf is gone"]
    bench.fork()
    bench.reactor.advance(0)
    assert "has ended" in bench.results[1]


def test_a_process_that_is_killed_while_it_forks(bench: Bench) -> None:
    """The worker may exist, and hold the socket open: the end is reported when no message can follow."""
    bench.say("loaded")
    bench.fork()
    bench.end(ProcessTerminated(signal=signal.SIGKILL), closed=False)
    bench.say("forked", request=1, pid=4712)
    assert bench.results == [4712]
    assert bench.events == ["loaded"]
    bench.reactor.advance(2)
    assert bench.events[1] == ("gone", "the preloaded process has ended: killed by SIGKILL")


def test_a_process_that_does_not_fork(bench: Bench) -> None:
    """It is killed after a while."""
    bench.say("loaded")
    bench.fork()
    bench.reactor.advance(PROMPT)
    assert bench.reactor.transport.signals == [signal.SIGKILL]
    bench.end(ProcessTerminated(signal=signal.SIGKILL))
    assert "has not forked a worker within 10 s" in bench.results[0]


def test_its_end_is_asked_for(bench: Bench) -> None:
    """The socket is shut down, and it is killed if it does not end; while it loads it is killed at once."""
    bench.say("loaded")
    bench.process.end()
    bench.process.end()
    assert receive(bench.reactor.theirs) is None
    assert bench.reactor.transport.signals == []
    bench.reactor.advance(END)
    assert bench.reactor.transport.signals == [signal.SIGKILL]
    loading = Bench()
    loading.process.end()
    assert loading.reactor.transport.signals == [signal.SIGKILL]
    loading.end(ProcessTerminated(signal=signal.SIGKILL))


def test_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the system refuses one, neither end of the socket stays open."""

    def refuse(*arguments: Any, **keywords: Any) -> Any:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(Reactor, "spawnProcess", refuse)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="temporarily unavailable"):
        Bench()
    assert len(os.listdir("/proc/self/fd")) == before
