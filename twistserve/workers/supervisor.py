"""Keeps as many workers serving as there should be, whatever happens to them.

Everything here belongs to the parent's reactor thread. Processes are behind `Process` and started by `Spawn`, so that
every transition can be tested without one.
"""

from __future__ import annotations

import enum
import signal
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.python.failure import Failure

from twistserve.backoff import backoff
from twistserve.load import Load
from twistserve.logs import get_logger
from twistserve.logs.containment import contain
from twistserve.metrics.catalogue import worker_restarts
from twistserve.periodic import PeriodicService
from twistserve.workers.protocol import AnnounceEnd, DrainWorker, Heartbeat

logger = get_logger(__name__)

HEARTBEAT = 1.0
"""Seconds between two heartbeats."""
SILENCE = 10.0
"""Seconds that a worker may take to answer one; then it is killed."""
FIRST_SILENCE = 60.0
"""The same for a worker that has not answered yet: Python and its modules are loading."""
SLOW_START = 60.0
"""Seconds of starting after which the log says how it gets on, and again after as many."""
STEADY = 10.0
"""Seconds that a worker has served when its death is no reason to wait before starting the next."""
PAUSE = backoff(0.5, 30.0)
"""Seconds before a worker is started in the place of those that died early, one after another."""
MARGIN = 3.2
"""Seconds that a worker has for ending after its requests had their time; a little less by its own clock."""


SIGNAL = "signal"
"""The cause that does not come again by itself."""
FAILED = "replacement_failed"
"""What is counted of a worker that did not start in the place of one that stays."""
PREPARED = "prepared"
"""Of one that has only run what is to run once, which is not counted."""
RESTART_REASONS = ("died", "unresponsive", "stuck", "lifetime", "age", "memory", "reload", SIGNAL, "resized", FAILED)
"""Why workers end, as a metric's label."""


class WorkerState(enum.Enum):
    """The states of a worker, in their order."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    GONE = "gone"


class Process(Protocol):
    """A worker's process."""

    pid: int
    at_end: bool
    """Whether its reactor has ended: it answers nothing any more, and calls what is registered with atexit."""

    def ask(self, command: Any, **arguments: Any) -> Deferred[dict[str, Any]]:
        """Send an AMP command; fails when the process is gone."""

    def signal(self, number: int) -> None:
        """Send a signal; nothing happens if the process is gone."""


@dataclass(eq=False)
class Worker:
    """What the parent knows of a worker; times in the reactor's seconds."""

    number: int
    since: float
    process: Process = field(init=False)
    state: WorkerState = WorkerState.STARTING
    prepares: bool = False
    """Whether it runs what is to run once: a migration is not killed for C code that holds Python's lock."""
    waits: bool = False
    """Whether it has no process yet: another one forks it when that has the application."""
    step: str = "loading Python's modules"
    """What its start is at, and how it gets on."""
    slow: int = 0
    """How often the log was told that it is still starting."""
    ready_since: float | None = None
    heard: bool = False
    lost: bool = False
    """Whether it cannot be asked any more: its process has ended, or soon will have."""
    asked_at: float | None = None
    """When the heartbeat was sent that it has not answered yet."""
    load: Load = field(default_factory=Load)
    predecessor: Worker | None = None
    """The worker that drains as soon as this one is ready."""
    end: str = ""
    """Why we ended it, as a metric's label; empty if it ended by itself."""
    failure: str | None = None
    kill: Any = None

    def __str__(self) -> str:
        return f"worker {self.number} (pid {self.process.pid})" if not self.waits else f"worker {self.number}"


Spawn = Callable[[Worker], Process]


