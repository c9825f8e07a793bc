"""Starts and stops the services of --service in one process. Reactor thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, gatherResults, inlineCallbacks, maybeDeferred

from twistserve.errors import StartError, describe
from twistserve.lifecycle import Lifecycle
from twistserve.logs import get_logger
from twistserve.probes.responses import Results
from twistserve.services.hosted import Hosted, ServiceState
from twistserve.services.loading import Loaded, make

logger = get_logger(__name__)


class ServiceHost(Service):
    """The services of this process: started by the start-up's last step, stopped when requests are over.

    `seconds` is --check-timeout, and `bound` returns the seconds that services have to stop.
    """

    def __init__(self, lifecycle: Lifecycle, seconds: float, bound: Callable[[], float], reactor: Any) -> None:
        self._lifecycle = lifecycle
        self._seconds = seconds
        self._bound = bound
        self._reactor = reactor
        self._hosted: list[Hosted] = []
        self._at = ""

    @property
    def name(self) -> str:  # type: ignore[override]
        """Which service is being stopped, for a line about what takes so long."""
        return self._at or "services"

    @inlineCallbacks
    def start(self, services: Sequence[Loaded]) -> Any:
        """Make and start the services, one after another. Fails with `StartError`."""
        offered = {"lifecycle": self._lifecycle, "reactor": self._reactor}
        for each in services:
            self._lifecycle.say(each.declared.name)
            hosted = Hosted(each.declared, make(each, offered), self._seconds, self._reactor)
            self._hosted.append(hosted)
            try:
                hosted.service.privilegedStartService()
                yield maybeDeferred(hosted.service.startService)
            except (Exception, SystemExit) as error:
                hosted.enter(ServiceState.STOPPED)
                raise StartError(f"{each.declared} does not start: {describe(error)}") from error
            if hosted.state is ServiceState.STARTING:
                hosted.enter(ServiceState.RUNNING)
                hosted.logger.info("%s has started", each.declared)

    @inlineCallbacks
    def stopService(self) -> Any:
        """Stop all at the same time; leave those behind that have not stopped within the bound."""
        super().stopService()
        stopping = [each for each in reversed(self._hosted) if each.state is not ServiceState.STOPPED]
        stopped: Deferred[Any] = DeferredList([self._stop(each) for each in stopping])
        seconds = self._bound()
        yield self._lifecycle.wait(stopped, seconds)
        for each in stopping:
            if each.state is not ServiceState.STOPPED:
                each.logger.warning("%s has not stopped within %.1f s: it is left behind", each.declared, seconds)

    def _stop(self, hosted: Hosted) -> Deferred[None]:
        hosted.enter(ServiceState.STOPPING)
        self._at = f"service {hosted.declared.name}"
        stopped = maybeDeferred(hosted.service.stopService)
        self._at = ""

        def done(result: object) -> None:
            hosted.enter(ServiceState.STOPPED)

        def failed(failure: Any) -> None:
            hosted.logger.error("%s did not stop cleanly", hosted.declared, exc_info=failure.value)

        return stopped.addErrback(failed).addCallback(done)

    def check(self) -> Deferred[Results]:
        """What readiness is told of each service."""
        names = [f"service:{each.declared.name}" for each in self._hosted]
        results = gatherResults([each.check() for each in self._hosted])
        return results.addCallback(lambda found: dict(zip(names, found, strict=True)))

    def describe(self) -> list[dict[str, Any]]:
        """Each service, for the status page and the metrics."""
        return [each.describe() for each in self._hosted]
