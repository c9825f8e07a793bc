"""A supervisor whose workers are fakes, on a clock that the test moves."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Sequence
from typing import Any, cast

from prometheus_client import REGISTRY
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock

from twistserve.load import Load
from twistserve.workers.protocol import DrainWorker
from twistserve.workers.supervisor import Supervisor
from twistserve.workers.worker_state import Worker, WorkerState

GRACE = 25.0
"""Seconds that requests in flight are granted."""
STARTING, READY, DRAINING, GONE = WorkerState


class FakeProcess:
    """A process that notes what it is asked and sent; it answers heartbeats until it is `silent`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.drains: list[bool] = []
        """Of each request to drain, whether it was the last."""
        self.signals: list[int] = []
        self.load = Load(threads=2, stuck=0)
        self.asked: list[Any] = []
        self.unanswered: list[Deferred[dict[str, Any]]] = []
        self.silent = self.gone = self.at_end = False

    def ask(self, command: Any, **arguments: Any) -> Deferred[dict[str, Any]]:
        if self.gone:
            return fail(ConnectionDone())
        if command is DrainWorker:
            self.drains.append(arguments["last"])
        self.asked.append(command)
        if self.silent:
            self.unanswered.append(Deferred())
            return self.unanswered[-1]
        return succeed({"load": self.load})

    def answer(self) -> None:
        """Speak again, and answer what was asked in the meantime."""
        self.silent = False
        for waiting in self.unanswered:
            waiting.callback({"load": self.load})
        self.unanswered.clear()

    def signal(self, number: int) -> None:
        self.signals.append(number)

    @property
    def killed(self) -> bool:
        return signal.SIGKILL in self.signals


class FakeWorker(Worker):
    """What the type checker takes the supervisor's workers for: their processes are fakes."""

    process: FakeProcess


class Crew:
    """A supervisor, its clock, and what it has told; `start()` makes all workers ready."""

    def __init__(self, size: int = 2, name: str = "") -> None:
        self.clock = Clock()
        self.spawned: list[Worker] = []
        self.spawned_at: list[float] = []
        self.refusals: list[OSError] = []
        self.told_ready: list[Worker] = []
        self.told_gone: list[Worker] = []
        self.failures: list[str] = []
        self.counted_before = self._count()
        self.supervisor = Supervisor(
            size,
            self._spawn,
            GRACE,
            self.clock,
            self.told_ready.append,
            self.told_gone.append,
            self.failures.append,
            name,
        )

    def _spawn(self, worker: Worker) -> FakeProcess:
        if self.refusals:
            raise self.refusals.pop()
        self.spawned.append(worker)
        self.spawned_at.append(self.clock.seconds())
        return FakeProcess(1000 + len(self.spawned))

    @staticmethod
    def _count() -> Counter[str]:
        samples = (sample for metric in REGISTRY.collect() for sample in metric.samples)
        return Counter(
            {
                sample.labels["reason"]: int(sample.value)
                for sample in samples
                if sample.name == "twistserve_worker_restarts_total"
            }
        )

    @property
    def restarts(self) -> dict[str, int]:
        """How many replacements were counted since the crew was made, by reason."""
        return dict(self._count() - self.counted_before)

    @property
    def workers(self) -> Sequence[FakeWorker]:
        return cast("list[FakeWorker]", self.supervisor.workers)

    def of(self, *states: WorkerState) -> Sequence[FakeWorker]:
        return [worker for worker in self.workers if worker.state in states]

    def numbers(self, *states: WorkerState) -> list[int]:
        return sorted(worker.number for worker in (self.of(*states) if states else self.workers))

    def start(self) -> Crew:
        self.supervisor.start()
        self.get_ready()
        return self

    def get_ready(self) -> None:
        """Let each worker that is starting become ready, those that follow from that too."""
        while starting := self.of(STARTING):
            self.supervisor.became_ready(starting[0])

    def end(self, worker: FakeWorker, how: str = "status 0") -> None:
        """Let a worker's process end."""
        worker.process.gone = True
        self.supervisor.exited(worker, how)

    def run_for(self, seconds: float) -> None:
        self.clock.pump([0.5] * round(seconds * 2))

    def bury(self) -> None:
        """Let those end that were killed."""
        for worker in list(self.workers):
            if worker.process.killed:
                self.end(worker, "killed by SIGKILL")

    def roll(self) -> None:
        """Let what was begun go on until nothing is starting or draining."""
        self.bury()
        while changing := self.of(STARTING, DRAINING):
            if changing[0].state is STARTING:
                self.supervisor.became_ready(changing[0])
            else:
                self.end(changing[0])

    def wants(self, worker: Worker, cause: str = "lifetime") -> None:
        self.supervisor.wants_replacement(worker, cause, "a test")
