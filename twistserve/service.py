"""The composition root: what the service consists of, and in which order. Reading it is reading the architecture."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from twisted.application.service import IService, Service
from twisted.internet.defer import succeed

from twistserve.composition import outside_services, recycling_service, service_tree, tell_states, web_port
from twistserve.errors import StartError
from twistserve.lifecycle import Lifecycle, ServiceTree
from twistserve.logs import get_logger
from twistserve.logs.observer import RecordingObserver
from twistserve.logs.output import Output
from twistserve.logs.runners import output_of
from twistserve.logs.service import LogService, early_log
from twistserve.logs.standard_streams import open_closed_streams
from twistserve.net.listeners import Endpoint, Listener
from twistserve.net.other_reactors import keep_installed
from twistserve.net.reactor import install_unless_chosen
from twistserve.options import CommandLine, Configuration, resolve, unknown_variables
from twistserve.probes.django_checks import DjangoChecks
from twistserve.probes.resources import Metrics, ProbeResults
from twistserve.process.ending import Ending
from twistserve.process.first_process import FirstProcess, leave_first_process
from twistserve.project.application import django_version, load_settings
from twistserve.project.preparing import preparing_steps
from twistserve.project.startup import Progress, StartupService
from twistserve.server import Serving
from twistserve.status.report import StatusReport

logger = get_logger(__name__)


class Options(CommandLine):
    """What ``twistd djangoserve`` parses its command line with; twisted's plugin machinery looks for this name."""

    def __init__(self) -> None:
        # Before the reactor's first descriptor could take the number of one that is closed.
        open_closed_streams()
        # twistd has parsed its --reactor by now, twist comes to it when we have been parsed.
        install_unless_chosen()
        keep_installed()
        super().__init__()


def makeService(options: CommandLine) -> IService:
    """The service for ``twistd djangoserve`` and ``twist djangoserve``.

    What is wrong with options or settings ends the process with status 1 and one line on standard error, before
    twistd forks.
    """
    runner: dict[str, Any] = options.parent if options.parent is not None else {}
    daemon = not runner.get("nodaemon", True)
    # twistd that makes a daemon of itself ends as soon as that runs: then the container is over.
    ending = Ending(FirstProcess() if daemon else leave_first_process())
    ending.take_early_signals()
    # twistd has a default for it, and changes into another directory only as a daemon.
    ending.pid_file = os.path.abspath(runner["pidfile"]) if runner.get("pidfile") else ""
    tree = compose(options.given, ending, lambda: output_of(runner))
    tree.log_observer = RecordingObserver()
    return tree


def compose(
    given: Mapping[str, object],
    ending: Ending,
    make_output: Callable[[], Output | None] = lambda: None,
    defaults: Mapping[str, object] = MappingProxyType({}),
) -> ServiceTree:
    """The service for these options. What is wrong with them ends the process: raises SystemExit, with one line.

    `make_output` gives where the log goes, None for standard output; `defaults` are in place of the table's.
    """
    try:
        output = make_output()
        with early_log(given.get("log_format", os.environ.get("TWISTSERVE_LOG_FORMAT")), output):
            return _compose(resolve(given, os.environ, load_settings, defaults), ending, output)
    except StartError as error:
        ending.fail_early()
        raise SystemExit(f"twistserve: {error}") from error


def _compose(configuration: Configuration, ending: Ending, output: Output | None) -> ServiceTree:
    """Compose the service tree: it starts in this order and stops in reverse. Raises `StartError`.

    Ports are reserved here, so that a conflict is told before anything runs; no thread and no connection
    exists before the start. `output` is where the log goes, if not to standard output.
    """
    from twisted.internet import reactor as installed

    reactor: Any = installed
    lifecycle = Lifecycle(reactor)
    ending.grant(configuration.drain_delay + configuration.graceful_timeout)
    ending.follow(lifecycle, reactor)
    notices = [
        f"the environment variable {name} is not a known option"
        + (f" (did you mean {meant}?)" if meant else "; see --help")
        for name, meant in unknown_variables(os.environ).items()
    ]
    log = LogService(configuration.log_level, configuration.log_format, output=output, notices=notices)
    # twist redirects the streams when everything has been started.
    reactor.callWhenRunning(log.take_streams)
    if configuration.workers > 1:
        from twistserve.workers.composition import compose_parent

        return compose_parent(configuration, lifecycle, ending, log, reactor)
    listeners = _web_listeners(configuration, reactor)
    serving = Serving(configuration, listeners, lifecycle, log, reactor)
    checks = DjangoChecks(configuration.check, configuration.check_timeout, reactor)
    results = ProbeResults(lifecycle, serving.pool, checks, configuration.req_queue_len)

    def checks_can_run() -> None:
        results.django_ready = True

    progress = Progress(lifecycle, reactor)
    steps = [*serving.steps(preparing_steps(configuration, progress), checks_can_run), *checks.steps()]
    workers = lambda: succeed([serving.describe()])  # noqa: E731
    report = StatusReport(configuration, django_version(), lifecycle, results, workers, reactor)
    exposed = Metrics(serving.flush_metrics, reactor)
    services: list[Service] = [
        log,
        *serving.observers,
        *outside_services(configuration, results, exposed, report, lifecycle, log, reactor),
        serving.pool,
        serving.web,
        StartupService(steps, serving.web.open, lifecycle, progress, reactor),
        *recycling_service(configuration, serving, lifecycle, lambda cause, reason: lifecycle.recycle(reason), reactor),
    ]
    tell_states(lifecycle)
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
        },
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
