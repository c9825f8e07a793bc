"""The parent of workers: it serves probes and metrics for all of them, and keeps them running."""

from __future__ import annotations

import signal
from functools import partial
from typing import TYPE_CHECKING, Any

from prometheus_client import REGISTRY
from twisted.internet.defer import Deferred, DeferredList, succeed

from twistserve import collector
from twistserve.composition.announcement import announce_addresses
from twistserve.composition.outside import outside_services
from twistserve.composition.parts import (
    development_services,
    service_tree,
    shared_sockets,
    tell_states,
)
from twistserve.composition.tree import ServiceTree
from twistserve.errors import StartError
from twistserve.files.index import file_indexes
from twistserve.lifecycle import Lifecycle
from twistserve.logs import get_logger
from twistserve.logs.log import LogService
from twistserve.metrics import catalogue as metrics
from twistserve.options import Configuration
from twistserve.probes.handlers import Metrics, ProbeResults
from twistserve.process.ending import END, WORKER_END, Ending
from twistserve.project.application import django_version
from twistserve.status.report import StatusReport
from twistserve.threads.stacks import log_all_stacks
from twistserve.workers.aggregate import AllMetrics, WorkersChecks, describe_all
from twistserve.workers.protocol import FlushMetrics
from twistserve.workers.worker_service import WorkerService

if TYPE_CHECKING:
    from twistserve.probes.handlers import Checks
    from twistserve.workers.preloaded_process import ForkedFromParent
    from twistserve.workers.service_processes import ServiceProcesses

logger = get_logger(__name__)

FLUSH_TIMEOUT = 0.5
"""Seconds that workers have for bringing their metrics up to date before they are read as they are."""


def parent(
    configuration: Configuration,
    lifecycle: Lifecycle,
    ending: Ending,
    log: LogService,
    reactor: Any,
    stays: bool = False,
) -> ServiceTree:
    """The tree of a parent: the probe port and the workers, who do what answers requests.

    `stays` says that this is the process which will run it, with the user and the directory that it has now.
    """
    collector.settle()
    # What the settings make impossible is told before anything starts.
    file_indexes(configuration)
    lock = log.share_output()
    # Before there is anything that it must not have.
    preloaded = _fork_preloaded(reactor, log, lock, ending) if configuration.preload and stays else None
    sockets = shared_sockets(configuration, reactor)
    names = [each.getsockname() for each in sockets]
    workers = WorkerService(configuration, sockets, lifecycle, reactor, log.lines, lock, preloaded)
    supervisor = workers.supervisor
    checks: Checks = WorkersChecks(supervisor, lifecycle, configuration.check_timeout, reactor)
    beside: list[ServiceProcesses] = []
    if configuration.service:
        processes, checks = _service_processes(configuration, lifecycle, workers, checks, log, lock, reactor)
        beside.append(processes)
    all_processes: list[WorkerService | ServiceProcesses] = [workers, *beside]

    def kill() -> None:
        for each in all_processes:
            each.kill()

    ending.at_cut = kill
    # The worker whose start has failed had the rest.
    ending.after_failure = END - WORKER_END
    results = ProbeResults(lifecycle, supervisor, checks, configuration.req_queue_len)
    results.django_ready = True

    def describe_services() -> Deferred[list[dict[str, Any]]]:
        return beside[0].describe() if beside else succeed([])

    def flush() -> Any:
        metrics.flush_log()
        flushed = supervisor.ask_all(FlushMetrics, FLUSH_TIMEOUT)
        return DeferredList([flushed, describe_services().addCallback(metrics.show_services)])

    metrics_handler = Metrics(flush, reactor, AllMetrics(lambda: workers.metrics_directory, REGISTRY))
    described = partial(describe_all, supervisor)
    report = StatusReport(configuration, django_version(), lifecycle, results, described, describe_services, reactor)
    services = [
        log,
        *development_services(configuration),
        *outside_services(configuration, results, metrics_handler, report, lifecycle, log, reactor),
        *beside,
        workers,
    ]
    tell_states(lifecycle)
    announce_addresses(configuration, lifecycle)

    def log_stacks(name: str) -> None:
        log_all_stacks(name, {})
        for each in all_processes:
            each.log_stacks()

    def reload(name: str) -> None:
        for each in all_processes:
            each.reload()

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
            signal.SIGHUP: reload,
            signal.SIGTTIN: lambda name: supervisor.resize(1),
            signal.SIGTTOU: lambda name: supervisor.resize(-1),
        },
        sets_up=False,
    )


def _fork_preloaded(reactor: Any, log: LogService, lock: int, ending: Ending) -> ForkedFromParent | None:
    """The preloaded process. Raises `StartError`."""
    # Imported here: others have no use for it.
    from twistserve.composition.preloaded import fork_from

    try:
        return fork_from(reactor, log, lock, ending.descriptors)
    except OSError as error:
        raise StartError(f"--preload: its process cannot be forked: {error.strerror}") from error


def _service_processes(
    configuration: Configuration,
    lifecycle: Lifecycle,
    workers: WorkerService,
    checks: Checks,
    log: LogService,
    lock: int,
    reactor: Any,
) -> tuple[ServiceProcesses, Checks]:
    """The processes of services that run once beside the workers, and the checks with theirs."""
    # Imported here, with what it needs: for this alone.
    from twistserve.services.readiness import WithServices
    from twistserve.workers.service_processes import ServiceProcesses

    processes = ServiceProcesses(
        configuration,
        lifecycle,
        lambda: workers.metrics_directory,
        workers.supervisor,
        workers.publish,
        reactor,
        log.lines,
        lock,
    )
    workers.run_once = processes.run_once
    return processes, WithServices(checks, processes.check)
