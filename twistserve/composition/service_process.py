"""The process of a service that runs once beside workers: it has no port, and its parent the rest."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed

from twistserve.composition.parts import development_services, service_tree
from twistserve.composition.services import service_host, service_step
from twistserve.composition.worker import log_of, not_ours
from twistserve.errors import StartError
from twistserve.lifecycle import Lifecycle
from twistserve.options import Configuration
from twistserve.probes.responses import Results
from twistserve.process.ending import WORKER_END, Ending
from twistserve.project.application import DjangoApplication, load_settings
from twistserve.project.startup import Progress, StartupService
from twistserve.services.host import ServiceHost
from twistserve.services.loading import declared
from twistserve.threads.stacks import log_all_stacks
from twistserve.workers.child import Parent, WorkerSide
from twistserve.workers.protocol import SERVICE, Descriptors


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
    lifecycle = Lifecycle(reactor)
    ending = Ending(end=WORKER_END, asks=())
    ending.grant(configuration.graceful_timeout)
    ending.follow(lifecycle, reactor)
    parent.follow(lifecycle)
    log = log_of(configuration, descriptors, ending)
    host = service_host(configuration, lifecycle, reactor)

    def set_django_up() -> None:
        DjangoApplication(configuration.wsgi).set_up(log.applying_logging)
        log.settle()

    [service] = [each for each in declared(configuration) if each.name == name.removeprefix(SERVICE)]
    steps = [("setting Django up", set_django_up), service_step([service], host, reactor)]
    services: list[Service] = [
        log,
        *development_services(configuration),
        host,
        StartupService(steps, lambda: succeed(None), lifecycle, Progress(lifecycle, reactor), reactor),
    ]
    signals: dict[int, Callable[[str], None]] = {
        signal.SIGINT: not_ours,
        signal.SIGHUP: not_ours,
        signal.SIGTERM: lambda name: parent.ask_for_replacement("signal", f"received {name}"),
        signal.SIGQUIT: lambda name: log_all_stacks(name, {}),
    }
    try:
        load_settings(configuration.settings, None, configuration.pythonpath)
    except StartError as error:
        lifecycle.fail(str(error))
        services = []
    tree = service_tree(
        services,
        lifecycle,
        ending,
        list,
        reactor,
        signals,
        files=(descriptors.to_worker, descriptors.from_worker, descriptors.lifeline),
        at_drain=(signal.SIGTERM,),
    )
    reactor.addSystemEventTrigger("before", "shutdown", tree.stopService)
    tree.startService()
    return WorkerSide(lifecycle, None, _Checks(host), host)
