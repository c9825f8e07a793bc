"""A worker: it serves requests, and its parent the rest."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from twisted.application.service import Service

from twistserve.composition.parts import development_services, recycling_service, service_tree, shared_listeners
from twistserve.errors import StartError
from twistserve.lifecycle import Lifecycle
from twistserve.logs import get_logger
from twistserve.logs.log import LogService
from twistserve.options import Configuration
from twistserve.probes.django_checks import DjangoChecks
from twistserve.process.ending import WORKER_END, Ending
from twistserve.process.forks import name_of
from twistserve.project.application import load_settings
from twistserve.project.preparing import preparing_steps
from twistserve.project.startup import Progress, StartupService
from twistserve.server import Serving
from twistserve.workers.child import Parent, WorkerSide
from twistserve.workers.protocol import FIRST_SOCKET, FIRST_WORKER, FROM_WORKER, LIFELINE, LOG_LOCK, TO_WORKER

logger = get_logger(__name__)


def worker(values: dict[str, Any], name: str, sockets: int, prepares: bool, parent: Parent) -> WorkerSide:
    """Compose and start what a worker's process runs; one of them prepares what all of them need."""
    from twisted.internet import reactor as installed

    reactor: Any = installed
    configuration = Configuration.of_values(values)
    lifecycle = Lifecycle(reactor)
    ending = Ending(end=WORKER_END, asks=())
    ending.grant(configuration.graceful_timeout)
    ending.follow(lifecycle, reactor)
    parent.follow(lifecycle)
    log = LogService(configuration.log_level, configuration.log_format)
    log.use_lock(LOG_LOCK)
    log.take_streams()
    if configuration.debug:
        # Imported here: with what it imports it takes 0.4 MiB.
        from twistserve.development.slow_imports import ImportTimes

        imports = ImportTimes()
        imports.begin()
        imports.follow(lifecycle)
    progress = Progress(lifecycle, reactor)
    signals: dict[int, Callable[[str], None]] = dict.fromkeys((signal.SIGINT, signal.SIGHUP), _not_ours)
    checks = DjangoChecks(configuration.check, configuration.check_timeout, reactor)
    serving: Serving | None = None
    descriptors = range(FIRST_SOCKET, FIRST_SOCKET + sockets)
    names = [name_of(descriptor) for descriptor in descriptors]
    try:
        load_settings(configuration.settings, None, configuration.pythonpath)
        listeners = shared_listeners(configuration, descriptors, reactor)
        serving = Serving(
            replace(configuration, drain_delay=0.0), listeners, lifecycle, log, reactor, name == FIRST_WORKER
        )
        preparing = preparing_steps(configuration, progress) if prepares else []
        prepared = partial(reactor.callFromThread, parent.prepared) if prepares else lambda: None
        tell = checks.tell if name == FIRST_WORKER and not configuration.no_probe else lambda: None
        steps = [*serving.steps(preparing, tell, prepared), *checks.steps()]
        services: list[Service] = [
            log,
            *development_services(configuration),
            *serving.observers,
            serving.pool,
            serving.web,
            StartupService(steps, serving.web.open, lifecycle, progress, reactor),
            *recycling_service(configuration, serving, lifecycle, parent.ask_for_replacement, reactor),
        ]
        signals[signal.SIGTERM] = lambda name: parent.ask_for_replacement("signal", f"received {name}")
        signals[signal.SIGQUIT] = serving.log_stacks
    except StartError as error:
        lifecycle.fail(str(error))
        services = []
    tree = service_tree(
        services,
        lifecycle,
        ending,
        lambda: names,
        reactor,
        signals,
        files=(TO_WORKER, FROM_WORKER, LIFELINE),
        at_drain=(signal.SIGTERM,),
    )
    reactor.addSystemEventTrigger("before", "shutdown", tree.stopService)
    tree.startService()
    return WorkerSide(lifecycle, serving, checks)


def _not_ours(name: str) -> None:
    """A signal to the whole group of processes: the parent knows what to do."""
