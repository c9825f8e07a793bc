"""Checks and metrics of all workers together; the workers are fakes, on a clock that the test moves."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry, Counter, PlatformCollector
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone

from tests.support.crew import STARTING, Crew, FakeProcess, FakeWorker
from twistserve.lifecycle import Lifecycle, State
from twistserve.load import Load
from twistserve.probes.checks import Result, Status, worst
from twistserve.workers.aggregate import AllMetrics, WorkersChecks
from twistserve.workers.protocol import RunProbe
from twistserve.workers.results import to_json
from twistserve.workers.worker_state import Worker

SECONDS = 5.0
"""The deadline of a probe's checks."""

Results = dict[str, Result]


class CheckedProcess(FakeProcess):
    """A process that runs checks, unless it is silent, and counts how often; they take until `finish` while `slow`."""

    slow = False
    found = Result(Status.PASS)

    def __init__(self, pid: int) -> None:
        super().__init__(pid)
        self.running: list[Deferred[dict[str, Any]]] = []

    @property
    def runs(self) -> int:
        return self.asked.count(RunProbe)

    def ask(self, command: Any, **arguments: Any) -> Deferred[dict[str, Any]]:
        if command is RunProbe and not self.gone:
            self.asked.append(command)
            if not self.slow and not self.silent:
                return succeed(self._results())
            self.running.append(Deferred())
            return self.running[-1]
        return super().ask(command, **arguments)

    def _results(self) -> dict[str, Any]:
        return {"results": to_json({"shop.open": self.found})}

    def finish(self) -> None:
        running, self.running = self.running, []
        for each in running:
            each.callback(self._results())

    def die(self) -> None:
        """End in the middle of what it was asked, which fails before the parent is told of the end."""
        self.gone = True
        for each in (*self.unanswered, *self.running):
            each.errback(ConnectionDone())


class CheckedWorker(FakeWorker):
    """What the type checker takes the parent's workers for."""

    process: CheckedProcess


class Parent(Crew):
    """A parent with its lifecycle, and what its probes answer."""

    def __init__(self, size: int = 2) -> None:
        super().__init__(size)
        self.lifecycle = Lifecycle(self.clock)
        self.checks = WorkersChecks(self.supervisor, self.lifecycle, SECONDS, self.clock)

    def _spawn(self, worker: Worker) -> CheckedProcess:
        super()._spawn(worker)
        return CheckedProcess(1000 + len(self.spawned))

    @property
    def workers(self) -> Sequence[CheckedWorker]:
        return cast("Sequence[CheckedWorker]", super().workers)

    def start(self) -> Parent:
        super().start()
        self.lifecycle.enter(State.READY, "a test")
        self.run_for(5)
        return self

    def put(self, probe: str) -> list[Results]:
        """The answer, as soon as it is there."""
        answers: list[Results] = []
        self.checks.ask(probe).addCallback(answers.append)
        return answers

    def ask(self, probe: str) -> Results | None:
        """The answer that there is by now."""
        return next(iter(self.put(probe)), None)

    def passes(self, probe: str) -> bool:
        results = self.ask(probe)
        assert results is not None
        return worst(result.status for result in results.values()) is not Status.FAIL


@pytest.mark.parametrize("probe", ["readiness", "liveness"])
def test_one_worker_runs_the_checks_for_all(probe: str) -> None:
    """Its results come with a line for each worker, and a check that fails makes the probe fail."""
    parent = Parent().start()
    assert parent.ask(probe) == {
        "worker:1": Result(Status.PASS, "ready"),
        "worker:2": Result(Status.PASS, "ready"),
        "shop.open": Result(Status.PASS),
    }
    assert sorted(worker.process.runs for worker in parent.workers) == [0, 1]
    for worker in parent.workers:
        worker.process.found = Result(Status.FAIL, output="stocktaking")
    results = parent.ask(probe)
    assert results is not None
    assert results["shop.open"].output == "stocktaking"
    assert not parent.passes(probe)


def test_the_least_busy_worker_is_asked() -> None:
    """As its last heartbeat told."""
    parent = Parent().start()
    busy, idle = parent.workers
    busy.process.load = Load(threads=2, busy=2, stuck=0)
    parent.run_for(2)
    parent.ask("readiness")
    assert (busy.process.runs, idle.process.runs) == (0, 1)


