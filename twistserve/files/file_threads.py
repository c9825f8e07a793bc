"""Threads for what a file system may hold up: finding, opening and reading files. The reactor never waits for one.

They are few, and daemons: where a file system hangs, so do they, but no more of them than these, and not the end of
the process.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from twistserve.server_thread import ServerThread

THREADS = 4
"""Threads of a kind at most; they are started when they are first needed."""
WAITING = 1000
"""Jobs that may wait for one of them."""

Done = Callable[[Any, BaseException | None], None]
"""Told in the reactor thread what a job has returned or raised."""


class Job:
    """Something to be done by one of the threads."""

    __slots__ = ("begun", "done", "work")

    def __init__(self, work: Callable[[], Any], done: Done) -> None:
        self.work = work
        self.done = done
        self.begun = False


class FileThreads:
    """A few threads and their queue; `call` is what makes the reactor call something (callFromThread)."""

    def __init__(self, name: str, call: Callable[..., Any], threads: int = THREADS, waiting: int = WAITING) -> None:
        self._name = name
        self._call = call
        self._most = threads
        self._most_waiting = waiting
        self._changed = threading.Condition()
        self._jobs: deque[Job] = deque()
        self._threads = self._idle = self._running = 0
        self._paused = False
        self._when_idle: Callable[[], object] | None = None

    def submit(self, work: Callable[[], Any], done: Done) -> Job | None:
        """Have `work` done, and `done` told; None if too much waits already. Reactor thread."""
        job = Job(work, done)
        with self._changed:
            if len(self._jobs) >= self._most_waiting:
                return None
            self._jobs.append(job)
            if self._idle >= len(self._jobs):
                self._changed.notify()
                return job
        if self._threads < self._most and not self._start() and not self._threads:
            self.withdraw(job)
            return None
        return job

    def withdraw(self, job: Job) -> bool:
        """Drop a job that no thread has begun; whether that was so, and nothing will be done. Reactor thread."""
        with self._changed:
            if job.begun:
                return False
            self._jobs.remove(job)
            return True

    def pause(self, idle: Callable[[], object]) -> None:
        """Begin no more jobs until `resume`; `idle` is called once none runs. Reactor thread, as `idle`."""
        with self._changed:
            self._paused, self._when_idle = True, idle
            self._tell_if_idle()

    def resume(self) -> None:
        """Begin jobs again, those that have come meanwhile first. Reactor thread."""
        with self._changed:
            self._paused, self._when_idle = False, None
            self._changed.notify_all()

    def _tell_if_idle(self) -> None:
        if self._when_idle is not None and not self._running:
            idle, self._when_idle = self._when_idle, None
            self._call(idle)

    def _start(self) -> bool:
        try:
            ServerThread(target=self._run, name=f"{self._name}-{self._threads + 1}", daemon=True).start()
        except RuntimeError:  # the container allows no more
            return False
        self._threads += 1
        return True

    def _run(self) -> None:
        while True:
            with self._changed:
                self._idle += 1
                while self._paused or not self._jobs:
                    self._changed.wait()
                self._idle -= 1
                self._running += 1
                job = self._jobs.popleft()
                job.begun = True
            result, error = None, None
            try:
                result = job.work()
            except BaseException as raised:
                error = raised
            self._call(job.done, result, error)
            del job, result, error
            with self._changed:
                self._running -= 1
                self._tell_if_idle()
