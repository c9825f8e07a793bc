"""A worker: it serves requests, and its parent the rest."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from twisted.application.service import Service
from twisted.internet.error import ReactorNotRunning

from twistserve.composition.parts import development_services, recycling_service, service_tree, shared_listeners
from twistserve.errors import StartError
from twistserve.lifecycle import Lifecycle
from twistserve.logs import get_logger
from twistserve.logs.context import Process
from twistserve.logs.log import LogService
from twistserve.options import Configuration
from twistserve.probes.django_checks import DjangoChecks
from twistserve.process.ending import WORKER_END, Ending
from twistserve.process.forks import name_of
from twistserve.project.application import load_settings
from twistserve.project.preparing import preparing_steps
from twistserve.project.startup import Progress, StartupService, Step
from twistserve.server import Serving
from twistserve.workers.child import Parent, WorkerSide, connect, end_early, stop_listening
from twistserve.workers.protocol import FIRST_WORKER, Descriptors

logger = get_logger(__name__)


class Preloaded(NamedTuple):
    """What a worker has of the process that it was forked from, besides the application."""

    log: LogService
    handlers: Mapping[int, Any]
    """The application's handlers of signals."""


def run(name: str, descriptors: Descriptors, reactor: Any, preloaded: Preloaded | None = None) -> None:
    """Be a worker until the parent wants no more, on the reactor that is installed and has not run."""
    Process.name = name

    def begin(configuration: dict[str, Any], prepares: bool, parent: Parent) -> WorkerSide:
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
    lifecycle = Lifecycle(reactor)
    ending = Ending(end=WORKER_END, asks=())
    ending.grant(configuration.graceful_timeout)
    ending.follow(lifecycle, reactor)
    parent.follow(lifecycle)
    log = _log(configuration, descriptors, ending, preloaded)
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
        files=(descriptors.to_worker, descriptors.from_worker, descriptors.lifeline),
        at_drain=(signal.SIGTERM,),
    )
    reactor.addSystemEventTrigger("before", "shutdown", tree.stopService)
    tree.startService()
    return WorkerSide(lifecycle, serving, checks)


def _log(
    configuration: Configuration, descriptors: Descriptors, ending: Ending, preloaded: Preloaded | None
) -> LogService:
    """The log of the process, begun here or before the fork."""
    if preloaded is not None:
        log = preloaded.log
        ending.replaced.update(preloaded.handlers)
    else:
        log = LogService(configuration.log_level, configuration.log_format)
    log.use_lock(descriptors.log_lock)
    log.take_streams()
    return log


def _only_preparing(
    serving: Serving, preparing: Sequence[Step], prepared: Callable[[], None], lifecycle: Lifecycle, reactor: Any
) -> list[Step]:
    """What a process does that ends when it has prepared: the workers are forked from another one."""

    def make_way() -> None:
        prepared()
        reactor.callFromThread(lifecycle.recycle, "what is to run once has run")

    set_up = serving.steps([], lambda: None)[0]
    return [set_up, *preparing, ("making way for the workers", make_way)]


def _not_ours(name: str) -> None:
    """A signal to the whole group of processes: the parent knows what to do."""
