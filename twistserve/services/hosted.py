"""One service of --service: what it is at, whether it still runs, and what it tells of itself.

Reactor thread; times in the reactor's seconds.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Mapping
from typing import Any, Protocol

from twisted.application.service import IServiceCollection
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure

from twistserve.net.timer_service import has_failed
from twistserve.probes.checks import Result, Status
from twistserve.services.loading import Declared


class ChecksReadiness(Protocol):
    """A service with a readiness check."""

    def check_ready(self) -> str | Deferred[str | None] | None:
        """Why requests should go elsewhere now; None if they are welcome.

        Called on the reactor thread with each readiness probe, so it must not block. It may return a Deferred, which
        has --check-timeout. What it raises fails the probe.
        """


class HasNumbers(Protocol):
    """A service with numbers for `twistserve_service_value`."""

    def metrics(self) -> Mapping[str, float]:
        """Numbers by their names. Called on the reactor thread before each scrape, so it must not block."""


class ServiceState(enum.Enum):
    """The states of a service, in their order."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"


RUNNING, READY = "running", "ready"
"""What readiness has observed of a service without a check of its own, and of one whose check passes."""


class Hosted:
    """A service in this process. `seconds` is --check-timeout."""

    def __init__(self, declared: Declared, service: Any, seconds: float, logger: Any, reactor: Any) -> None:
        self.declared = declared
        self.service = service
        self.state = ServiceState.STARTING
        self.logger = logger
        self._seconds = seconds
        self._reactor = reactor
        self._since: float = reactor.seconds()
        self._asked_at: float | None = None
        self._waiting: list[Deferred[Result]] = []
        self._raised: dict[str, str] = {}
        """What each of its methods has raised last."""
        self._tells = False
        """Whether its `running` tells if it runs: not where its start leaves out that of twisted's Service."""
        self._ended = False
        """Whether the log knows that it has ended by itself."""

    def enter(self, state: ServiceState) -> None:
        """Go to another state."""
        self.state, self._since = state, self._reactor.seconds()

    def started(self) -> None:
        """It has started."""
        self._tells = bool(getattr(self.service, "running", False))
        self.enter(ServiceState.RUNNING)
        self.logger.info("%s has started", self.declared)

    @property
    def up(self) -> bool:
        """Whether it has started, and has not ended by itself since."""
        return self.state is ServiceState.RUNNING and (_runs(self.service) or not self._tells)

    def check(self) -> Deferred[Result]:
        """Whether it is ready, within --check-timeout. A check that hangs is not started again."""
        waiter: Deferred[Result] = Deferred(self._too_late)
        now = self._reactor.seconds()
        if self._asked_at is None:
            self._asked_at = now
            self._waiting.append(waiter)
            maybeDeferred(self._look).addBoth(self._answered)
        else:
            self._waiting.append(waiter)
        if not waiter.called:
            waiter.addTimeout(max(self._asked_at + self._seconds - now, 0.0), self._reactor)
        return waiter

    def _look(self) -> Any:
        if not self.up:
            ended = self._shown_state == ServiceState.STOPPED.value
            return Result(Status.WARN, self._shown_state, "does not run any more" if ended else None)
        check = getattr(self.service, "check_ready", None)
        if check is None:
            return Result(Status.PASS, RUNNING)
        return maybeDeferred(check).addCallback(_judge)

    def _answered(self, found: Any) -> None:
        waiting, self._waiting, self._asked_at = self._waiting, [], None
        if isinstance(found, Failure):
            self._log_once("check_ready()", found)
            found = Result(Status.FAIL, output=f"raised {type(found.value).__name__}")
        else:
            self._raised.pop("check_ready()", None)
        for waiter in waiting:
            waiter.callback(found)

    def _too_late(self, waiter: Deferred[Result]) -> None:
        self._waiting.remove(waiter)
        waiter.callback(Result(Status.FAIL, output=f"no answer within {self._seconds:g} s"))

    def _log_once(self, what: str, failure: Failure) -> None:
        """Log what was raised, unless it was the same the time before: probes ask every few seconds."""
        raised = f"{type(failure.value).__name__}: {failure.getErrorMessage()}"
        if raised != self._raised.get(what):
            self._raised[what] = raised
            self.logger.error("%s of %s has raised", what, self.declared, exc_info=failure.value)

    def note_end(self) -> None:
        """Log once that it has ended by itself."""
        if self.state is ServiceState.RUNNING and not self.up and not self._ended:
            self._ended = True
            self.logger.error("%s has ended by itself", self.declared)

    @property
    def _shown_state(self) -> str:
        ended = self.state is ServiceState.RUNNING and not self.up
        return (ServiceState.STOPPED if ended else self.state).value

    def describe(self) -> dict[str, Any]:
        """What the status page and the metrics tell of it, as JSON."""
        return {
            "name": self.declared.name,
            "dotted": self.declared.dotted,
            "state": self._shown_state,
            "seconds": round(self._reactor.seconds() - self._since, 1),
            "up": self.up,
            "where": f"process {os.getpid()}",
            "values": self._values(),
        }

    def _values(self) -> dict[str, float]:
        numbers = getattr(self.service, "metrics", None)
        if numbers is None or not self.up:
            return {}
        try:
            found = {str(name): float(value) for name, value in numbers().items()}
            self._raised.pop("metrics()", None)
            return found
        except Exception:
            self._log_once("metrics()", Failure())
            return {}


def _judge(reason: object) -> Result:
    return Result(Status.PASS, READY) if reason is None else Result(Status.FAIL, output=str(reason))


def _runs(service: Any) -> bool:
    """Whether a service and those below it run."""
    if not getattr(service, "running", True) or has_failed(service):
        return False
    return not IServiceCollection.providedBy(service) or all(map(_runs, service))
