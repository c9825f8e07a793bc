"""The service trees of several processes: the parent, which serves probes, and the workers, which serve requests."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from prometheus_client import REGISTRY
from twisted.application.service import Service

from twistserve import collector
from twistserve.composition import outside_services, recycling_service, service_tree, tell_states, web_port
from twistserve.errors import StartError
from twistserve.files.index import file_indexes
from twistserve.lifecycle import Lifecycle, ServiceTree
from twistserve.logs import get_logger
from twistserve.logs.service import LogService
from twistserve.metrics import catalogue as metrics
from twistserve.net.listeners import Endpoint, Listener
from twistserve.net.shared_sockets import AdoptingReactor, bind_endpoints
from twistserve.options import Configuration
from twistserve.probes.django_checks import DjangoChecks
from twistserve.probes.resources import Metrics, ProbeResults
from twistserve.process.ending import END, WORKER_END, Ending
from twistserve.process.forks import name_of
from twistserve.project.application import django_version, load_settings
from twistserve.project.preparing import preparing_steps
from twistserve.project.startup import Progress, StartupService
from twistserve.server import Serving
from twistserve.status.report import StatusReport
from twistserve.threads.stacks import log_all_stacks
from twistserve.workers.answers import AllMetrics, WorkersChecks, WorkersPool, describe_all
from twistserve.workers.protocol import FIRST_SOCKET, FROM_WORKER, LIFELINE, LOG_LOCK, TO_WORKER, FlushMetrics
from twistserve.workers.service import FIRST_WORKER, WorkerService
from twistserve.workers.worker import Parent, WorkerSide

logger = get_logger(__name__)

FLUSH_TIMEOUT = 0.5
"""Seconds that workers have for bringing their metrics up to date before they are read as they are."""


def compose_parent(
    configuration: Configuration, lifecycle: Lifecycle, ending: Ending, log: LogService, reactor: Any
) -> ServiceTree:
    """The tree of a parent: the probe port and the workers, who do what answers requests."""
    collector.settle()
    # What the settings make impossible is told before anything starts.
    file_indexes(configuration)
    sockets = _sockets(configuration, reactor)
    names = [each.getsockname() for each in sockets]
    workers = WorkerService(configuration, sockets, lifecycle, reactor, log.lines, log.share_output())
    ending.at_cut = workers.kill
    # The worker whose start has failed had the rest.
    ending.after_failure = END - WORKER_END
    supervisor = workers.supervisor
    checks = WorkersChecks(supervisor, lifecycle, configuration.check_timeout, reactor)
    results = ProbeResults(lifecycle, WorkersPool(supervisor), checks, configuration.req_queue_len)
    results.django_ready = True

    def flush() -> Any:
        metrics.flush_log()
        return supervisor.ask_all(FlushMetrics, FLUSH_TIMEOUT)

    metrics_resource = Metrics(flush, reactor, AllMetrics(lambda: workers.metrics_directory, REGISTRY))
    described = partial(describe_all, supervisor)
    report = StatusReport(configuration, django_version(), lifecycle, results, described, reactor)
    services = [
        log,
        *outside_services(configuration, results, metrics_resource, report, lifecycle, log, reactor),
        workers,
    ]
    tell_states(lifecycle)

    def log_stacks(name: str) -> None:
        log_all_stacks(name, {})
        workers.log_stacks()

    return service_tree(
        services,
        lifecycle,
        ending,
        lambda: names,
        reactor,
        {
            signal.SIGTERM: lifecycle.shut_down,
            signal.SIGINT: lifecycle.shut_down,
            signal.SIGQUIT: log_stacks,
            signal.SIGHUP: lambda name: workers.reload(),
            signal.SIGTTIN: lambda name: supervisor.resize(1),
            signal.SIGTTOU: lambda name: supervisor.resize(-1),
        },
        sets_up=False,
    )


def begin_worker(values: dict[str, Any], name: str, sockets: int, prepares: bool, parent: Parent) -> WorkerSide:
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
    progress = Progress(lifecycle, reactor)
    signals: dict[int, Callable[[str], None]] = dict.fromkeys((signal.SIGINT, signal.SIGHUP), _not_ours)
    checks = DjangoChecks(configuration.check, configuration.check_timeout, reactor)
    serving: Serving | None = None
    descriptors = range(FIRST_SOCKET, FIRST_SOCKET + sockets)
    names = [name_of(descriptor) for descriptor in descriptors]
    try:
        load_settings(configuration.settings, None, configuration.pythonpath)
        listeners = _inherited(configuration, descriptors, reactor)
        serving = Serving(
            replace(configuration, drain_delay=0.0), listeners, lifecycle, log, reactor, name == FIRST_WORKER
        )
        preparing = preparing_steps(configuration, progress) if prepares else []
        prepared = partial(reactor.callFromThread, parent.prepared) if prepares else lambda: None
        steps = [*serving.steps(preparing, lambda: None, prepared), *checks.steps()]
        services: list[Service] = [
            log,
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


def _sockets(configuration: Configuration, reactor: Any) -> list[socket.socket]:
    """The bound sockets that workers share."""
    if configuration.endpoint:
        return bind_endpoints(reactor, configuration.endpoint)
    port = web_port(configuration, reactor)
    port.bind()
    return port.sockets


def _inherited(configuration: Configuration, descriptors: Sequence[int], reactor: Any) -> list[Listener]:
    """The same in a worker."""
    if configuration.endpoint:
        adopting = AdoptingReactor(reactor, iter(descriptors))
        return [Endpoint(adopting, description) for description in configuration.endpoint]
    port = web_port(configuration, reactor)
    port.take(descriptors)
    return [port]


def _not_ours(name: str) -> None:
    """A signal to the whole group of processes: the parent knows what to do."""
