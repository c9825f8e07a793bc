"""The threads that run requests: a SimpleQueue and plain threads, a fraction of the cost of Twisted's ThreadPool."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from twisted.application.service import Service

logger = logging.getLogger(__name__)

Job = Callable[[], None]


@dataclass(frozen=True)
class PoolSnapshot:
    """The pool at one moment."""

    threads: int
    busy: int
    queued: int


class Returns:
    """The way back to the reactor thread: one wake-up for all that was put while it was on its way."""

    def __init__(self, call_from_thread: Callable[..., Any]) -> None:
        self._call_from_thread = call_from_thread
        self._waiting: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._called = False

    def put(self, function: Callable[..., None], *arguments: Any) -> None:
        """Have `function(*arguments)` called on the reactor thread, after what was put before."""
        self._waiting.append((function, arguments))
        if not self._called:
            self._called = True
            self._call_from_thread(self._deliver)

    def _deliver(self) -> None:
        # First: what is put from here on either finds the loop still running or calls again.
        self._called = False
        waiting = self._waiting
        while waiting:
            function, arguments = waiting.popleft()
            try:
                function(*arguments)
            except Exception:
                logger.exception("an answer could not be sent")


class Worker:
    """One thread of the pool; `wakes` is locked while it sleeps."""

    def __init__(self) -> None:
        self.wakes = threading.Lock()
        self.wakes.acquire()


class RequestThreadPool(Service):
    """Runs jobs on `size` threads, in the order they were submitted.

    Idle threads sleep in a stack: the one that ran last is woken first. At full rate a few threads then do the
    work of all, and the others don't fight for the GIL.

    The threads exist between startService and stopService only (twistd forks before). They are daemon
    threads: a request that never returns must not keep the process from ending.
    """

    name = "request threads"

    def __init__(self, size: int) -> None:
        self._size = size
        self._jobs: deque[Job] = deque()
        self._idle: list[Worker] = []
        self._busy: set[int] = set()
        self._threads: list[threading.Thread] = []
        self._stopping = False

    def startService(self) -> None:
        """Start the threads."""
        super().startService()
        self._stopping = False
        for number in range(self._size):
            thread = threading.Thread(target=self._work, args=(Worker(),), name=f"request-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def stopService(self) -> None:
        """Let each thread end after the jobs that are queued, without waiting for it."""
        super().stopService()
        self._stopping = True
        while self._idle:
            self._wake()
        self._threads = []

    def submit(self, job: Job) -> None:
        """Queue a job; callable from any thread."""
        self._jobs.append(job)
        if self._idle:
            self._wake()

    def snapshot(self) -> PoolSnapshot:
        """Threads, busy threads and queued jobs now; callable from any thread."""
        return PoolSnapshot(len(self._threads), len(self._busy), len(self._jobs))

    def _wake(self) -> None:
        with suppress(IndexError):  # it has woken by itself
            self._idle.pop().wakes.release()

    def _work(self, me: Worker) -> None:
        number = threading.get_ident()
        jobs, busy = self._jobs, self._busy
        while True:
            try:
                job = jobs.popleft()
            except IndexError:
                if self._stopping:
                    return
                self._sleep(me)
                continue
            busy.add(number)
            try:
                job()
            except BaseException:
                logger.critical("a request ended with an error that nothing handled", exc_info=True)
            finally:
                busy.discard(number)

    def _sleep(self, me: Worker) -> None:
        """Sleep until there may be a job: what is submitted after the first line wakes us, or is seen by the second."""
        self._idle.append(me)
        if self._jobs or self._stopping:
            try:
                self._idle.remove(me)
            except ValueError:
                me.wakes.acquire()  # somebody is waking us
            return
        me.wakes.acquire()
