"""Starts and stops the services of --service in one process. Reactor thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, gatherResults, inlineCallbacks, maybeDeferred

from twistserve.errors import StartError, describe
from twistserve.lifecycle import Lifecycle
from twistserve.logs import get_logger
from twistserve.periodic import PeriodicService
from twistserve.probes.responses import Results
from twistserve.services.hosted import Hosted, ServiceState
from twistserve.services.lifecycle import ServiceLifecycle
from twistserve.services.loading import Loaded, make

LOOK_EVERY = 1.0
"""Seconds between two looks for services that have ended by themselves."""


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
        self.title = "services"
        """What they are, in one word."""
        self._looking = PeriodicService(LOOK_EVERY, self._look, reactor)

    def startService(self) -> None:
        """Begin to look whether services have ended by themselves."""
        super().startService()
        self._looking.startService()

    def _look(self) -> None:
        for each in self._hosted:
            each.note_end()

    @property
    def name(self) -> str:  # type: ignore[override]
        """Which service is being stopped, for a line about what takes so long."""
        return self._at or self.title

    @inlineCallbacks
    def start(self, services: Sequence[Loaded]) -> Any:
        """Make and start the services, one after another, until the end begins. Fails with `StartError`."""
        for each in services:
            if not self.running:
                # One that was still starting has done so while it was stopped: nothing would stop those after it.
                return
            self._lifecycle.say(each.declared.name)
            hosted = self._make(each)
            self._hosted.append(hosted)
            try:
                hosted.service.privilegedStartService()
                yield maybeDeferred(hosted.service.startService)
            except StartError:
                hosted.enter(ServiceState.STOPPED)
                raise
            except (Exception, SystemExit) as error:
                hosted.enter(ServiceState.STOPPED)
                raise StartError(f"{each.declared} does not start: {describe(error)}") from error
            if hosted.state is ServiceState.STARTING:
                hosted.started()

    def _make(self, loaded: Loaded) -> Hosted:
        logger = get_logger(f"twistserve.service.{loaded.declared.name}")
        offered = {"lifecycle": ServiceLifecycle(self._lifecycle, loaded.declared, logger), "reactor": self._reactor}
        return Hosted(loaded.declared, make(loaded, offered), self._seconds, logger, self._reactor)

    @inlineCallbacks
    def stopService(self) -> Any:
        """Stop all at the same time; leave those behind that have not stopped within the bound."""
        super().stopService()
        self._looking.stopService()
        stopping = [each for each in reversed(self._hosted) if each.state is not ServiceState.STOPPED]
        stopped: Deferred[Any] = DeferredList([self._stop(each) for each in stopping])
        asked_at = self._reactor.seconds()
        yield self._lifecycle.wait(stopped, self._bound())
        for each in stopping:
            if each.state is not ServiceState.STOPPED:
                seconds = self._reactor.seconds() - asked_at
                each.logger.warning("%s has not stopped after %.1f s: it is left behind", each.declared, seconds)

    def _stop(self, hosted: Hosted) -> Deferred[None]:
        hosted.enter(ServiceState.STOPPING)
        self._at = hosted.declared.name
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
