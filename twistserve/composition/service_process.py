"""The process of a service that runs once beside workers: it has no port, and its parent the rest."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.threads import blockingCallFromThread

from twistserve.composition.child import Child
from twistserve.composition.parts import development_services
from twistserve.composition.services import service_host, service_step
from twistserve.errors import StartError
from twistserve.options import Configuration
from twistserve.probes.responses import Results
from twistserve.project.application import DjangoApplication, load_settings
from twistserve.project.startup import Progress, StartupService
from twistserve.resources.groups import groups
from twistserve.services.host import ServiceHost
from twistserve.services.loading import Loaded, declared
from twistserve.threads.stacks import log_all_stacks
from twistserve.workers.child import ANNOUNCED, Parent, WorkerSide
from twistserve.workers.protocol import SERVICE, Descriptors

SERVICE_END = 8.0
"""Seconds for the end beyond the time that requests have, which begins with the drain of the instance."""


class _Checks:
    """What the parent asks: the service's readiness alone."""

    def __init__(self, host: ServiceHost) -> None:
        self._host = host

    def ask(self, probe: str) -> Deferred[Results]:
        return self._host.check()


def service_process(values: dict[str, Any], name: str, descriptors: Descriptors, parent: Parent) -> WorkerSide:
    """Compose and start what the process of the service in `name` runs."""
    from twisted.internet import reactor as installed

    reactor: Any = installed
    configuration = Configuration.of_values(values)
    child = Child(configuration, descriptors, parent, reactor, delay=configuration.drain_delay, end=SERVICE_END)
    lifecycle, log = child.lifecycle, child.log
    # One that is replaced alone begins its end when it is told to.
    delay = lambda: configuration.drain_delay if lifecycle.reason == ANNOUNCED else 0.0  # noqa: E731
    host = service_host(configuration, lifecycle, reactor, delay)

    def set_django_up() -> None:
        DjangoApplication(configuration.wsgi).set_up(log.applying_logging)
        log.settle()
        if configuration.mount:
            # The service may send to the WebSockets, which the workers have.
            groups.begin(reactor.callFromThread)

    def alone(loaded: Sequence[Loaded]) -> Sequence[Loaded]:
        blockingCallFromThread(reactor, parent.may_start)
        return loaded

    [service] = [each for each in declared(configuration) if each.name == name.removeprefix(SERVICE)]
    steps = [("setting Django up", set_django_up), service_step([service], host, reactor, alone)]
    services: list[Service] = [
        log,
        *development_services(configuration),
        host,
        StartupService(steps, None, lifecycle, Progress(lifecycle, reactor), reactor),
    ]
    try:
        load_settings(configuration.settings, None, configuration.pythonpath)
    except StartError as error:
        lifecycle.fail(str(error))
        services = []
    child.start(services, [], {signal.SIGQUIT: lambda name: log_all_stacks(name, {})})
    return WorkerSide(lifecycle, None, _Checks(host), host)
