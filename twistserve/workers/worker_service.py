"""The workers as a service of the parent: their sockets, what runs once before they start, and their end.

Reactor thread, except `WorkerService.kill`.
"""

from __future__ import annotations

import twistserve.workers.amp_before_tls  # noqa: F401

# isort: split
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from prometheus_client.multiprocess import mark_process_dead
from setproctitle import setproctitle
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, inlineCallbacks, succeed

from twistserve.errors import StartError
from twistserve.http.port import Drain
from twistserve.lifecycle import Lifecycle, State
from twistserve.logs import get_logger
from twistserve.logs.containment import contain
from twistserve.metrics.catalogue import startup_seconds
from twistserve.net.open_files import SPARE, count_open, most_probes, raise_limit
from twistserve.options import Configuration
from twistserve.project.preparing import is_asked_for
from twistserve.workers.directory import make_directory, remove_abandoned
from twistserve.workers.from_worker import FromWorker
from twistserve.workers.preloaded_process import ForkedFromParent, ForkRequest
from twistserve.workers.preloaded_processes import PreloadedProcesses
from twistserve.workers.protocol import Begin, Deliver, LogStacks
from twistserve.workers.relay import Relay
from twistserve.workers.supervisor import MARGIN, Supervisor
from twistserve.workers.worker_process import WorkerProcess, environment_of_a_worker
from twistserve.workers.worker_state import Worker, WorkerState

logger = get_logger(__name__)

KILLED = 0.3
"""Seconds to wait for workers that were killed."""
PIPES = 5
"""Descriptors that the parent has open for each process, at most."""


def check_room_for(workers: int) -> None:
    """Raise the limit of open files as far as possible. Raises `StartError` if it is too low for so many processes."""
    usable = raise_limit()
    needed = count_open() + PIPES * (workers + 1) + most_probes() + SPARE
    if needed > usable:
        raise StartError(
            f"--workers: {workers} workers need {needed} open files in the parent, and the limit leaves {usable}:"
            " raise it (ulimit -Hn, LimitNOFILE=, the container runtime's default), or start fewer"
        )


