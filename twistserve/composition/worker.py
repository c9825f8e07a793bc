"""A worker: it serves requests, and its parent the rest."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.internet.error import ReactorNotRunning
from twisted.internet.threads import blockingCallFromThread

from twistserve.composition.child import Child, Preloaded
from twistserve.composition.parts import development_services, recycling_service, shared_listeners
from twistserve.errors import StartError
from twistserve.lifecycle import Lifecycle
from twistserve.logs import get_logger
from twistserve.logs.context import Process
from twistserve.options import Configuration
from twistserve.probes.django_checks import DjangoChecks
from twistserve.process.forks import name_of
from twistserve.project.application import load_settings
from twistserve.project.preparing import preparing_steps
from twistserve.project.startup import Progress, StartupService, Step
from twistserve.server import Serving
from twistserve.workers.child import Parent, WorkerSide, connect, end_early, stop_listening
from twistserve.workers.protocol import FIRST_WORKER, SERVICE, Descriptors

if TYPE_CHECKING:
    from twistserve.probes.handlers import Checks
    from twistserve.services.host import ServiceHost
    from twistserve.services.loading import Loaded

logger = get_logger(__name__)


def run(name: str, descriptors: Descriptors, reactor: Any, preloaded: Preloaded | None = None) -> None:
    """Be a worker until the parent wants no more, on the reactor that is installed and has not run."""
    Process.name = name

    def begin(configuration: dict[str, Any], prepares: bool, parent: Parent) -> WorkerSide:
        if name.startswith(SERVICE):
            # Imported here: for this alone.
            from twistserve.composition.service_process import service_process

            return service_process(configuration, name, descriptors, parent)
        return worker(configuration, name, descriptors, prepares, parent, preloaded)

    def end() -> None:
        with suppress(ReactorNotRunning):
            reactor.stop()

    reactor.callWhenRunning(end_early, lambda: reactor.callFromThread(end))
    connect(Parent(begin, end, preloaded is not None), descriptors)
    reactor.run()
    stop_listening(descriptors.to_worker)


def worker(
    values: dict[str, Any],
    name: str,
    descriptors: Descriptors,
    prepares: bool,
    parent: Parent,
    preloaded: Preloaded | None = None,
) -> WorkerSide:
    """Compose and start what a worker's process runs; one of them prepares what all of them need.

    With --preload that is all it does.
    """
    from twisted.internet import reactor as installed

    reactor: Any = installed
    configuration = Configuration.of_values(values)
    child = Child(configuration, descriptors, parent, reactor, preloaded)
    lifecycle, log = child.lifecycle, child.log
    if configuration.debug:
        # Imported here: with what it imports it takes 0.4 MiB.
        from twistserve.development.slow_imports import ImportTimes

        imports = ImportTimes()
        imports.begin()
        imports.follow(lifecycle)
    progress = Progress(lifecycle, reactor)
    signals: dict[int, Callable[[str], None]] = {}
    checks = DjangoChecks(configuration.check, configuration.check_timeout, reactor)
    asked: Checks = checks
    hosts: list[ServiceHost] = []
    serving: Serving | None = None
    names = [name_of(descriptor) for descriptor in descriptors.sockets]
    try:
        if preloaded is None:
            # Elsewhere the application may have changed into another directory, which must not be imported from.
            load_settings(configuration.settings, None, configuration.pythonpath)
        listeners = shared_listeners(configuration, descriptors.sockets, reactor)
        serving = Serving(
            replace(configuration, drain_delay=0.0), listeners, lifecycle, log, reactor, name == FIRST_WORKER
        )
        preparing = preparing_steps(configuration, progress) if prepares else []
        prepared = partial(reactor.callFromThread, parent.prepared) if prepares else lambda: None
        if prepares and configuration.preload:
            steps = _only_preparing(serving, preparing, prepared, lifecycle, reactor)
        else:
            tells = name == FIRST_WORKER and not configuration.no_probe
            steps = [*serving.steps(preparing, checks.tell if tells else lambda: None, prepared), *checks.steps()]
            if configuration.service:
                # Imported here, with what it needs: for this alone.
                from twistserve.composition.services import with_services

                choose = partial(_in_each_worker, parent, reactor)
                host, asked, step = with_services(configuration, lifecycle, checks, reactor, choose=choose)
                hosts.append(host)
                steps.append(step)
        services: list[Service] = [
            log,
            *development_services(configuration),
            *serving.observers,
            *hosts,
            serving.pool,
            serving.web,
            StartupService(steps, serving.web.open, lifecycle, progress, reactor),
            *recycling_service(configuration, serving, lifecycle, parent.ask_for_replacement, reactor),
        ]
        signals[signal.SIGQUIT] = serving.log_stacks
    except StartError as error:
        lifecycle.fail(str(error))
        services = []
    child.start(services, names, signals)
    return WorkerSide(lifecycle, serving, asked, hosts[0] if hosts else None)


def _in_each_worker(parent: Parent, reactor: Any, loaded: Sequence[Loaded]) -> Sequence[Loaded]:
    """The services for this worker, when the others run in processes of the parent's. The start-up's thread."""
    blockingCallFromThread(reactor, parent.run_once, [each.declared.name for each in loaded if not each.in_each_worker])
    return [each for each in loaded if each.in_each_worker]


def _only_preparing(
    serving: Serving, preparing: Sequence[Step], prepared: Callable[[], None], lifecycle: Lifecycle, reactor: Any
) -> list[Step]:
    """What a process does that ends when it has prepared: the workers are forked from another one."""

    def make_way() -> None:
        prepared()
        reactor.callFromThread(lifecycle.recycle, "what is to run once has run")

    set_up = serving.steps([], lambda: None)[0]
    return [set_up, *preparing, ("making way for the workers", make_way)]
