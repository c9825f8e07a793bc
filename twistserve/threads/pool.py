"""The threads that run requests: a deque and plain threads, a fraction of the cost of Twisted's ThreadPool."""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from time import perf_counter
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from twistserve.errors import StartError
from twistserve.load import Load
from twistserve.logs import get_logger
from twistserve.threads.run_delay import RunDelay
from twistserve.threads.stacks import where

logger = get_logger(__name__)

Job = Callable[[], None]


class Dispatching(Protocol):
    """What decides how many threads are at work; called on a request thread."""

    def should_yield(self) -> bool:
        """Whether a thread that has done a job leaves the next to others."""

    def on_yield(self) -> None:
        """A thread sleeps though there may be jobs."""

    def on_idle(self) -> None:
        """A thread has nothing left to do."""


SWITCH_INTERVAL = 0.001
"""Seconds after which a thread that computes lets another have the GIL, where Python's 5 ms would be the reactor's to
wait, for each of them and each time. With eight threads computing at once on one core the liveness probe took 550 ms
(p95) with Python's and 44 ms with this; a hello loses 2 % or so of its rate."""
LOOK_EVERY = 0.05
"""Seconds between two looks for threads at work, when there should be none any more."""


class Worker:
    """One thread of the pool; `wakes` is locked while it sleeps."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.wakes = threading.Lock()
        self.wakes.acquire()
        self.thread = 0
        self.native_id = 0
        """The kernel's id of its thread; 0 while that does not run."""
        self.job: Job | None = None
        self.since = 0.0
        """When it began the job, by perf_counter."""
        self.stuck = False
        self._run_delay: RunDelay | None = None

    def begin(self) -> None:
        """To be called on its thread."""
        self.thread = threading.get_ident()
        self.native_id = threading.get_native_id()
        self._run_delay = RunDelay()

    def end(self) -> None:
        """Its thread ends."""
        self.native_id = 0
        if self._run_delay is not None:
            self._run_delay.close()

    def run_delay(self) -> float:
        """Seconds that its thread was ready but did not run, since the last call."""
        return self._run_delay.since_last() if self._run_delay is not None else 0.0

    @property
    def ran(self) -> float:
        """Seconds that its thread ran between the last two calls of `run_delay`."""
        return self._run_delay.ran if self._run_delay is not None else 0.0


