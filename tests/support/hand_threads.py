"""Threads for files that work when the test says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twistserve.files.file_threads import Job
from twistserve.files.handler import Renewed


class HandThreads:
    """In place of `FileThreads`; `room` is how many jobs may wait."""

    def __init__(self, room: int = 10) -> None:
        self.room = room
        self.jobs: list[Job] = []
        self.begun: list[tuple[Job, Any, BaseException | None]] = []

    def submit(self, work: Callable[[], Any], done: Callable[[Any, BaseException | None], None]) -> Job | None:
        if len(self.jobs) >= self.room:
            return None
        self.jobs.append(Job(work, done))
        return self.jobs[-1]

    def withdraw(self, job: Job) -> bool:
        if job.begun:
            return False
        self.jobs.remove(job)
        return True

    def begin(self) -> None:
        """Do the work of the first that waits; the reactor is not told yet."""
        job = self.jobs.pop(0)
        job.begun = True
        try:
            self.begun.append((job, job.work(), None))
        except (OSError, Renewed) as error:
            self.begun.append((job, None, error))

    def tell(self) -> None:
        """Tell the reactor of the first that was done."""
        job, result, error = self.begun.pop(0)
        job.done(result, error)

    def run(self) -> None:
        """Work until nothing waits."""
        while self.jobs:
            self.begin()
            self.tell()
