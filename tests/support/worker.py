"""A worker's process that is not there, a worker's side of the conversation with its parent, and both together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from twistserve.lifecycle import Lifecycle
from twistserve.probes.checks import Result
from twistserve.workers.child import Parent, WorkerSide
from twistserve.workers.from_worker import FromWorker
from twistserve.workers.protocol import (
    FROM_WORKER,
    TO_WORKER,
)
from twistserve.workers.worker_process import WorkerProcess


class Transport:
    """A process that the reactor has started."""

    pid = 4711

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.signals: list[int] = []
        self.ended = False
        self.closed_descriptors: list[int] = []

    def writeToChild(self, descriptor: int, data: bytes) -> None:
        assert descriptor == TO_WORKER
        self.written.append(data)

    def signalProcess(self, number: int) -> None:
        if self.ended:
            raise ProcessExitedAlready
        self.signals.append(number)

    def closeChildFD(self, descriptor: int) -> None:
        self.closed_descriptors.append(descriptor)


class Reactor(Clock):
    """A Clock that can start processes, and that does not run."""

    running = False

    def callWhenRunning(self, function: Any) -> None:
        pass

    def stop(self) -> None:
        pass

    def spawnProcess(self, protocol: Any, executable: str, arguments: Any, environ: Any, childFDs: Any) -> Transport:
        self.arguments, self.environ, self.descriptors = arguments, environ, childFDs
        self.transport = Transport()
        protocol.makeConnection(self.transport)
        return self.transport


class Started:
    """A process that was started, and what came of it."""

    def __init__(self, sockets: tuple[int, ...] = (), lines: bool = False) -> None:
        self.reactor = Reactor()
        self.told: list[tuple[object, ...]] = []
        self.ends: list[str] = []
        self.lines: list[str] = []
        told = FromWorker(
            lambda step, detail: self.told.append((step, detail)),
            lambda: self.told.append(("ready",)),
            lambda message: self.told.append(("failed", message)),
            lambda cause, reason: self.told.append(("replace", cause, reason)),
            lambda: self.told.append(("prepared",)),
            self._note_services,
            publish=lambda group, text: self.told.append(("publish", group, text)),
        )
        self.process = WorkerProcess(told, self.ends.append, self.lines.append if lines else None)
        self.process.start(self.reactor, "worker-2", {"NAME": "value"}, sockets)
        self.transport = self.reactor.transport

    def _note_services(self, names: Sequence[str]) -> Deferred[None]:
        self.told.append(("once", names))
        return succeed(None)

    def end(self, reason: Exception, closed: bool = True) -> None:
        """Let it end, its pipes being closed with it or not."""
        self.transport.ended = True
        self.process.processExited(Failure(reason))
        if closed:
            self.process.processEnded(Failure(reason))


class Pipe:
    """The worker's way to its parent."""

    disconnecting = False

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def loseConnection(self) -> None:
        pass


class Conversation(Started):
    """A process whose other end is a real one."""

    def __init__(self, checks: Any = None, serving: Any = None, preloaded: bool = False) -> None:
        super().__init__()
        self.checks, self.serving = checks, serving
        self.services: Any = None
        self.configurations: list[dict[str, Any]] = []
        self.lifecycle = Lifecycle(self.reactor)
        self.ended: list[bool] = []
        self.preparing: list[bool] = []
        self.parent = Parent(self._begin, lambda: self.ended.append(True), preloaded)
        self.pipe = Pipe()
        self.parent.makeConnection(self.pipe)

    def _begin(self, configuration: dict[str, Any], prepares: bool, parent: Parent) -> WorkerSide:
        self.configurations.append(configuration)
        self.preparing.append(prepares)
        parent.follow(self.lifecycle)
        return WorkerSide(self.lifecycle, self.serving, self.checks, self.services)

    def deliver(self) -> None:
        """Let arrive what either has said."""
        to_worker, to_parent = self.transport.written, self.pipe.written
        while to_worker or to_parent:
            if to_worker:
                self.parent.dataReceived(to_worker.pop(0))
            if to_parent:
                self.process.childDataReceived(FROM_WORKER, to_parent.pop(0))

    def ask(self, command: Any, **arguments: Any) -> Any:
        """What the worker answers."""
        answer = self.process.ask(command, **arguments)
        self.deliver()
        return result_of(answer)


def result_of(deferred: Any) -> Any:
    """What a Deferred has come to by now."""
    results: list[Any] = []
    deferred.addBoth(results.append)
    return results[0] if results else None


class Asked:
    """Checks whose results are given, or that raise."""

    def __init__(self, results: dict[str, Result] | None = None) -> None:
        self._results = results

    def ask(self, probe: str) -> Deferred[dict[str, Result]]:
        if self._results is None:
            raise LookupError(probe)
        return succeed(self._results)
