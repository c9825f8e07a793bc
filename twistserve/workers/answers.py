"""What the probe port tells of all workers together. Parent's reactor thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prometheus_client import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from twisted.internet.defer import Deferred, succeed

from twistserve.exposition import Source
from twistserve.lifecycle import Lifecycle, State
from twistserve.probes.checks import Result, Status
from twistserve.probes.status import PATIENCE
from twistserve.web.threads import PoolSnapshot
from twistserve.workers.protocol import Describe, RunProbe
from twistserve.workers.supervisor import HEARTBEAT, Supervisor, Worker, WorkerState

Results = dict[str, Result]

MARGIN = 0.4
"""Seconds that a worker has for its answer beyond the deadline of its checks."""


def to_json(results: Results) -> dict[str, Any]:
    """Results as JSON can say them."""
    return {name: {**asdict(result), "status": result.status.value} for name, result in results.items()}


def from_json(results: dict[str, Any]) -> Results:
    """The same back."""
    return {name: Result(**{**fields, "status": Status(fields["status"])}) for name, fields in results.items()}


class WorkersPool:
    """The request threads of all workers, as their last heartbeats told."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    def snapshot(self) -> PoolSnapshot:
        """The sum of those that serve."""
        loads = [worker.load for worker in self._supervisor.ready if worker.load]
        return PoolSnapshot(*(sum(load[name] for load in loads) for name in ("threads", "busy", "queued", "stuck")))


class WorkersChecks:
    """The project's checks, run in one worker for all, and a line for each worker."""

    def __init__(self, supervisor: Supervisor, lifecycle: Lifecycle, seconds: float, reactor: Any) -> None:
        self._supervisor = supervisor
        self._lifecycle = lifecycle
        self._seconds = seconds
        self._reactor = reactor

    def ask(self, probe: str) -> Deferred[Results]:
        """The results of a probe's checks, and the workers'."""
        workers = {f"worker:{worker.number}": self._of(worker) for worker in self._supervisor.workers}
        asked = self._asked()
        if asked is None:
            if self._lifecycle.started and not (probe == "liveness" and self._lives()):
                workers["workers"] = Result(Status.FAIL, 0, "no worker is ready and answers")
            return succeed(workers)

        def failed(failure: Any) -> Results:
            return {"checks": Result(Status.FAIL, output=f"worker {asked.number} did not run the checks in time")}

        answer = asked.process.ask(RunProbe, probe=probe).addTimeout(self._seconds + MARGIN, self._reactor)
        answer.addCallbacks(lambda answer: from_json(answer["results"]), failed)
        return answer.addCallback(lambda found: {**workers, **found})

    def _lives(self) -> bool:
        """Whether some worker answers, though it is starting or draining; a drain ends with none."""
        answering = any(map(self._supervisor.heard_lately, self._supervisor.workers))
        return answering or self._lifecycle.state is not State.READY

    def _asked(self) -> Worker | None:
        """The worker to run the checks: one that has just answered, and has the least to do."""
        ready = [worker for worker in self._supervisor.ready if self._supervisor.heard_lately(worker)]

        def reluctance(worker: Worker) -> tuple[bool, bool, int]:
            missed = self._supervisor.silence(worker) >= HEARTBEAT / 2
            return missed, worker.asked_at is not None, worker.load.get("busy", 0)

        return min(ready, key=reluctance, default=None)

    def _of(self, worker: Worker) -> Result:
        if worker.state is not WorkerState.READY or self._supervisor.heard_lately(worker):
            return Result(Status.PASS, worker.state.value)
        return Result(Status.WARN, worker.state.value, "has not answered for some seconds")


def describe_all(supervisor: Supervisor) -> Deferred[list[dict[str, Any]]]:
    """What the workers that have requests tell of themselves for the status page, those that answer in time."""
    answers = supervisor.ask_all(Describe, PATIENCE)
    return answers.addCallback(lambda answers: [answer["status"] for _, answer in answers if answer["status"]])


class AllMetrics:
    """A collector of what the workers have counted together, and what only the parent knows. On a scrape's thread."""

    def __init__(self, directory: Callable[[], str], own: Source) -> None:
        self._directory = directory
        self._own = own

    def collect(self) -> Iterator[Metric]:
        """The metrics of all processes."""
        for metric in self._own.collect():
            if metric.name in PARENTS or not metric.name.startswith("twistserve_"):
                yield metric
        for metric in MultiProcessCollector.merge(self._files()):
            if metric.name not in PARENTS:
                yield metric

    def _files(self) -> list[str]:
        """The workers' files but those that one has only just made: prometheus-client cannot read an empty one."""
        found: list[str] = []
        directory = self._directory()
        for path in Path(directory).glob("*.db") if directory else ():
            with suppress(FileNotFoundError):
                if path.stat().st_size:
                    found.append(str(path))
        return found


PARENTS = frozenset(
    f"twistserve_{name}"
    for name in ("build_info", "startup_seconds", "lifecycle_state", "probe_status", "worker_restarts")
)
"""What the parent alone knows."""