class RequestThreadPool(Service):
    """Runs jobs on `size` threads, in the order they were submitted; at most `max_queue` of them wait.

    Idle threads sleep in a stack: the one that ran last is woken first. At full rate a few threads then do the
    work of all, and the others don't fight for the GIL.

    A thread whose job was given up counts as stuck until the job returns, and another takes its place, as long
    as there are not more than twice `size` in all.

    The threads exist between startService and stopService only (twistd forks before). They are daemon
    threads: a request that never returns must not keep the process from ending.
    """

    name = "request threads"

    dispatcher: Dispatching | None = None
    """Wakes threads when the reactor has read all that there is; without one, each job wakes a thread itself."""

    def __init__(self, size: int, max_queue: int = 1000, kind: str = "request") -> None:
        self._size = size
        self._kind = kind
        self._max_queue = max_queue
        self._jobs: deque[Job] = deque()
        self._idle: list[Worker] = []
        self._workers: list[Worker] = []
        self._stopping = False
        # For the number of threads and which are stuck, which change seldom; jobs come and go without it.
        self._lock = threading.Lock()
        self._numbers = count()

    def startService(self) -> None:
        """Start the threads."""
        super().startService()
        sys.setswitchinterval(SWITCH_INTERVAL)
        self._stopping = False
        for _ in range(self._size):
            try:
                self._add()
            except RuntimeError as error:
                raise StartError(
                    f"--threads: {self._size} threads cannot be started ({error}): give fewer, or raise the limit of"
                    " processes, which counts threads"
                ) from error

    def stopService(self) -> None:
        """Let each thread end after the jobs that are queued, without waiting for it."""
        super().stopService()
        for thread in self.at_work():
            logger.warning("left in the middle of its work: %s", where(thread))
        self._stopping = True
        while self._idle:
            self._wake()
        self._workers = []

    def submit(self, job: Job) -> bool:
        """Queue a job, unless as many wait as may; callable from any thread, with a dispatcher from the reactor's."""
        jobs = self._jobs
        if len(jobs) >= self._max_queue and len(jobs) - self._free() >= self._max_queue:
            return False
        jobs.append(job)
        if self.dispatcher is None:
            self.wake(1)
        return True

    @property
    def queued(self) -> int:
        """Jobs that no thread has taken."""
        return len(self._jobs)

    @property
    def idle(self) -> int:
        """Threads that sleep."""
        return len(self._idle)

    @property
    def awake(self) -> int:
        """Threads that don't."""
        return len(self._workers) - len(self._idle)

    @property
    def workers(self) -> list[Worker]:
        """All threads; callable from any thread."""
        return list(self._workers)

    def at_jobs(self) -> list[Worker]:
        """The threads that are at a job; callable from any thread."""
        return [worker for worker in self._workers if worker.job is not None]

    def wake(self, number: int) -> None:
        """Wake so many threads, as far as that many sleep; callable from any thread."""
        for _ in range(min(number, len(self._idle))):
            self._wake()

    def withdraw(self, job: Job) -> bool:
        """Take a job back that no thread has begun; False if one has. Callable from any thread."""
        try:
            self._jobs.remove(job)
        except (ValueError, IndexError):  # IndexError: a thread took another one meanwhile
            return False
        return True

    def give_up(self, job: Job) -> bool:
        """Count the thread that runs a job as stuck until it returns, and replace it; False if none runs it.

        Reactor thread.
        """
        with self._lock:
            worker = next((each for each in self._workers if each.job is job), None)
            if worker is None:
                return False
            worker.stuck = True
            # Its thread clears `job` before it looks at `stuck`: if it is there still, it will see it.
            if worker.job is not job:
                worker.stuck = False
                return False
        if self._healthy() < self._size and len(self._workers) < 2 * self._size:
            try:
                self._add()
            except RuntimeError as error:
                logger.error("a stuck thread cannot be replaced: %s", error)
        return True

    def finished(self, reactor: Any) -> Deferred[None]:
        """Fires when no thread is busy but those that are stuck. Reactor thread."""

        def look() -> None:
            snapshot = self.snapshot()
            if snapshot.busy <= snapshot.stuck and not snapshot.queued:
                looking.stop()

        looking = LoopingCall(look)
        looking.clock = reactor
        return looking.start(LOOK_EVERY).addCallback(lambda looking: None)

    def at_work(self) -> dict[int, Job]:
        """The job of each busy thread, by the thread's ident; callable from any thread."""
        return {worker.thread: job for worker in list(self._workers) if (job := worker.job) is not None}

    def snapshot(self) -> Load:
        """Threads, busy threads, queued jobs and stuck threads now; callable from any thread."""
        workers = list(self._workers)
        return Load(
            threads=len(workers),
            busy=sum(worker.job is not None for worker in workers),
            queued=len(self._jobs),
            stuck=sum(worker.stuck for worker in workers),
        )

    def _add(self) -> None:
        """Start a thread. Raises RuntimeError where the system has none to give."""
        worker = Worker(next(self._numbers))
        with self._lock:
            self._workers.append(worker)
        try:
            threading.Thread(
                target=self._work, args=(worker,), name=f"{self._kind}-{worker.number}", daemon=True
            ).start()
        except RuntimeError:
            with self._lock:
                self._workers.remove(worker)
            raise

    def _healthy(self) -> int:
        return sum(not worker.stuck for worker in self._workers)

    def _free(self) -> int:
        """Threads about to take a job."""
        return sum(worker.job is None for worker in self._workers)

    def _wake(self) -> None:
        with suppress(IndexError):  # it has woken by itself
            self._idle.pop().wakes.release()

    def _work(self, me: Worker) -> None:
        me.begin()
        try:
            self._take_jobs(me)
        finally:
            me.end()

    def _take_jobs(self, me: Worker) -> None:
        jobs = self._jobs
        while True:
            try:
                me.job = job = jobs.popleft()
            except IndexError:
                if self._stopping:
                    return
                self._sleep(me)
                continue
            me.since = perf_counter()
            try:
                job()
            except BaseException:
                logger.critical("a %s ended with an error that nothing handled", self._kind, exc_info=True)
            finally:
                me.job = None
            del job
            if me.stuck and self._replaced(me):
                return
            dispatcher = self.dispatcher
            if dispatcher is not None and dispatcher.should_yield():
                self._give_way(me, dispatcher)

    def _replaced(self, me: Worker) -> bool:
        """A thread that was given up has returned: whether another does its work now."""
        with self._lock:
            me.stuck = False
            if self._healthy() <= self._size or self._stopping:
                return False
            self._workers.remove(me)
            return True

    def _sleep(self, me: Worker) -> None:
        """Sleep until there may be a job: what is submitted after the first line wakes us, or is seen by the fourth."""
        self._idle.append(me)
        if self.dispatcher is not None:
            self.dispatcher.on_idle()
        if self._jobs or self._stopping:
            try:
                self._idle.remove(me)
            except ValueError:
                me.wakes.acquire()  # another thread is waking us
            return
        me.wakes.acquire()

    def _give_way(self, me: Worker, dispatcher: Dispatching) -> None:
        """Sleep though there may be jobs."""
        self._idle.append(me)
        dispatcher.on_yield()
        if self._stopping:
            self.wake(1)
        me.wakes.acquire()
