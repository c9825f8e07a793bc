"""What a check is: a function that blocks, run on a thread of its own, with a deadline."""

from __future__ import annotations

import enum
import logging
import re
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from queue import SimpleQueue
from typing import Any

from twisted.internet.defer import Deferred, succeed

from twistserve.logs import get_logger
from twistserve.logs.containment import contain
from twistserve.metrics.catalogue import check_duration
from twistserve.redaction import redacted, without_directories
from twistserve.server_thread import ServerThread

logger = get_logger(__name__)

FRESH = 1.0
"""Seconds for which a result is good enough for the next probe."""
LONGEST = 2000
"""Characters of a reason that are shown: a check may say anything, and Kubernetes reads 10 KB of an answer."""


_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Status(enum.Enum):
    """The statuses of the IETF draft "Health Check Response Format for HTTP APIs"."""

    PASS = "pass"
    WARN = "warn"
    FAIL = "fail"


def worst(statuses: Iterable[Status]) -> Status:
    """The gravest of the statuses; PASS of none."""
    order = list(Status)
    return max(statuses, key=order.index, default=Status.PASS)


@dataclass(frozen=True)
class Result:
    """What a check found: its status, a value for the reader, the reason where it does not pass, its seconds.

    `detail` is the reason in full, with what only developers may see: the log has it, and answers under DEBUG.
    """

    status: Status
    observed: str | int | float | None = None
    output: str | None = None
    seconds: float | None = field(default=None, compare=False)
    detail: str | None = None


PASSED = Result(Status.PASS)

Run = Callable[[Callable[[], None]], None]
"""Runs a function, one after another, without waiting for it."""


class CheckThread:
    """A thread that runs what it is given, and waits in between.

    It stays: while eight request threads computed on one core, readiness with a database and three checks took
    390 ms (p50) with a new thread for every run and 230 ms with threads that stay (`python -m benchmarks.probes`).
    A daemon: what hangs must not keep the process from ending.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._work: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def __call__(self, function: Callable[[], None]) -> None:
        """Run a function. Raises RuntimeError if the system has no thread to give."""
        if self._thread is None:
            thread = ServerThread(target=self._loop, name=self._name, daemon=True)
            thread.start()
            self._thread = thread
        self._work.put(function)

    def _loop(self) -> None:
        while True:
            function = self._work.get()
            try:
                function()
            except BaseException:
                logger.critical("%s", self._name, exc_info=True)


@dataclass
class Check:
    """A named check that is never run twice at the same time.

    `function` blocks; what it raises is a failure. `seconds` is the deadline: a check that takes longer fails in
    time, and is not started again while it hangs. `debug` tells whether answers may have details. `run` belongs to
    the reactor thread.
    """

    name: str
    function: Callable[[], Result]
    seconds: float
    reactor: Any
    debug: Callable[[], bool]
    thread: Run
    _waiting: list[Deferred[Result]] = field(default_factory=list)
    _started_at: float | None = None
    _result: Result | None = None
    """What the last run found, if that was in time."""
    _finished_at: float = 0.0
    _noted: Status = Status.PASS
    """What the log was told last."""
    _raised: str | None = None
    """What the last run raised, so that the log has each exception once and not every few seconds."""

    def run(self) -> Deferred[Result]:
        """The result, within the deadline; a probe that asks while the check runs, or soon after, gets the same one."""
        now = self.reactor.seconds()
        if self._started_at is None:
            # The clock is the system's, and may be set back.
            if self._result is not None and 0 <= now - self._finished_at < FRESH:
                return succeed(self._result)
            try:
                self.thread(self._work)
            except RuntimeError as error:
                return succeed(Result(Status.FAIL, output=f"could not be started: {error}"))
            self._started_at = now
        left = self._started_at + self.seconds - now
        if left <= 0:
            return succeed(self._hangs())
        waiter: Deferred[Result] = Deferred(self._time_out)
        self._waiting.append(waiter)
        return waiter.addTimeout(left, self.reactor)

    def _work(self) -> None:
        began = time.perf_counter()
        try:
            result = self.function()
        except BaseException as error:
            result = self._failure(error)
        else:
            self._raised = None
        contain(check_duration.labels(self.name).observe, time.perf_counter() - began)
        self.reactor.callFromThread(self._finished, result)

    def _failure(self, error: BaseException) -> Result:
        kind = type(error).__name__
        try:
            raised = f"raised {kind}: {error}"
        except Exception:
            raised = f"raised {kind}, which cannot be shown"
        if raised != self._raised:
            logger.error("check %s raised\n%s", self.name, redacted(traceback.format_exc().rstrip()))
            self._raised = raised
        return Result(Status.FAIL, output=f"raised {kind}", detail=raised)

    def _finished(self, found: Result) -> None:
        assert self._started_at is not None
        now = self.reactor.seconds()
        seconds, self._started_at = now - self._started_at, None
        if not self._waiting:
            # Too late: the probe has been told so. A result that comes late every time must not pass now and then.
            self._result = None
            return
        self._note(found)
        result = replace(found, output=self._shown(found), seconds=seconds, detail=None)
        self._result, self._finished_at = result, now
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(result)

    def _shown(self, found: Result) -> str | None:
        """The reason that an answer may have."""
        if self.debug():
            return _fit(found.detail or found.output or "") or None
        return found.output and without_directories(_fit(found.output))

    def _time_out(self, waiter: Deferred[Result]) -> None:
        self._waiting.remove(waiter)
        waiter.callback(self._hangs())

    def _hangs(self) -> Result:
        assert self._started_at is not None
        age = self.reactor.seconds() - self._started_at
        output = f"no answer within {self.seconds:g} s; running for {age:.1f} s"
        result = Result(Status.FAIL, output=output, seconds=age)
        self._note(result)
        return result

    def _note(self, result: Result) -> None:
        """Log what changed: a probe asks every few seconds, and the same line again tells nothing."""
        if result.status is self._noted:
            return
        self._noted = result.status
        level = logging.INFO if result.status is Status.PASS else logging.WARNING
        reason = _fit(result.detail or result.output or "")
        logger.log(level, "check %s: %s", self.name, f"{result.status.value} {reason}".rstrip())


def _fit(reason: str) -> str:
    """A reason for an answer or the log: without credentials, not too long, and nothing that steers a terminal."""
    shown = _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", redacted(reason[: 4 * LONGEST]))
    return shown[:LONGEST] + "…" * (len(shown) > LONGEST)