@pytest.mark.parametrize("position", [0, 1])
def test_a_worker_that_misses_a_heartbeat_is_not_asked(position: int) -> None:
    """Also just when the others are asked for theirs."""
    parent = Parent().start()
    silent, other = parent.workers[position], parent.workers[1 - position]
    silent.process.silent = True
    parent.run_for(2)
    for _ in range(6):
        parent.run_for(0.5)
        for other.asked_at in (parent.clock.seconds(), None):
            assert parent.passes("readiness")
            assert parent.passes("liveness")
    assert silent.process.runs == 0


def test_the_same_worker_is_asked_each_time() -> None:
    """However busy others are: it knows which of the checks still run. When it serves no more, another one."""
    parent = Parent().start()
    parent.ask("readiness")
    [first] = [worker for worker in parent.workers if worker.process.runs]
    [second] = [worker for worker in parent.workers if not worker.process.runs]
    for busy, probe in ((2, "readiness"), (0, "liveness"), (1, "readiness")):
        first.process.load = Load(threads=2, busy=busy, stuck=0)
        parent.run_for(1)
        assert parent.passes(probe)
    assert (first.process.runs, second.process.runs) == (4, 0)
    parent.wants(first)
    parent.get_ready()
    for probe in ("readiness", "liveness"):
        assert parent.passes(probe)
    assert first.process.runs == 4


def test_a_slow_check_is_waited_for() -> None:
    """A worker that answers heartbeats is at it: the same checks are not begun in another one."""
    parent = Parent().start()
    for worker in parent.workers:
        worker.process.slow = True
    answers = [parent.put("readiness"), parent.put("readiness")]
    parent.run_for(SECONDS - 1)
    [worker] = [worker for worker in parent.workers if worker.process.runs]
    assert worker.process.runs == 2
    worker.process.finish()
    assert [found["shop.open"].status for [found] in answers] == [Status.PASS] * 2
    hanging = parent.put("readiness")
    parent.run_for(SECONDS + 1)
    [results] = hanging
    assert results["checks"].status is Status.FAIL
    assert sum(each.process.runs for each in parent.workers) == worker.process.runs


@pytest.mark.parametrize("probe", ["readiness", "liveness"])
def test_another_worker_is_asked_where_one_does_nothing(probe: str) -> None:
    """Within two seconds or so, and from then on, also when the first one answers again."""
    parent = Parent(3).start()
    parent.ask(probe)
    [hanging] = [worker for worker in parent.workers if worker.process.runs]
    hanging.process.silent = True
    answers = [parent.put(probe), parent.put(probe)]
    parent.run_for(2)
    assert [found["shop.open"].status for [found] in answers] == [Status.PASS] * 2
    [other] = [worker for worker in parent.workers if worker.process.runs and worker is not hanging]
    assert other.process.runs == 2, "probes at the same time share a run there too"
    assert parent.passes(probe)
    hanging.process.answer()
    hanging.process.finish()
    parent.run_for(2)
    assert parent.passes(probe)
    assert (hanging.process.runs, other.process.runs) == (3, 4)
    assert parent.clock.getDelayedCalls() == [parent.supervisor._heartbeat._loop.call]


def test_a_worker_that_goes_on_in_time_is_heard() -> None:
    """Where all hang, the answer of the first that does so no more is the answer."""
    parent = Parent().start()
    for worker in parent.workers:
        worker.process.silent = True
    answers = parent.put("readiness")
    parent.run_for(3)
    assert answers == []
    assert [worker.process.runs for worker in parent.workers] == [1, 1]
    parent.workers[0].process.finish()
    [results] = answers
    assert results["shop.open"].status is Status.PASS


def test_a_worker_that_dies_while_it_checks() -> None:
    """Another one is asked at once; where there is none, that is the answer."""
    parent = Parent().start()
    for worker in parent.workers:
        worker.process.slow = True
    answers = parent.put("readiness")
    first, second = sorted(parent.workers, key=lambda worker: -worker.process.runs)
    first.process.die()
    parent.end(first, "killed by SIGKILL")
    assert (answers, second.process.runs) == ([], 1)
    second.process.die()
    [results] = answers
    assert results["workers"].status is Status.FAIL
    assert "checks" not in results


def test_checks_that_do_not_come_back() -> None:
    """The probe fails in time and names the workers."""
    parent = Parent(2).start()
    for worker in parent.workers:
        worker.process.silent = True
    answers = parent.put("readiness")
    parent.run_for(SECONDS - 1)
    assert answers == []
    parent.run_for(2)
    [results] = answers
    assert results["checks"].status is Status.FAIL
    assert {"worker 1", "worker 2"} <= {*re.findall(r"worker \d", str(results["checks"].output))}


