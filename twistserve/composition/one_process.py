"""The only process: it serves requests, probes and metrics."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.internet.defer import succeed

from twistserve.composition.announcement import announce_addresses
from twistserve.composition.outside import outside_services
from twistserve.composition.parts import (
    development_services,
    recycling_service,
    service_tree,
    shared_listeners,
    tell_states,
    web_port,
)
from twistserve.composition.tree import ServiceTree
from twistserve.development.debugger import DebuggerService
from twistserve.development.inheritance import Inheritance
from twistserve.development.static_watch import static_watch
from twistserve.lifecycle import Lifecycle
from twistserve.logs import get_logger
from twistserve.logs.log import LogService
from twistserve.metrics import catalogue as metrics
from twistserve.net.listeners import Endpoint, Listener
from twistserve.options import Configuration
from twistserve.probes.django_checks import DjangoChecks
from twistserve.probes.handlers import Checks, Metrics, ProbeResults
from twistserve.process.ending import Ending
from twistserve.project.application import django_version
from twistserve.project.preparing import preparing_steps
from twistserve.project.startup import Progress, StartupService, Step
from twistserve.server import Serving
from twistserve.status.report import StatusReport

if TYPE_CHECKING:
    from twistserve.services.host import ServiceHost

logger = get_logger(__name__)


def one_process(
    configuration: Configuration,
    lifecycle: Lifecycle,
    ending: Ending,
    log: LogService,
    reactor: Any,
    inheritance: Inheritance | None = None,
    actions: Mapping[int, Callable[[str], None]] = MappingProxyType({}),
) -> ServiceTree:
    """The tree of the only process. Raises `StartError`.

    With an `inheritance` a parent has the sockets. Of its signals, `actions` says what some are for.
    """
    debuggers = [DebuggerService(configuration, lifecycle, reactor)] if configuration.debugger else []
    listeners = (
        _web_listeners(configuration, reactor)
        if inheritance is None
        else shared_listeners(configuration, inheritance.web_sockets, reactor)
    )
    serving = Serving(configuration, listeners, lifecycle, log, reactor)
    serving.web.last = inheritance is None
    checks = DjangoChecks(configuration.check, configuration.check_timeout, reactor)
    hosts: list[ServiceHost] = []
    starting: list[Step] = []
    asked: Checks = checks
    if configuration.service:
        # Imported here, with what it needs: for this alone.
        from twistserve.composition.services import STOP, with_services

        delay = lambda: configuration.drain_delay  # noqa: E731
        host, asked, step = with_services(configuration, lifecycle, checks, reactor, delay, STOP)
        hosts, starting = [host], [step]
    results = ProbeResults(lifecycle, serving.pool, asked, configuration.req_queue_len)

    def checks_can_run() -> None:
        if not configuration.no_probe:
            checks.tell()
        results.django_ready = True

    progress = Progress(lifecycle, reactor)
    watches = static_watch(configuration.static_watch, serving.renew_static, lifecycle, reactor)
    preparing = [*preparing_steps(configuration, progress), *(watch.step for watch in watches)]
    steps = [
        *(step for debugger in debuggers for step in debugger.steps),
        *serving.steps(preparing, checks_can_run),
        *checks.steps(),
        *starting,
    ]
    workers = lambda: succeed([serving.describe()])  # noqa: E731
    described = lambda: [each for host in hosts for each in host.describe()]  # noqa: E731
    report = StatusReport(
        configuration, django_version(), lifecycle, results, workers, lambda: succeed(described()), reactor
    )

    def flush() -> None:
        serving.flush_metrics()
        metrics.show_services(described())

    exposed = Metrics(flush, reactor)
    services: list[Service] = [
        log,
        *development_services(configuration),
        *debuggers,
        *serving.observers,
        *outside_services(
            configuration,
            results,
            exposed,
            report,
            lifecycle,
            log,
            reactor,
            inheritance.probe_sockets if inheritance is not None else (),
            # Where a parent has the port, what comes during the start waits there, or gets why it has failed.
            lambda probes: serving.put_probes_first(probes, lifecycle.fail if inheritance is None else None),
        ),
        *hosts,
        serving.pool,
        serving.web,
        StartupService(steps, serving.web.open, lifecycle, progress, reactor),
        *recycling_service(configuration, serving, lifecycle, lambda cause, reason: lifecycle.recycle(reason), reactor),
        *watches,
    ]
    tell_states(lifecycle)
    announce_addresses(configuration, lifecycle)
    return service_tree(
        services,
        lifecycle,
        ending,
        lambda: [name for each in listeners for name in each.names],
        reactor,
        {
            signal.SIGTERM: lifecycle.shut_down,
            signal.SIGINT: lifecycle.shut_down,
            signal.SIGQUIT: serving.log_stacks,
            signal.SIGHUP: _no_workers,
            **actions,
        },
        files=inheritance.descriptors if inheritance is not None else (),
    )


def _no_workers(name: str) -> None:
    logger.warning("received %s, which is for the workers of --workers: there are none", name)


def _web_listeners(configuration: Configuration, reactor: Any) -> list[Listener]:
    """Where the site is served: --endpoint, or --host and --port, which is reserved now."""
    if configuration.endpoint:
        return [Endpoint(reactor, description) for description in configuration.endpoint]
    port = web_port(configuration, reactor)
    port.bind()
    return [port]