class Supervisor:
    """Starts, watches, replaces and ends workers.

    `on_ready` is called with each worker that becomes ready, `on_gone` with each that has ended, and
    `on_failure` with the reason when the first ones have ended without any having ever been ready.
    """

    def __init__(
        self,
        size: int,
        spawn: Spawn,
        graceful_timeout: float,
        reactor: Any,
        on_ready: Callable[[Worker], None],
        on_gone: Callable[[Worker], None],
        on_failure: Callable[[str], None],
    ) -> None:
        self.size = size
        self.workers: list[Worker] = []
        self.outdated = False
        """Whether the last replacement did not start: those that serve may have old code."""
        self._spawn = spawn
        self._graceful_timeout = graceful_timeout
        self._reactor = reactor
        self._on_ready = on_ready
        self._on_gone = on_gone
        self._on_failure = on_failure
        self._ever_ready = False
        self._stopping = self._leaving = False
        self._early_deaths = 0
        self._not_before = 0.0
        self._pending: list[Any] = []
        self._replacements: deque[tuple[Worker, str]] = deque()
        self._empty: list[Deferred[None]] = []
        self._last_beat = 0.0
        # Started and stopped here: heartbeats go on until the last worker has ended, when the tree has begun to stop.
        self._heartbeat = PeriodicService(HEARTBEAT, self.beat, reactor)
        for reason in RESTART_REASONS:
            worker_restarts.labels(reason)

    @property
    def running(self) -> bool:
        """Whether there are workers, or are to be."""
        return bool(self._heartbeat.running) and not self._stopping

    @property
    def ready(self) -> list[Worker]:
        """The workers that serve."""
        return [worker for worker in self.workers if worker.state is WorkerState.READY]

    def snapshot(self) -> Load:
        """The load of those that serve together, as their last heartbeats told."""
        return Load.total(worker.load for worker in self.ready)

    def silence(self, worker: Worker) -> float:
        """Seconds for which the worker has left a heartbeat unanswered."""
        return 0.0 if worker.asked_at is None else float(self._reactor.seconds() - worker.asked_at)

    def heard_lately(self, worker: Worker) -> bool:
        """Whether the worker answers heartbeats, and in time."""
        return worker.waits or (worker.heard and not worker.lost and self.silence(worker) < SILENCE)

    def start(self) -> None:
        """Start the workers."""
        self._heartbeat.startService()
        self._fill()

    # What workers do

    def became_ready(self, worker: Worker) -> None:
        """A worker serves."""
        if worker.state is not WorkerState.STARTING:
            return
        now = self._reactor.seconds()
        worker.state, worker.ready_since = WorkerState.READY, now
        # That is a sign of life too.
        worker.heard = True
        logger.info("%s is ready after %.1f s", worker, now - worker.since)
        first, self._ever_ready = not self._ever_ready, True
        old, worker.predecessor = worker.predecessor, None
        if self._stopping:
            self._retire(worker, last=True)
            return
        if self._leaving:
            self._announce_end(worker)
        self._on_ready(worker)
        if old is not None:
            self.outdated = False
            self._retire(old)
        if len(self._members()) > self.size:
            self._retire(worker)
        if first:
            self._fill()
        self._replace_next()

    def wants_replacement(self, worker: Worker, cause: str, reason: str) -> None:
        """A worker has served long enough, or cannot serve any more: another one first, then it drains."""
        if worker.prepares:
            self._on_failure(f"{worker} was at what runs once: {reason}")
            return
        if worker.state is WorkerState.STARTING:
            # It does not serve yet, and may never do so.
            worker.failure = reason
            worker.process.signal(signal.SIGKILL)
            return
        too_early = cause != SIGNAL and self._reactor.seconds() < self._not_before
        if worker.state is not WorkerState.READY or self._leaving or too_early or self._is_being_replaced(worker):
            return
        logger.info("%s is replaced: %s", worker, reason)
        self._replacements.append((worker, cause))
        self._replace_next()

    def exited(self, worker: Worker, how: str) -> None:
        """A worker's process has ended."""
        state, worker.state = worker.state, WorkerState.GONE
        self.workers.remove(worker)
        for successor in self.workers:
            if successor.predecessor is worker:
                successor.predecessor = None
        if worker.kill is not None and worker.kill.active():
            worker.kill.cancel()
        self._on_gone(worker)
        if self._stopping:
            if not self.workers:
                self._all_gone()
            return
        if state is WorkerState.DRAINING or (worker.end == "unresponsive" and worker.predecessor is None):
            logger.info("%s has ended: %s", worker, how)
            if worker.end != PREPARED:
                contain(worker_restarts.labels(worker.end or "resized").inc)
        else:
            self._died(worker, state, how)
        self._fill()
        self._replace_next()

    def _died(self, worker: Worker, state: WorkerState, how: str) -> None:
        """A worker has ended without having been told to."""
        now = self._reactor.seconds()
        reason = worker.failure or how
        steady = worker.ready_since is not None and now - worker.ready_since >= STEADY
        self._early_deaths = 0 if steady else self._early_deaths + 1
        if state is WorkerState.STARTING and worker.predecessor is not None:
            contain(worker_restarts.labels(FAILED).inc)
            self._keep(worker.predecessor, f"{worker} does not start: {reason}")
        else:
            contain(worker_restarts.labels("unresponsive" if worker.end == "unresponsive" else "died").inc)
            logger.error("%s has died: %s", worker, reason)
        self._give_up(worker.failure or f"{worker} has ended before it was ready: {how}")

    def _keep(self, old: Worker, reason: str) -> None:
        """A worker cannot be replaced: new code that does not start in one will not in the others."""
        logger.error("%s; the old workers stay", reason)
        self.outdated = True
        self._replacements.clear()
        old.end = ""
        self._not_before = self._reactor.seconds() + self._pause()

    def _give_up(self, reason: str) -> None:
        """End the service if none has ever been ready, and none is left that could be."""
        if not self._ever_ready and not self.workers:
            self._stopping = self._leaving = True
            self._on_failure(reason)

    # What people want

    def replace_all(self) -> None:
        """Replace every worker by one with freshly imported code, one at a time.

        What is starting does not serve yet, and may have imported old code, or code that never lets it be ready: it is
        killed at once. What was broken may be mended, so that nothing waits for the end of a pause either.
        """
        if not self.running or self._leaving:
            return
        logger.info("replacing all workers, one by one")
        self._early_deaths, self._not_before = 0, 0.0
        for call in self._pending:
            if call.active():
                call.cancel()
        for worker in list(self.workers):
            if worker.state is WorkerState.STARTING:
                self._discard(worker, "reload")
        for worker in self.ready:
            if not self._is_being_replaced(worker):
                self._replacements.append((worker, "reload"))
        self._fill()
        self._replace_next()

    def start_anew(self, worker: Worker) -> None:
        """Start another in the place of a worker that has not served yet."""
        self._early_deaths = 0
        self._discard(worker, "reload")
        self._fill()

    def make_way(self, worker: Worker) -> None:
        """A worker that has only run what is to run once ends by itself; another one comes in its place then."""
        worker.state, worker.end = WorkerState.DRAINING, PREPARED
        # Those that died meanwhile had not tried to start yet.
        self._early_deaths = 0
        self._kill_if_late(worker)

    def _discard(self, worker: Worker, cause: str) -> None:
        """End a worker that has not served yet; the next to be replaced is the one that it was to replace."""
        old, worker.predecessor = worker.predecessor, None
        if old is not None:
            self._replacements.appendleft((old, cause))
        logger.info("%s is killed: it would have old code", worker)
        worker.state, worker.end = WorkerState.DRAINING, cause
        worker.process.signal(signal.SIGKILL)

    def resize(self, by: int) -> None:
        """Have one worker more, or one less; never none."""
        if self._stopping:
            return
        if self.size + by < 1:
            logger.info("the last worker stays")
            return
        self.size += by
        logger.info("%d workers are wanted now", self.size)
        if by > 0:
            self._fill()
        elif len(members := self._members()) > self.size:
            # One that is starting rather than the only one that serves.
            self._retire(max(reversed(members), key=lambda worker: worker.state is WorkerState.STARTING))

    def leave(self) -> None:
        """The end is near: start no worker any more but in the place of one that dies; their clients are to know."""
        self._leaving = True
        for worker in self.ready:
            self._announce_end(worker)

    def _announce_end(self, worker: Worker) -> None:
        worker.process.ask(AnnounceEnd).addErrback(lambda failure: None)

    def stop(self) -> Deferred[None]:
        """End all workers, gracefully; fires when they have ended."""
        self._stopping = self._leaving = True
        for call in self._pending:
            if call.active():
                call.cancel()
        for worker in list(self.workers):
            self._retire(worker, last=True)
        gone: Deferred[None] = Deferred()
        self._empty.append(gone)
        if not self.workers:
            self._all_gone()
        return gone

    def kill_all(self) -> None:
        """End all workers now. What they are at they cannot log any more."""
        for worker in self.workers:
            if requests := worker.load.requests:
                logger.warning("%s is killed: at its last heartbeat %d requests were in flight", worker, requests)
            worker.process.signal(signal.SIGKILL)

    def ask_all(self, command: Any, seconds: float) -> Deferred[list[tuple[Worker, Any]]]:
        """Ask every worker that has requests, those that drain too; what those answer that do so in time."""
        workers = [worker for worker in self.workers if worker.state in (WorkerState.READY, WorkerState.DRAINING)]
        asked = [worker.process.ask(command).addTimeout(seconds, self._reactor) for worker in workers]

        def pair(answers: list[tuple[bool, Any]]) -> list[tuple[Worker, Any]]:
            return [(worker, answer) for worker, (answered, answer) in zip(workers, answers, strict=True) if answered]

        return DeferredList(asked, consumeErrors=True).addCallback(pair) if asked else succeed([])

    # Keeping the number

    def _members(self) -> list[Worker]:
        """The workers that count: not those that drain, nor those that are to replace another one.

        One that makes way does until it has ended: the one in its place is to have its number.
        """
        counted = (WorkerState.STARTING, WorkerState.READY)
        return [
            worker
            for worker in self.workers
            if (worker.state in counted and worker.predecessor is None) or worker.end == PREPARED
        ]

    def _fill(self) -> None:
        """Start what is missing: at once, or after a pause if the last ones died early.

        As long as none has ever been ready, none is started in the place of one that died: what keeps all of the
        first from starting would keep the next, and ends the service.
        """
        self._pending = [call for call in self._pending if call.active()]
        missing = self.size - len(self._members()) - len(self._pending)
        if not self.running or (self._early_deaths and not self._ever_ready):
            return
        for _ in range(missing):
            if self._early_deaths > 1:
                pause = self._pause()
                logger.info("the next worker is started in %g s", pause)
                self._pending.append(self._reactor.callLater(pause, self._start_if_missing))
            else:
                self._start_one()

    def _pause(self) -> float:
        return PAUSE(max(self._early_deaths - 2, 0))

    def _start_if_missing(self) -> None:
        """Start a worker after a pause, if it is wanted still."""
        if len(self._members()) < self.size:
            self._start_one()

    def _start_one(self, predecessor: Worker | None = None) -> None:
        if self._stopping:
            return
        numbers = {worker.number for worker in self.workers}
        number = next(each for each in range(1, len(numbers) + 2) if each not in numbers)
        worker = Worker(number, self._reactor.seconds(), predecessor=predecessor)
        try:
            worker.process = self._spawn(worker)
        except OSError as error:
            self._not_started(predecessor, f"a worker's process cannot be started: {error}")
            return
        self.workers.append(worker)
        logger.info("%s is starting", worker)

    def _not_started(self, predecessor: Worker | None, reason: str) -> None:
        """The system gives no process; what it lacks may be there later."""
        self._early_deaths += 1
        if predecessor is not None:
            self._keep(predecessor, reason)
            return
        logger.error("%s", reason)
        self._give_up(reason)
        if not self._stopping:
            self._pending.append(self._reactor.callLater(self._pause(), self._start_if_missing))

    def _is_being_replaced(self, worker: Worker) -> bool:
        return any(each is worker for each, _ in self._replacements) or any(
            each.predecessor is worker for each in self.workers
        )

    def _replace_next(self) -> None:
        """Begin the next replacement, unless one is under way."""
        under_way = any(
            worker.predecessor is not None or worker.state is WorkerState.DRAINING for worker in self.workers
        )
        if under_way or self._leaving:
            return
        while self._replacements:
            old, cause = self._replacements.popleft()
            if old.state is WorkerState.READY:
                old.end = cause
                self._start_one(predecessor=old)
                return

    def _retire(self, worker: Worker, last: bool = False) -> None:
        """Let a worker drain; one that does not end in time is killed."""
        if worker.state in (WorkerState.DRAINING, WorkerState.GONE):
            if last:
                # It drains already, but was told that others accept in its place.
                worker.process.ask(DrainWorker, last=True).addErrback(lambda failure: None)
            return
        worker.state = WorkerState.DRAINING
        worker.process.ask(DrainWorker, last=last).addErrback(lambda failure: None)
        self._kill_if_late(worker)

    def _kill_if_late(self, worker: Worker) -> None:
        """Have a worker killed that does not end in time."""
        late = self._graceful_timeout + MARGIN
        worker.kill = self._reactor.callLater(late, self._kill, worker, "did not end in time")

    def _kill(self, worker: Worker, why: str) -> None:
        if worker.state is not WorkerState.GONE:
            logger.error("%s is killed: it %s", worker, why)
            worker.process.signal(signal.SIGKILL)

    def _all_gone(self) -> None:
        if self._heartbeat.running:
            self._heartbeat.stopService()
        waiting, self._empty = self._empty, []
        for each in waiting:
            each.callback(None)

    # Heartbeats

    def beat(self) -> None:
        """Ask each worker for a sign of life; kill those that have given none for too long."""
        now = self._reactor.seconds()
        # While this process stood still it read no answers: that time is not the workers'.
        lost = now - self._last_beat - HEARTBEAT
        self._last_beat = now
        for worker in list(self.workers):
            self._tell_if_slow(worker)
            if worker.prepares or worker.waits or (worker.process.at_end and worker.state is WorkerState.DRAINING):
                # It has until it is done, or until the end of its time.
                continue
            if worker.asked_at is None:
                worker.asked_at = now
                worker.process.ask(Heartbeat).addCallbacks(self._heard, self._not_heard, (worker,), {}, (worker,))
                continue
            if lost > HEARTBEAT:
                worker.asked_at += lost
            if now - worker.asked_at >= (SILENCE if worker.heard else FIRST_SILENCE):
                if worker.state is not WorkerState.DRAINING:
                    worker.end = "unresponsive"
                self._kill(worker, f"has not answered for {now - worker.asked_at:.0f} s")

    def _tell_if_slow(self, worker: Worker) -> None:
        """Log that a worker is still starting: replacements wait for it, however long it takes."""
        age = self._reactor.seconds() - worker.since
        if worker.state is WorkerState.STARTING and age // SLOW_START > worker.slow:
            worker.slow += 1
            meanwhile = "" if worker.predecessor is None else "; the old workers stay until it is ready"
            logger.warning("%s is still starting after %.0f s: %s%s", worker, age, worker.step, meanwhile)

    def _heard(self, answer: dict[str, Any], worker: Worker) -> None:
        worker.asked_at = None
        worker.heard, worker.load = True, answer["load"]
        if 0 < (threads := worker.load.threads) <= worker.load.stuck:
            self.wants_replacement(worker, "stuck", f"all of its {threads} threads are stuck past their deadline")

    def _not_heard(self, failure: Failure, worker: Worker) -> None:
        worker.lost = True