class WorkerService(Service):
    """Runs the workers; the first that is ready makes the lifecycle READY.

    The first worker runs what is to run once; until that is done the others wait, with their modules loaded. `sockets`
    are bound, and shared with the workers. With `lines` the parent reads what processes write, and calls that with each
    line; else they write where the parent does, and lock the file `log_lock` meanwhile. `preloaded` is the preloaded
    process, if it was forked from the parent.
    """

    name = "workers"

    def __init__(
        self,
        configuration: Configuration,
        sockets: Sequence[socket.socket],
        lifecycle: Lifecycle,
        reactor: Any,
        lines: Callable[[str], None] | None = None,
        log_lock: int = -1,
        preloaded: ForkedFromParent | None = None,
    ) -> None:
        self._configuration = configuration
        self._log_lock = log_lock
        self._sockets = list(sockets)
        self._lifecycle = lifecycle
        self._reactor = reactor
        self._lines = lines
        self._drain = Drain(configuration.drain_delay, configuration.graceful_timeout)
        self._unprepared = is_asked_for(configuration)
        """Whether something still has to run once before workers may serve."""
        self._preparing: Worker | None = None
        """The worker that runs it."""
        self._waiting: list[Callable[[], None]] = []
        """Each call lets a worker begin that waits for it."""
        self._reload = False
        """Whether SIGHUP came meanwhile: the worker that runs it has imported old code."""
        self.metrics_directory = ""
        self.run_once: Callable[[Sequence[str]], Deferred[None]] = lambda names: succeed(None)
        """Called with the names of services that a worker leaves to other processes; it starts when that fires."""
        self._preloaded: PreloadedProcesses | None = None
        if configuration.preload:
            self._preloaded = PreloadedProcesses(
                configuration, lines, log_lock, self._preload_at_step, reactor, preloaded
            )
        self.supervisor = Supervisor(
            configuration.workers,
            self._spawn,
            configuration.graceful_timeout,
            reactor,
            self._on_ready,
            self._on_gone,
            lifecycle.fail,
        )

    def startService(self) -> None:
        """Begin as soon as the reactor runs. Raises `StartError`."""
        super().startService()
        setproctitle("twistserve: parent")
        # There are two preloaded processes while one replaces the other.
        check_room_for(self._configuration.workers + 2 * self._configuration.preload)
        try:
            remove_abandoned()
            self.metrics_directory = make_directory()
        except OSError as error:
            logger.warning(
                "there is no room for a directory of the workers' metrics: %s. They serve, but /metrics tells nothing"
                " of their requests until the next start; set TMPDIR to a directory that can be written",
                error,
            )
        if self._preloaded is not None:
            self._preloaded.start(environment_of_a_worker(self.metrics_directory or None))
        self._reactor.callWhenRunning(self._begin)

    @inlineCallbacks
    def stopService(self) -> Any:
        """Let the workers serve for --drain-delay, then drain; kill those that have not ended in time."""
        super().stopService()
        self.supervisor.leave()
        if self.supervisor.ready and self._drain.delay:
            logger.info("draining: new requests are served for %g s more, until the ports close", self._drain.delay)
            yield self._lifecycle.wait(Deferred(), self._drain.delay)
        # Workers close theirs when they have accepted the connections that wait.
        for each in self._sockets:
            address = each.getsockname() if each.family == socket.AF_UNIX else ""
            each.close()
            if address:
                with suppress(OSError):
                    os.unlink(address)
        stopped = self._stop_processes()
        yield self._lifecycle.wait(stopped, self._drain.timeout + MARGIN + KILLED)
        if not stopped.called:
            self.supervisor.kill_all()
            if self._preloaded is not None:
                self._preloaded.kill()
            yield self._stop_processes().addTimeout(KILLED, self._reactor).addErrback(lambda failure: None)
        if self.metrics_directory:
            shutil.rmtree(self.metrics_directory, ignore_errors=True)

    def _stop_processes(self) -> Deferred[Any]:
        """Let all processes end; fires when they have ended."""
        preloaded = self._preloaded.stop() if self._preloaded is not None else succeed(None)
        return DeferredList([self.supervisor.stop(), preloaded], consumeErrors=True)

    def reload(self) -> None:
        """Replace the workers by ones with freshly imported code (SIGHUP)."""
        if self._lifecycle.state not in (State.STARTING, State.READY):
            logger.info("received SIGHUP while draining: workers are not replaced any more")
        elif self._unprepared:
            logger.info("received SIGHUP before workers serve: they will import what is there when they start")
            self._reload = self._preloaded is None
        else:
            try:
                if self._preloaded is not None:
                    self._preloaded.reload()
            except OSError as error:
                logger.error("--preload: its process cannot be started: %s; the old workers stay", error.strerror)
                return
            self.supervisor.replace_all()

    def kill(self) -> None:
        """Send SIGKILL to all processes, and log nothing; callable from any thread."""
        for worker in self.supervisor.workers:
            if not worker.waits:
                worker.process.signal(signal.SIGKILL)
        if self._preloaded is not None:
            self._preloaded.kill()

    def log_stacks(self) -> None:
        """Have every worker log the stacks of its threads."""
        for worker in self.supervisor.workers:
            worker.process.ask(LogStacks)

    # The start-up

    def _begin(self) -> None:
        """Start the workers. It takes a while until the first reports a step: Python has to start."""
        if self._lifecycle.state is State.STARTING:
            self._lifecycle.at_step("starting the workers")
            self.supervisor.start()
            if self._preloaded is not None and not self._unprepared:
                self._preloaded.load()

    def _preload_at_step(self, step: str) -> None:
        """The preloaded process has begun a step, for which workers wait."""
        for worker in self.supervisor.workers:
            if worker.waits:
                worker.step = f"waiting for the preloaded process: {step}"
        self._lifecycle.follow(f"starting the workers: {step}", "")

    def _prepared(self) -> None:
        """What was to run once has run."""
        if self._lifecycle.state is not State.STARTING:
            return
        worker, self._preparing, self._unprepared = self._preparing, None, False
        assert worker is not None
        worker.prepares = False
        if self._preloaded is not None:
            self.supervisor.replace_after_end(worker)
            self._preloaded.load()
        if self._reload:
            self.supervisor.start_anew(worker)
        waiting, self._waiting = self._waiting, []
        for begin in waiting:
            begin()

    # The workers

    def _spawn(self, worker: Worker) -> WorkerProcess:
        prepares = self._unprepared and self._preparing is None

        def failed(message: str) -> None:
            worker.failure = message

        def at_step(step: str, detail: str) -> None:
            worker.step = f"{step}: {detail}" if detail else step
            self._lifecycle.follow(step if self._unprepared else f"starting the workers: {step}", detail)

        commands = FromWorker(
            at_step,
            lambda: self.supervisor.became_ready(worker),
            failed,
            lambda cause, reason: self.supervisor.wants_replacement(worker, cause, reason),
            self._prepared,
            self.run_once,
            publish=lambda group, text: self.publish(group, text, worker),
        )
        process = WorkerProcess(commands, lambda how: self._exited(worker, how), self._lines)
        worker.relay = Relay(lambda message: process.ask(Deliver, message=message), f"worker {worker.number}")
        name, descriptors = f"worker-{worker.number}", [each.fileno() for each in self._sockets]
        if self._preloaded is not None and not prepares:
            self._fork(self._preloaded, worker, process, name, descriptors)
            self._let_begin(process, False)
            return process
        environ = environment_of_a_worker(self.metrics_directory or None)
        process.start(self._reactor, name, environ, descriptors, self._log_lock)
        if prepares:
            worker.prepares, self._preparing = True, worker
        if prepares or not self._unprepared:
            self._let_begin(process, prepares)
        else:
            worker.step = "waiting for what runs once"
            self._waiting.append(partial(self._let_begin, process, False))
        return process

    def _fork(
        self, preloaded: PreloadedProcesses, worker: Worker, process: WorkerProcess, name: str, sockets: list[int]
    ) -> None:
        """Have a worker forked. Commands that are sent before it exists wait in its pipe. Raises OSError."""
        forked = process.start_forked(self._reactor, preloaded.orphans)
        worker.waits = True
        waiting_for = "what runs once" if self._unprepared else f"the preloaded process: {preloaded.step}"
        worker.step = f"waiting for {waiting_for}"

        def begun(pid: int) -> None:
            process.pid, worker.waits = pid, False
            worker.step = "being forked"

        def failed(reason: str) -> None:
            worker.failure = reason
            forked.give_up()

        try:
            preloaded.fork(ForkRequest(name, forked, sockets, begun, failed))
        except OSError:
            forked.pass_on()
            raise

    def publish(self, group: str, text: str, sender: Worker | None = None) -> None:
        """Have the workers, but for the sender, send a text to the WebSockets of a group."""
        for worker in self.supervisor.workers:
            if worker is not sender and worker.state in (WorkerState.READY, WorkerState.DRAINING):
                worker.relay.send(group, text)

    def _let_begin(self, process: WorkerProcess, prepares: bool) -> None:
        configuration = self._configuration.values()
        begun = process.ask(Begin, configuration=configuration, path=sys.path, prepares=prepares)
        begun.addErrback(lambda failure: None)

    def _exited(self, worker: Worker, how: str) -> None:
        self.supervisor.exited(worker, how)
        if worker is self._preparing:
            # Not as soon as it reports a failure: it first writes its log and calls functions registered with atexit.
            self._lifecycle.fail(worker.failure or f"{worker} has ended before the start-up was done: {how}")

    def _on_ready(self, worker: Worker) -> None:
        if self._lifecycle.state is State.STARTING:
            seconds = self._lifecycle.age
            self._lifecycle.enter(State.READY, "the first worker is ready")
            contain(startup_seconds.set, seconds)

    def _on_gone(self, worker: Worker) -> None:
        if self.metrics_directory:
            mark_process_dead(worker.number, self.metrics_directory)