def test_a_worker_that_is_silent_is_a_warning() -> None:
    """As long as another one answers."""
    parent = Parent().start()
    silent = parent.workers[0]
    silent.process.silent = True
    parent.run_for(12)
    results = parent.ask("readiness")
    assert results is not None
    assert (results["worker:1"].status, results["worker:2"].status) == (Status.WARN, Status.PASS)
    assert parent.passes("readiness")


@pytest.mark.parametrize("probe", ["readiness", "liveness"])
def test_no_worker_that_answers(probe: str) -> None:
    """When all have been silent for too long, until others are there that are heard."""
    parent = Parent().start()
    for worker in parent.workers:
        worker.process.silent = True
    parent.run_for(12)
    assert not parent.passes(probe)
    for worker in list(parent.workers):
        assert signal.SIGKILL in worker.process.signals
        parent.end(worker, "killed by SIGKILL")
    parent.get_ready()
    parent.run_for(2)
    assert parent.passes(probe)


@pytest.mark.parametrize("probe", ["readiness", "liveness"])
def test_a_silent_worker_does_not_live_as_it_dies(probe: str) -> None:
    """What it was asked fails at that moment, heartbeats too: that is no answer."""
    parent = Parent().start()
    for worker in parent.workers:
        worker.process.silent = True
    parent.run_for(9)
    answers = parent.put(probe)
    parent.run_for(2)
    for worker in list(parent.workers):
        worker.process.die()
        parent.end(worker, "killed by SIGKILL")
    [results] = answers
    assert worst(result.status for result in results.values()) is Status.FAIL


def test_a_starting_worker_lives_and_is_not_ready() -> None:
    """When all have died, the pod is not to be restarted while others start."""
    parent = Parent().start()
    parent.run_for(60)
    for worker in list(parent.workers):
        parent.end(worker, "killed by SIGKILL")
    parent.run_for(2)
    assert parent.numbers(STARTING) == [1, 2]
    assert parent.passes("liveness")
    assert not parent.passes("readiness")
    parent.supervisor.became_ready(parent.workers[0])
    assert parent.passes("readiness")


@pytest.mark.parametrize("probe", ["readiness", "liveness"])
def test_a_ready_worker_is_asked_at_once(probe: str) -> None:
    """Also before it has been asked for its first heartbeat."""
    parent = Parent(1)
    parent.supervisor.start()
    parent.get_ready()
    parent.lifecycle.enter(State.READY, "a test")
    assert parent.passes(probe)
    assert parent.workers[0].process.runs == 1


def test_a_drain_is_no_death() -> None:
    """Liveness passes from its beginning to its end, when no worker is left."""
    parent = Parent().start()
    parent.lifecycle.enter(State.DRAINING, "a test")
    parent.supervisor.stop()
    for worker in list(parent.workers):
        parent.run_for(2)
        assert parent.passes("liveness")
        parent.end(worker)
    assert parent.passes("liveness")


def test_a_scrape_while_a_worker_starts(tmp_path: Path) -> None:
    """A file that it has only just made holds nothing up; what others have counted is there, and the parent's own.

    A metric of the project's that the parent has declared too, with its settings, is there once.
    """
    own = CollectorRegistry()
    PlatformCollector(own)
    Counter("shop_orders", "Orders.", registry=own)
    Counter("twistserve_worker_restarts", "Restarts.", registry=own)
    Counter("twistserve_http_requests", "Requests.", registry=own)
    counted = MmapedDict(str(tmp_path / "counter_1.db"))
    counted.write_value(mmap_key("shop_orders", "shop_orders_total", [], [], "Orders."), 3.0, 0.0)
    counted.close()
    for name in ("counter_2.db", "gauge_livesum_2.db"):
        (tmp_path / name).touch()
    found = {metric.name: metric for metric in AllMetrics(lambda: str(tmp_path), own).collect()}
    assert found.keys() == {"python_info", "twistserve_worker_restarts", "shop_orders"}
    assert [sample.value for sample in found["shop_orders"].samples] == [3.0]


@pytest.mark.parametrize("directory", ["", "gone"])
def test_a_scrape_while_there_is_no_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, directory: str) -> None:
    """Before it is made and after it is removed there is what the parent counts itself."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "counter_1.db").write_bytes(b"no metrics")
    own = CollectorRegistry()
    Counter("twistserve_worker_restarts", "Restarts.", registry=own)
    found = AllMetrics(lambda: directory and str(tmp_path / directory), own).collect()
    assert [metric.name for metric in found] == ["twistserve_worker_restarts"]
