"""The processes of services that run once beside the workers: one for each, supervised like a worker.

Parent's reactor thread, except `ServiceProcesses.kill`.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

from prometheus_client.multiprocess import mark_process_dead
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, gatherResults, inlineCallbacks, succeed

from twistserve.lifecycle import Lifecycle, State
from twistserve.logs import get_logger
from twistserve.options import Configuration
from twistserve.probes.checks import Result, Status
from twistserve.probes.responses import Results
from twistserve.services.hosted import RUNNING
from twistserve.services.loading import Declared, declared
from twistserve.status.report import PATIENCE
from twistserve.workers.aggregate import MARGIN
from twistserve.workers.from_worker import FromWorker
from twistserve.workers.protocol import SERVICE, Begin, DescribeServices, LogStacks, RunProbe
from twistserve.workers.results import from_json
from twistserve.workers.supervisor import Supervisor
from twistserve.workers.worker_process import WorkerProcess, environment_of_a_worker
from twistserve.workers.worker_service import KILLED
from twistserve.workers.worker_state import Worker

logger = get_logger(__name__)

STOP = 2.5
"""Seconds that services have to stop when the requests have used up --graceful-timeout; then they are killed."""


class ServiceProcesses(Service):
    """Runs each service that workers leave to it in a process.

    `metrics_directory` returns where the processes write metrics, `workers` supervises the workers, and `publish` has
    them send a text to the WebSockets of a group. For `lines` and `log_lock` see `WorkerService`.
    """

    name = "services"

    def __init__(
        self,
        configuration: Configuration,
        lifecycle: Lifecycle,
        metrics_directory: Callable[[], str],
        workers: Supervisor,
        publish: Callable[[str, str], None],
        reactor: Any,
        lines: Callable[[str], None] | None = None,
        log_lock: int = -1,
    ) -> None:
        self._configuration = configuration
        self._lifecycle = lifecycle
        self._metrics_directory = metrics_directory
        self._workers = workers
        self._publish = publish
        self._reactor = reactor
        self._lines = lines
        self._log_lock = log_lock
        self._declared = {each.name: each for each in declared(configuration)}
        self._supervisors: dict[str, Supervisor] = {}
        self._leaving: list[Supervisor] = []
        """Those of services that are to run in each worker from now on, until their processes have ended."""
        self._waiting: list[Deferred[None]] = []
        """Of workers that start when all of the services run."""
        self._without_check: set[str] = set()
        """The names of services that have no readiness check."""

    def startService(self) -> None:
        """Have services know of a drain from its beginning."""
        super().startService()
        self._lifecycle.observe(self._follow)

    def _follow(self, state: State, reason: str) -> None:
        if state is State.DRAINING:
            for supervisor in self._supervisors.values():
                supervisor.leave()

    def run_once(self, names: Sequence[str]) -> Deferred[None]:
        """Have a process for each of these services, and for no others: a worker has found them to run once.

        During the start of the instance this fires when all of them run; later when those that are to run in workers
        have ended.
        """
        for name in self._supervisors.keys() - set(names) if self.running else ():
            logger.info("%s runs in each worker now", self._declared[name])
            self._leave(self._supervisors.pop(name))
        ended: Deferred[Any] = DeferredList([each.stop() for each in self._leaving])
        return ended.addCallback(lambda results: self._run(names))

    def _leave(self, supervisor: Supervisor) -> None:
        self._leaving.append(supervisor)
        supervisor.stop().addCallback(lambda result: self._leaving.remove(supervisor))

    def _run(self, names: Sequence[str]) -> Deferred[None]:
        if not self.running:
            return succeed(None)
        for name in names:
            if name in self._declared and name not in self._supervisors:
                self._start(self._declared[name])
        waiter: Deferred[None] = Deferred()
        self._waiting.append(waiter)
        self._let_start()
        return waiter

    def _tell_progress(self) -> None:
        """Name the services that do not run yet, for the startup probe."""
        if late := [name for name, supervisor in self._supervisors.items() if not supervisor.ready]:
            self._lifecycle.follow("starting the services", ", ".join(late))

    def _let_start(self) -> None:
        """Let workers start that wait for services."""
        self._tell_progress()
        if self._lifecycle.state is State.STARTING and not all(each.ready for each in self._supervisors.values()):
            return
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(None)

    def _start(self, service: Declared) -> None:
        supervisor = Supervisor(
            1,
            lambda worker: self._spawn(service, worker),
            self._configuration.graceful_timeout,
            self._reactor,
            lambda worker: self._let_start(),
            lambda worker: self._gone(service),
            lambda reason: self._failed(service, reason),
            f"service {service.name}",
        )
        self._supervisors[service.name] = supervisor
        supervisor.start()

    def _spawn(self, service: Declared, worker: Worker) -> WorkerProcess:
        supervisor = self._supervisors[service.name]

        def at_step(step: str, detail: str) -> None:
            worker.step = f"{step}: {detail}" if detail else step
            self._tell_progress()

        def failed(message: str) -> None:
            worker.failure = message

        commands = FromWorker(
            at_step,
            lambda: supervisor.became_ready(worker),
            failed,
            lambda cause, reason: supervisor.wants_replacement(worker, cause, reason),
            may_start=lambda: supervisor.make_way(worker),
            publish=self._publish,
        )
        process = WorkerProcess(commands, lambda how: supervisor.exited(worker, how), self._lines)
        environ = environment_of_a_worker(self._metrics_directory() or None)
        process.start(self._reactor, f"{SERVICE}{service.name}", environ, [], self._log_lock)
        configuration = self._configuration.values()
        begun = process.ask(Begin, configuration=configuration, path=sys.path, prepares=False)
        begun.addErrback(lambda failure: None)
        return process

    def _gone(self, service: Declared) -> None:
        if directory := self._metrics_directory():
            mark_process_dead(service.name, directory)

    def _failed(self, service: Declared, reason: str) -> None:
        """A service has never run: that ends a start, but not what serves already."""
        if self._lifecycle.state is State.STARTING:
            self._lifecycle.fail(reason)
        else:
            logger.error("%s does not run: %s; SIGHUP tries again", service, reason)

    # What the parent does with them

    def reload(self) -> None:
        """Replace each process by one with freshly imported code, whose service starts when the old one has ended."""
        for name, supervisor in list(self._supervisors.items()):
            if supervisor.running:
                supervisor.replace_all()
            else:
                self._start(self._declared[name])

    def kill(self) -> None:
        """Send SIGKILL to all processes, and log nothing; callable from any thread."""
        for supervisor in [*self._supervisors.values(), *self._leaving]:
            for worker in list(supervisor.workers):
                worker.process.signal(signal.SIGKILL)

    def log_stacks(self) -> None:
        """Have every process log the stacks of its threads."""
        for supervisor in [*self._supervisors.values(), *self._leaving]:
            for worker in supervisor.workers:
                worker.process.ask(LogStacks)

    @inlineCallbacks
    def stopService(self) -> Any:
        """Stop all at the same time; kill those that have not ended within what is left of the drain's time."""
        super().stopService()
        drain = self._configuration.drain_delay + self._configuration.graceful_timeout
        seconds = max(drain - self._lifecycle.age, 0.0) * self._lifecycle.started + STOP
        asked_at = self._reactor.seconds()
        yield self._lifecycle.wait(self._stop_processes(), seconds)
        late = [name for name, supervisor in self._supervisors.items() if supervisor.workers]
        for name in late:
            took = self._reactor.seconds() - asked_at
            logger.error("%s has not stopped after %.1f s: its process is killed", self._declared[name], took)
        if late:
            self.kill()
            yield self._stop_processes().addTimeout(KILLED, self._reactor).addErrback(lambda failure: None)

    def _stop_processes(self) -> Deferred[Any]:
        stopped = [supervisor.stop() for supervisor in [*self._supervisors.values(), *self._leaving]]
        return DeferredList(stopped, consumeErrors=True) if stopped else succeed(None)

    # What the parent tells of them

    def check(self) -> Deferred[Results]:
        """What readiness is told of each service that runs once."""
        asked = [self._check(name, supervisor) for name, supervisor in self._supervisors.items()]
        return gatherResults(asked).addCallback(lambda found: {name: result for each in found for name, result in each})

    def _check(self, name: str, supervisor: Supervisor) -> Deferred[list[tuple[str, Result]]]:
        label = f"service:{name}"
        asked = [each for each in supervisor.ready if supervisor.heard_lately(each)]
        if not asked:
            return succeed([(label, self._absent(name, "its process does not run or does not answer"))])
        answer = asked[0].process.ask(RunProbe, probe="readiness")
        answer.addTimeout(self._configuration.check_timeout + MARGIN, self._reactor)
        found: Deferred[Results] = answer.addCallback(lambda answer: from_json(answer["results"]))

        def note(results: Results) -> list[tuple[str, Result]]:
            if results[label].observed == RUNNING:
                self._without_check.add(name)
            return list(results.items())

        return found.addCallback(note).addErrback(
            lambda failure: [(label, self._absent(name, "its process did not answer"))]
        )

    def _absent(self, name: str, output: str) -> Result:
        """Without its process a service fails its readiness check; one that has none is no reason to fail."""
        return Result(Status.WARN if name in self._without_check else Status.FAIL, output=output)

    def describe(self) -> Deferred[list[dict[str, Any]]]:
        """Each service, for the status page and the metrics; those in workers once for each."""
        asked = {"": self._workers, **self._supervisors}
        answers = gatherResults([each.ask_all(DescribeServices, PATIENCE) for each in asked.values()])
        return answers.addCallback(lambda found: list(self._described(dict(zip(asked, found, strict=True)))))

    def _described(self, answers: dict[str, list[tuple[Worker, dict[str, Any]]]]) -> Any:
        for name, of_processes in answers.items():
            for worker, answer in of_processes:
                where = f"process {worker.process.pid}" if name else f"worker {worker.number}"
                yield from ({**each, "where": where} for each in answer["services"])
            if name and not any(answer["services"] for _, answer in of_processes):
                where = "its process does not run or does not answer"
                absent = {"state": "stopped", "seconds": 0.0, "up": False, "values": {}, "where": where}
                yield self._declared[name]._asdict() | absent
