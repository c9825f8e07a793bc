"""Keeps the wanted number of workers serving: starts, replaces, and ends them, and kills those that hang.

Parent's reactor thread. Processes are behind `Process` and started by `Spawn`, so that every transition can be tested
without one.
"""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.python.failure import Failure

from twistserve.backoff import backoff
from twistserve.load import Load
from twistserve.logs import get_logger
from twistserve.logs.containment import contain
from twistserve.metrics.catalogue import worker_restarts
from twistserve.periodic import PeriodicService
from twistserve.workers.protocol import AnnounceEnd, DrainWorker, Heartbeat
from twistserve.workers.worker_state import FAILED, PREPARED, RESTART_REASONS, SIGNAL, Process, Worker, WorkerState

logger = get_logger(__name__)

HEARTBEAT = 1.0
"""Seconds between two heartbeats."""
SLOW_START = 60.0
"""Seconds after which the log says at which step a start is; and again after as many."""
PAUSE = backoff(0.5, 30.0)
"""Seconds before the next worker is started while workers die early, one after another."""
MARGIN = 3.2
"""Seconds from the end of --graceful-timeout until a worker is killed; by its own clock it ends a little earlier."""

Spawn = Callable[[Worker], Process]


class Supervisor:
    """Starts, watches, replaces and ends workers.

    `on_ready` is called with each worker that becomes ready, `on_gone` with each that has ended, and `on_failure` with
    the reason when all workers have ended before one was ever ready. `name` is what people call the only process there
    is, where it is no worker.
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
        name: str = "",
    ) -> None:
        self._name = name
        self.size = size
        self.workers: list[Worker] = []
        self.outdated = False
        """Whether the last replacement failed to start: the workers that serve may have old code."""
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
        # Not a service of the tree: heartbeats go on until the last worker has ended, after the tree has begun to stop.
        self._heartbeat = PeriodicService(HEARTBEAT, self.beat, reactor)
        for reason in RESTART_REASONS:
            worker_restarts.labels(reason)

    @property
    def running(self) -> bool:
        """Whether workers are kept running."""
        return bool(self._heartbeat.running) and not self._stopping

    @property
    def ready(self) -> list[Worker]:
        """The workers that are READY."""
        return [worker for worker in self.workers if worker.state is WorkerState.READY]

    def snapshot(self) -> Load:
        """The total load of the READY workers, as of their last heartbeats."""
        return Load.total(worker.load for worker in self.ready)

    def silence(self, worker: Worker) -> float:
        """Seconds for which the worker has left a heartbeat unanswered."""
        return worker.silence(self._reactor.seconds())

    def heard_lately(self, worker: Worker) -> bool:
        """Whether the worker answers heartbeats in time."""
        return worker.heard_lately(self._reactor.seconds())

    def start(self) -> None:
        """Start the workers."""
        self._heartbeat.startService()
        self._fill()

    # Events of workers

    def became_ready(self, worker: Worker) -> None:
        """A worker has become ready."""
        if worker.state is not WorkerState.STARTING:
            return
        now = self._reactor.seconds()
        worker.state, worker.ready_since = WorkerState.READY, now
        # Counts as an answer to a heartbeat.
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

    def make_way(self, worker: Worker) -> Deferred[Any]:
        """Let the worker that this one replaces end now, although this one is not ready.

        Fires when no other is left; all that drain are waited for.
        """
        if worker.predecessor is not None:
            self._retire(worker.predecessor)
        leaving = [each for each in self.workers if each.state is WorkerState.DRAINING and each is not worker]
        for each in leaving:
            each.on_end = each.on_end or Deferred()
        return DeferredList([each.on_end for each in leaving if each.on_end is not None])

    def wants_replacement(self, worker: Worker, cause: str, reason: str) -> None:
        """Replace a worker that asks for it: it drains when another one is ready. `cause` is a label of the metric."""
        if worker.prepares:
            self._on_failure(f"{worker} was at what runs once: {reason}")
            return
        if worker.state is WorkerState.STARTING:
            # It has no requests to finish, and may never be ready.
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
        if worker.on_end is not None:
            worker.on_end.callback(None)
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
        """A worker has ended without having been asked to."""
        now = self._reactor.seconds()
        reason = worker.failure or how
        self._early_deaths = 0 if worker.is_steady(now) else self._early_deaths + 1
        old = worker.predecessor
        if state is WorkerState.STARTING and old is not None and old.state is WorkerState.READY:
            contain(worker_restarts.labels(FAILED).inc)
            self._keep(old, f"{worker} does not start: {reason}")
        else:
            contain(worker_restarts.labels("unresponsive" if worker.end == "unresponsive" else "died").inc)
            logger.error("%s has died: %s", worker, reason)
        self._give_up(worker.failure or f"{worker} has ended before it was ready: {how}")

    def _keep(self, old: Worker, reason: str) -> None:
        """Keep a worker whose replacement failed; the others would fail for the same reason, and are dropped."""
        logger.error("%s; the old workers stay", reason)
        self.outdated = True
        self._replacements.clear()
        old.end = ""
        self._not_before = self._reactor.seconds() + self._pause()

    def _give_up(self, reason: str) -> None:
        """Report a failed start if no worker was ever ready and none is left."""
        if not self._ever_ready and not self.workers:
            self._stopping = self._leaving = True
            self._on_failure(reason)

    # Commands

    def replace_all(self) -> None:
        """Replace every worker by one with freshly imported code, one at a time.

        Workers that are starting are killed at once: they have no requests, may have imported old code, and that may
        keep them from ever being ready. Pauses end, since the new code may have fixed what made workers die.
        """
        if not self.running or self._leaving:
            return
        logger.info("replacing %s", self._name or "all workers, one by one")
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
        """Kill a worker that has not served yet, and start another."""
        self._early_deaths = 0
        self._discard(worker, "reload")
        self._fill()

    def replace_after_end(self, worker: Worker) -> None:
        """Expect the worker that has only run what is to run once to end by itself; then start one with its number."""
        worker.state, worker.end = WorkerState.DRAINING, PREPARED
        # Workers that died meanwhile were still waiting for it: they say nothing about the next start.
        self._early_deaths = 0
        self._kill_if_late(worker)

    def _discard(self, worker: Worker, cause: str) -> None:
        """Kill a worker that has not served yet; its predecessor is the next to be replaced."""
        old, worker.predecessor = worker.predecessor, None
        if old is not None:
            self._replacements.appendleft((old, cause))
        logger.info("%s is killed: it would have old code", worker)
        worker.state, worker.end = WorkerState.DRAINING, cause
        worker.process.signal(signal.SIGKILL)

    def resize(self, by: int) -> None:
        """Change the number of workers; it stays at least one."""
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
            # Rather one that is starting than the only one that serves.
            self._retire(max(reversed(members), key=lambda worker: worker.state is WorkerState.STARTING))

    def leave(self) -> None:
        """Replace workers no more unless they die, and have connections end with their next response: before `stop`."""
        self._leaving = True
        for worker in self.ready:
            self._announce_end(worker)

    def _announce_end(self, worker: Worker) -> None:
        worker.process.ask(AnnounceEnd).addErrback(lambda failure: None)

    def stop(self) -> Deferred[None]:
        """Let all workers drain; fires when they have ended."""
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
        """Send SIGKILL to all workers, and log how many requests each had: they cannot log it themselves any more."""
        for worker in self.workers:
            if requests := worker.load.requests:
                logger.warning("%s is killed: at its last heartbeat %d requests were in flight", worker, requests)
            worker.process.signal(signal.SIGKILL)

    def ask_all(self, command: Any, seconds: float) -> Deferred[list[tuple[Worker, Any]]]:
        """Ask all workers that are READY or DRAINING; fires with the answers that came within so many seconds."""
        workers = [worker for worker in self.workers if worker.state in (WorkerState.READY, WorkerState.DRAINING)]
        asked = [worker.process.ask(command).addTimeout(seconds, self._reactor) for worker in workers]

        def pair(answers: list[tuple[bool, Any]]) -> list[tuple[Worker, Any]]:
            return [(worker, answer) for worker, (answered, answer) in zip(workers, answers, strict=True) if answered]

        return DeferredList(asked, consumeErrors=True).addCallback(pair) if asked else succeed([])

    # The number of workers

    def _members(self) -> list[Worker]:
        """The workers that count towards the size: not those that drain, nor replacements whose predecessor serves.

        The one that has only run what is to run once counts until it has ended, so that the next gets its number.
        """
        counted = (WorkerState.STARTING, WorkerState.READY)
        return [
            worker
            for worker in self.workers
            if (worker.state in counted and worker.predecessor is None) or worker.end == PREPARED
        ]

    def _fill(self) -> None:
        """Start the workers that are missing, at once, or after a pause if the last ones died early.

        Until one has been ready, a worker that died is not replaced: if all of the first ones fail to start, the next
        would too, and the service ends.
        """
        self._pending = [call for call in self._pending if call.active()]
        missing = self.size - len(self._members()) - len(self._pending)
        if not self.running or (self._early_deaths and not self._ever_ready):
            return
        for _ in range(missing):
            if self._early_deaths > 1:
                pause = self._pause()
                logger.info("%s is started in %g s", self._name or "the next worker", pause)
                self._pending.append(self._reactor.callLater(pause, self._start_if_missing))
            else:
                self._start_one()

    def _pause(self) -> float:
        return PAUSE(max(self._early_deaths - 2, 0))

    def _start_if_missing(self) -> None:
        """Start a worker after a pause, unless the number is complete by now."""
        if len(self._members()) < self.size:
            self._start_one()

    def _start_one(self, predecessor: Worker | None = None) -> None:
        if self._stopping:
            return
        numbers = {worker.number for worker in self.workers}
        number = next(each for each in range(1, len(numbers) + 2) if each not in numbers)
        worker = Worker(number, self._reactor.seconds(), self._name, predecessor=predecessor)
        try:
            worker.process = self._spawn(worker)
        except OSError as error:
            self._not_started(predecessor, f"the process of {self._name or 'a worker'} cannot be started: {error}")
            return
        self.workers.append(worker)
        logger.info("%s is starting", worker)

    def _not_started(self, predecessor: Worker | None, reason: str) -> None:
        """The system refused a process: try again later."""
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
        """Begin the next replacement, unless one is in progress."""
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
        """Let a worker drain, and kill it if it does not end in time. `last`: no other will accept in its place."""
        if worker.state in (WorkerState.DRAINING, WorkerState.GONE):
            if last:
                # It was told that other workers go on accepting.
                worker.process.ask(DrainWorker, last=True).addErrback(lambda failure: None)
            return
        worker.state = WorkerState.DRAINING
        worker.process.ask(DrainWorker, last=last).addErrback(lambda failure: None)
        self._kill_if_late(worker)

    def _kill_if_late(self, worker: Worker) -> None:
        """Kill a worker if it does not end in time."""
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
        """Send each worker a heartbeat, and kill those that have left one unanswered for too long."""
        now = self._reactor.seconds()
        # While this process was stopped it read no answers: that time does not count against workers.
        lost = now - self._last_beat - HEARTBEAT
        self._last_beat = now
        for worker in list(self.workers):
            self._tell_if_slow(worker)
            if worker.prepares or worker.waits or (worker.process.at_end and worker.state is WorkerState.DRAINING):
                # What runs once may take any time; a process at its end has a limit of its own.
                continue
            if worker.asked_at is None:
                worker.asked_at = now
                worker.process.ask(Heartbeat).addCallbacks(self._heard, self._not_heard, (worker,), {}, (worker,))
                continue
            if lost > HEARTBEAT:
                worker.asked_at += lost
            if worker.silent_too_long(now):
                if worker.state is not WorkerState.DRAINING:
                    worker.end = "unresponsive"
                self._kill(worker, f"has not answered for {worker.silence(now):.0f} s")

    def _tell_if_slow(self, worker: Worker) -> None:
        """Log that a worker is still starting: there is no limit, and replacements wait for it."""
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
