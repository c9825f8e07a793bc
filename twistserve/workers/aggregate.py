"""Checks, status and metrics of all workers together, for the probe port. Parent's reactor thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from twistserve.lifecycle import Lifecycle, State
from twistserve.metrics.exposition import Source
from twistserve.probes.checks import Result, Status
from twistserve.probes.responses import Results
from twistserve.status.report import PATIENCE
from twistserve.workers.protocol import Describe, RunProbe
from twistserve.workers.results import from_json
from twistserve.workers.supervisor import HEARTBEAT, Supervisor
from twistserve.workers.worker_state import Worker, WorkerState

MARGIN = 0.4
"""Seconds that a worker has to answer beyond the deadline of its checks."""
SOON, LOOK_EVERY = 1.0, 0.25
"""Seconds until it is first tested whether a worker that has not answered hangs, and between two such tests."""

OUTDATED = Result(Status.WARN, output="a new worker did not start, so the old ones stay; the log says why")


class _Question:
    """Has one worker run the checks of a probe, and another one if that one seems to hang, or ends.

    `answer` fires with the results of the worker that answers first, or with None if all that were asked have ended.
    """

    def __init__(
        self,
        probe: str,
        first: Worker,
        choose: Callable[[Sequence[Worker]], Worker | None],
        hangs: Callable[[Worker], bool],
        seconds: float,
        reactor: Any,
    ) -> None:
        self.answer: Deferred[Results | None] = Deferred()
        self._probe = probe
        self._choose = choose
        self._hangs = hangs
        self._reactor = reactor
        self._asked: list[Worker] = []
        self._waiting = 0
        self._deadline = reactor.callLater(seconds, self._too_late)
        self._looking = LoopingCall(self._look)
        self._looking.clock = reactor
        self._looking.start(LOOK_EVERY, now=False)
        self._ask(first)

    def _ask(self, worker: Worker) -> None:
        self._asked.append(worker)
        self._asked_at = self._reactor.seconds()
        self._waiting += 1
        worker.process.ask(RunProbe, probe=self._probe).addCallbacks(self._answered, self._failed)

    def _look(self) -> None:
        """Ask another worker if the last one seems to hang."""
        if self._reactor.seconds() - self._asked_at >= SOON and self._hangs(self._asked[-1]):
            self._ask_another()

    def _ask_another(self) -> None:
        another = self._choose(self._asked)
        if another is not None:
            self._ask(another)

    def _answered(self, answer: dict[str, Any]) -> None:
        self._end(from_json(answer["results"]))

    def _failed(self, failure: Failure) -> None:
        self._waiting -= 1
        if not self.answer.called:
            self._ask_another()
            if not self._waiting:
                self._end(None)

    def _too_late(self) -> None:
        names = " and ".join(f"worker {worker.number}" for worker in self._asked)
        self._end({"checks": Result(Status.FAIL, output=f"{names} did not run the checks in time")})

    def _end(self, found: Results | None) -> None:
        if self.answer.called:
            return
        self._looking.stop()
        if self._deadline.active():
            self._deadline.cancel()
        self.answer.callback(found)


class WorkersChecks:
    """The project's checks, run in one worker for all, and a line for each worker.

    The same worker runs them each time, as long as it serves and answers heartbeats, which it does even while a check
    hangs: it knows that the check still runs, does not start it again, and lets all probes share that run.
    """

    def __init__(self, supervisor: Supervisor, lifecycle: Lifecycle, seconds: float, reactor: Any) -> None:
        self._supervisor = supervisor
        self._lifecycle = lifecycle
        self._seconds = seconds
        self._reactor = reactor
        self._last: Worker | None = None
        """The worker that was asked last."""

    def ask(self, probe: str) -> Deferred[Results]:
        """The results of a probe's checks, and the workers'."""
        first = self._choose(())
        if first is None:
            return succeed(self._without_checks(probe))
        question = _Question(probe, first, self._choose, self._hangs, self._seconds + MARGIN, self._reactor)
        return question.answer.addCallback(
            lambda found: self._without_checks(probe) if found is None else {**self._lines(probe), **found}
        )

    def _choose(self, but: Sequence[Worker]) -> Worker | None:
        """The worker to run the checks: the last one if it does not hang, else the least busy of those that do not."""
        able = [each for each in self._supervisor.ready if self._supervisor.heard_lately(each) and each not in but]
        if self._last in able and not self._hangs(self._last):
            return self._last
        chosen = min(able, key=lambda each: (self._hangs(each), each.load.busy), default=None)
        self._last = chosen or self._last
        return chosen

    def _hangs(self, worker: Worker) -> bool:
        """Whether a worker seems to hang. One with a slow check does not: it answers heartbeats."""
        return self._supervisor.silence(worker) >= HEARTBEAT / 2

    def _lines(self, probe: str) -> Results:
        """A line for each worker. Old code is reported by readiness alone: a restart would not repair the new code."""
        lines = {f"worker:{worker.number}": self._of(worker) for worker in self._supervisor.workers}
        outdated = probe == "readiness" and self._supervisor.outdated
        return {**lines, "replacement": OUTDATED} if outdated else lines

    def _without_checks(self, probe: str) -> Results:
        """The results when no worker can run the checks."""
        if not self._lifecycle.started or (probe == "liveness" and self._lives()):
            return self._lines(probe)
        return {**self._lines(probe), "workers": Result(Status.FAIL, 0, "no worker is ready and answers")}

    def _lives(self) -> bool:
        """Whether any worker answers, in whichever state. While the service drains there may be none."""
        answering = any(map(self._supervisor.heard_lately, self._supervisor.workers))
        return answering or self._lifecycle.state is not State.READY

    def _of(self, worker: Worker) -> Result:
        if worker.state is not WorkerState.READY or self._supervisor.heard_lately(worker):
            return Result(Status.PASS, worker.state.value)
        return Result(Status.WARN, worker.state.value, "does not answer")


def describe_all(supervisor: Supervisor) -> Deferred[list[dict[str, Any]]]:
    """What the status page shows of each worker that serves or drains, and answers in time."""
    answers = supervisor.ask_all(Describe, PATIENCE)
    return answers.addCallback(
        lambda answers: [
            {**answer["status"], "number": worker.number} for worker, answer in answers if answer["status"]
        ]
    )


class AllMetrics:
    """A collector of the workers' metrics, added up, and of those that only the parent has. On a scrape's thread.

    Others in the parent's registry are left out: modules that the settings import may declare metrics, which count in
    workers.
    """

    def __init__(self, directory: Callable[[], str], own: Source) -> None:
        self._directory = directory
        self._own = own

    def collect(self) -> Iterator[Metric]:
        """The metrics of all processes."""
        lost: dict[str, Metric] = {}
        for metric in self._own.collect():
            if metric.name in LOST:
                lost[metric.name] = metric
            elif metric.name in PARENTS or metric.name.startswith(OF_A_PROCESS):
                yield metric
        for metric in MultiProcessCollector.merge(self._files()):
            if metric.name in lost:
                lost[metric.name] = _added(lost[metric.name], metric)
            elif metric.name not in PARENTS:
                yield metric
        yield from lost.values()

    def _files(self) -> list[str]:
        """The workers' files, except those that were created just now: prometheus-client cannot read an empty file."""
        found: list[str] = []
        directory = self._directory()
        for path in Path(directory).glob("*.db") if directory else ():
            with suppress(FileNotFoundError):
                if path.stat().st_size:
                    found.append(str(path))
        return found


def _added(one: Metric, other: Metric) -> Metric:
    """The sum of two counters without labels."""
    name = f"{one.name}_total"
    value = sum(sample.value for each in (one, other) for sample in each.samples if sample.name == name)
    return CounterMetricFamily(one.name, one.documentation, value=value)


PARENTS = frozenset(
    f"twistserve_{name}"
    for name in (
        *("build_info", "startup_seconds", "lifecycle_state", "probe_status", "worker_restarts"),
        *("service_up", "service_value"),
    )
)
"""Metrics that only the parent has."""
LOST = frozenset(("twistserve_log_lines_dropped", "twistserve_websocket_texts_dropped"))
"""Metrics that both parent and workers count."""
OF_A_PROCESS = ("process_", "python_")
"""Prefixes of prometheus-client's metrics of the process that is scraped."""
