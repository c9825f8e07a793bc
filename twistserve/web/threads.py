"""The threads that run requests: a SimpleQueue and plain threads, a fraction of the cost of Twisted's ThreadPool."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
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


class RequestThreadPool(Service):
    """Runs jobs on `size` threads, in the order they were submitted.

    The threads exist between startService and stopService only (twistd forks before). They are daemon
    threads: a request that never returns must not keep the process from ending.
    """

    name = "request threads"

    def __init__(self, size: int) -> None:
        self._size = size
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._busy: set[int] = set()
        self._threads: list[threading.Thread] = []

    def startService(self) -> None:
        """Start the threads."""
        super().startService()
        for number in range(self._size):
            thread = threading.Thread(target=self._work, name=f"request-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def stopService(self) -> None:
        """Let each thread end after the job it runs, without waiting for it."""
        super().stopService()
        for _ in self._threads:
            self._queue.put(None)
        self._threads = []

    def submit(self, job: Job) -> None:
        """Queue a job; callable from any thread."""
        self._queue.put(job)

    def snapshot(self) -> PoolSnapshot:
        """Threads, busy threads and queued jobs now; callable from any thread."""
        return PoolSnapshot(len(self._threads), len(self._busy), self._queue.qsize())

    def _work(self) -> None:
        me = threading.get_ident()
        while (job := self._queue.get()) is not None:
            self._busy.add(me)
            try:
                job()
            except BaseException:
                logger.critical("a request ended with an error that nothing handled", exc_info=True)
            finally:
                self._busy.discard(me)
