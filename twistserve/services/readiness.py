"""The readiness of services beside the project's checks. Reactor thread."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, gatherResults

from twistserve.probes.handlers import Checks
from twistserve.probes.responses import Results


class WithServices:
    """The checks of the project, and for readiness those of the services, which run at the same time."""

    def __init__(self, checks: Checks, services: Callable[[], Deferred[Results]]) -> None:
        self._checks = checks
        self._services = services

    def ask(self, probe: str) -> Deferred[Results]:
        """The results of both."""
        if probe != "readiness":
            return self._checks.ask(probe)
        both = gatherResults([self._checks.ask(probe), self._services()])
        return both.addCallback(lambda found: {**found[0], **found[1]})
