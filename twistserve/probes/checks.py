"""Django's checks and databases, asked on threads of their own, each with a deadline."""

from __future__ import annotations

import enum
import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, gatherResults, succeed

from twistserve.metrics import check_duration

logger = logging.getLogger(__name__)


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
    """What a check found: its status, a value for the reader, and the reason where it does not pass."""

    status: Status
    observed: str | int | float | None = None
    output: str | None = None


PASSED = Result(Status.PASS)

Spawn = Callable[[str, Callable[[], None]], None]
"""Runs a function on a new thread of this name."""


def spawn_thread(name: str, function: Callable[[], None]) -> None:
    """Run a function on a daemon thread: one that hangs must not keep the process from ending."""
    threading.Thread(target=function, name=name, daemon=True).start()


@dataclass
class Check:
    """A named check that runs on a thread of its own and is never run twice at the same time.

    `function` blocks; what it raises is a failure. `seconds` is the deadline: a check that takes longer
    fails in time, and is not started again while it hangs. `run` belongs to the reactor thread.
    """

    name: str
    function: Callable[[], Result]
    seconds: float
    reactor: Any
    debug: Callable[[], bool]
    spawn: Spawn
    _waiting: list[Deferred[Result]] = field(default_factory=list)
    _started_at: float | None = None
    _last: Result = PASSED
    _raised: str | None = None
    """What the last run raised, so that the log has each exception once and not every few seconds."""

    def run(self) -> Deferred[Result]:
        """The result, within the deadline; who asks while the check runs gets the same one."""
        now = self.reactor.seconds()
        if self._started_at is None:
            self._started_at = now
            self.spawn(f"check {self.name}", self._work)
        left = self._started_at + self.seconds - now
        if left <= 0:
            return succeed(self._hangs())
        waiter: Deferred[Result] = Deferred()
        self._waiting.append(waiter)
        timeout = self.reactor.callLater(left, self._time_out, waiter)

        def clean_up(result: Result) -> Result:
            if timeout.active():
                timeout.cancel()
            return result

        return waiter.addCallback(clean_up)

    def _work(self) -> None:
        with check_duration.labels(self.name).time():
            try:
                result = self.function()
            except BaseException as error:
                raised = f"{type(error).__name__}: {error}"
                if raised != self._raised:
                    logger.exception("check %s raised", self.name)
                    self._raised = raised
                result = Result(Status.FAIL, output=f"raised {raised if self.debug() else type(error).__name__}")
            else:
                self._raised = None
        self.reactor.callFromThread(self._finished, result)

    def _finished(self, result: Result) -> None:
        self._started_at = None
        self._note(result)
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(result)

    def _time_out(self, waiter: Deferred[Result]) -> None:
        self._waiting.remove(waiter)
        waiter.callback(self._hangs())

    def _hangs(self) -> Result:
        assert self._started_at is not None
        age = self.reactor.seconds() - self._started_at
        result = Result(Status.FAIL, output=f"no answer within {self.seconds:g} s; running for {age:.1f} s")
        if self._last.status is not Status.FAIL:
            self._note(result)
        return result

    def _note(self, result: Result) -> None:
        """Log what changed: a probe asks every few seconds, and the same line again tells nothing."""
        if result.status is not self._last.status:
            level = logging.INFO if result.status is Status.PASS else logging.WARNING
            logger.log(level, "check %s: %s %s", self.name, result.status.value, result.output or "")
        self._last = result


class DjangoChecks:
    """The checks of the project, by probe; made once Django is set up."""

    def __init__(self, seconds: float, reactor: Any) -> None:
        self._seconds = seconds
        self._reactor = reactor
        self._checks: dict[str, Check] = {}

    def readiness(self) -> list[Check]:
        """Checks tagged readiness or hurricane, and one for each database."""
        return [*self._databases(), *self._tagged("readiness", "hurricane")]

    def liveness(self) -> list[Check]:
        """Checks tagged liveness."""
        return self._tagged("liveness")

    def run(self, checks: list[Check]) -> Deferred[dict[str, Result]]:
        """Run checks side by side; the results by the checks' names."""
        names = [check.name for check in checks]
        return gatherResults([check.run() for check in checks]).addCallback(
            lambda results: dict(zip(names, results, strict=True))
        )

    def _tagged(self, *tags: str) -> list[Check]:
        from django.core.checks.registry import registry

        found: dict[str, Check] = {}
        for function in registry.get_checks(include_deployment_checks=True):
            if not set(tags).isdisjoint(getattr(function, "tags", ())):
                name = _name_of(function)
                while name in found:
                    name += "'"
                found[name] = self._check(name, partial(_run_django_check, function))
        return list(found.values())

    def _databases(self) -> list[Check]:
        from django.db import connections

        return [
            self._check(f"database:{alias}", partial(_ping, alias))
            for alias in connections
            if connections.settings[alias]["ENGINE"] != "django.db.backends.dummy"
        ]

    def _check(self, name: str, function: Callable[[], Result]) -> Check:
        """The one check of this name: it knows whether it still runs."""
        if name not in self._checks:
            self._checks[name] = Check(name, function, self._seconds, self._reactor, _debug, spawn_thread)
        return self._checks[name]


def _debug() -> bool:
    from django.conf import settings

    return bool(settings.DEBUG)


def _name_of(function: Any) -> str:
    function = getattr(function, "func", function)
    kind = type(function)
    module = getattr(function, "__module__", kind.__module__)
    return f"{module}.{getattr(function, '__qualname__', kind.__qualname__)}"


def _run_django_check(function: Any) -> Result:
    from django.core import checks
    from django.db import connections

    try:
        messages = function(app_configs=None, databases=list(connections))
        if not isinstance(messages, Iterable):
            raise TypeError(f"a check must return a list of messages, not a {type(messages).__name__}")
        found = [message for message in messages if not message.is_silenced()]
    finally:
        connections.close_all()
    serious = [message for message in found if message.is_serious(checks.ERROR)]
    warnings = [message for message in found if message.is_serious(checks.WARNING)]
    if serious:
        return Result(Status.FAIL, output="; ".join(map(_describe, serious)))
    if warnings:
        return Result(Status.WARN, output="; ".join(map(_describe, warnings)))
    return PASSED


def _describe(message: Any) -> str:
    """A message for the probe's answer; its hint is for developers and may name files."""
    text = f"({message.id}) {message.msg}" if message.id else str(message.msg)
    return f"{text} (hint: {message.hint})" if message.hint and _debug() else text


def _ping(alias: str) -> Result:
    """Send a real query on a connection of this thread's own."""
    from django.db import connections

    connection = connections[alias]
    # SQLite opens its file only when something is read from it.
    query = (
        "SELECT count(*) FROM sqlite_master"
        if connection.vendor == "sqlite"
        else f"SELECT 1{connection.features.bare_select_suffix}"
    )
    try:
        with connection.cursor() as cursor:
            cursor.execute(query)
            cursor.fetchone()
    finally:
        connection.close()
    return PASSED
