"""What --service adds to a process that runs services: their host, the step that starts them, and what they tell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.threads import blockingCallFromThread

from twistserve.lifecycle import Lifecycle, State
from twistserve.options import Configuration
from twistserve.probes.handlers import Checks
from twistserve.project.startup import Step
from twistserve.services.host import ServiceHost
from twistserve.services.loading import Declared, Loaded, declared, load
from twistserve.services.readiness import WithServices

STOP = 3.0
"""Seconds that services have to stop when the requests have used up --graceful-timeout."""
STOP_IN_WORKER = 1.0
"""The same in a process that a parent ends."""


def service_host(
    configuration: Configuration,
    lifecycle: Lifecycle,
    reactor: Any,
    delay: Callable[[], float] = lambda: 0.0,
    stop: float = STOP_IN_WORKER,
) -> ServiceHost:
    """The host of the services.

    To stop they have what is left of `delay` and --graceful-timeout since the drain began, and `stop` seconds more.
    """

    def bound() -> float:
        since = lifecycle.age if lifecycle.state is State.DRAINING else 0.0
        left = max(delay() + configuration.graceful_timeout - since, 0.0)
        return left + stop if lifecycle.started else stop

    return ServiceHost(lifecycle, configuration.check_timeout, bound, reactor)


def with_services(
    configuration: Configuration,
    lifecycle: Lifecycle,
    checks: Checks,
    reactor: Any,
    delay: Callable[[], float] = lambda: 0.0,
    stop: float = STOP_IN_WORKER,
    choose: Callable[[Sequence[Loaded]], Sequence[Loaded]] = lambda loaded: loaded,
) -> tuple[ServiceHost, Checks, Step]:
    """The host of all services beside the application, the checks with theirs, and the step that starts them."""
    host = service_host(configuration, lifecycle, reactor, delay, stop)
    step = service_step(declared(configuration), host, reactor, choose)
    return host, WithServices(checks, host.check), step


def service_step(
    services: Sequence[Declared],
    host: ServiceHost,
    reactor: Any,
    choose: Callable[[Sequence[Loaded]], Sequence[Loaded]] = lambda loaded: loaded,
) -> Step:
    """The start-up's last step: it imports these services, and starts those of them that `choose` returns."""

    def start() -> None:
        chosen = choose(load(services))
        blockingCallFromThread(reactor, host.start, chosen)

    return "starting the services", start
