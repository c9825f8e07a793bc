"""The composition root: what the service consists of, and in which order. Reading it is reading the architecture."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any

from prometheus_client import REGISTRY
from twisted.application.service import IService, Service
from twisted.internet.defer import succeed

from twistserve import metrics
from twistserve.application import DjangoApplication, django_version, file_indexes, load_settings
from twistserve.ending import END, WORKER_END, Ending
from twistserve.errors import StartError
from twistserve.forks import ForkGuard, name_of
from twistserve.init_process import FirstProcess, leave_first_process
from twistserve.lifecycle import Lifecycle, ServiceTree, State
from twistserve.listening import Endpoint, Listener, Port
from twistserve.logs import get_logger
from twistserve.logs.observer import RecordingObserver
from twistserve.logs.output import Output
from twistserve.logs.runners import output_of
from twistserve.logs.service import LogService, early_log
from twistserve.logs.standard_streams import open_closed_streams
from twistserve.options import STATUS_JSON, STATUS_PAGE, CommandLine, Configuration, resolve, unknown_variables
from twistserve.preparing import preparing_steps
from twistserve.probes import page
from twistserve.probes.project import DjangoChecks
from twistserve.probes.resources import Changed, Metrics, Probe, ProbeResults, ProbeRoot
from twistserve.probes.service import ProbeService
from twistserve.probes.status import StatusDocument, StatusReport, as_json
from twistserve.recycling import RecyclingService
from twistserve.serving import Serving, setting_up
from twistserve.stacks import log_all_stacks
from twistserve.startup import Progress, StartupService
from twistserve.web.accesslog import AccessLog
from twistserve.web.other_reactors import keep_installed
from twistserve.web.reactor import install_unless_chosen
from twistserve.webhooks import WebhookService, facts_of
from twistserve.workers.answers import AllMetrics, WorkersChecks, WorkersPool, describe_all
from twistserve.workers.protocol import FIRST_SOCKET, FROM_WORKER, LIFELINE, LOG_LOCK, TO_WORKER, FlushMetrics
from twistserve.workers.service import START_UP, WorkerService
from twistserve.workers.sockets import AdoptingReactor, bind_endpoints
from twistserve.workers.worker import Parent, WorkerSide

logger = get_logger(__name__)

FLUSH_TIMEOUT = 0.5
"""Seconds that workers have for bringing their metrics up to date before they are read as they are."""


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
        f"the environment variable {name} is no option's" + (f" (did you mean {meant}?)" if meant else "; see --help")
        for name, meant in unknown_variables(os.environ).items()
    ]
    log = LogService(
        configuration.log_level,
        configuration.log_format,
        output=output,
        notices=notices,
    )
    # twist redirects the streams when everything has been started.
    reactor.callWhenRunning(log.take_streams)
    if configuration.workers > 1:
        return _compose_parent(configuration, lifecycle, ending, log, reactor)
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
    services: list[Service] = [
        log,
        *serving.observers,
        *_outside(configuration, results, Metrics(serving.flush_metrics, reactor), report, lifecycle, log, reactor),
        serving.pool,
        serving.web,
        StartupService(steps, serving.web.open, lifecycle, progress, reactor),
        *_recycling(configuration, serving, lifecycle, lambda cause, reason: lifecycle.recycle(reason), reactor),
    ]
    _measure(lifecycle)
    return _tree(
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


def _compose_parent(
    configuration: Configuration, lifecycle: Lifecycle, ending: Ending, log: LogService, reactor: Any
) -> ServiceTree:
    """The tree of a parent: the probe port and the workers, who do what answers requests."""
    # What the settings make impossible is told before anything starts.
    file_indexes(configuration.static, configuration.media)
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
    services = [log, *_outside(configuration, results, metrics_resource, report, lifecycle, log, reactor), workers]
    _measure(lifecycle)

    def log_stacks(name: str) -> None:
        log_all_stacks(name, {})
        workers.log_stacks()

    return _tree(
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
    )


def begin_worker(values: dict[str, Any], name: str, sockets: int, parent: Parent) -> WorkerSide:
    """Compose and start what a worker's process runs: a worker, or the start-up's work."""
    from twisted.internet import reactor as installed

    reactor: Any = installed
    configuration = Configuration.of_values(values)
    lifecycle = Lifecycle(reactor)
    ending = Ending(end=WORKER_END, asks=())
    ending.grant(0.0 if name == START_UP else configuration.graceful_timeout)
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
        if name == START_UP:
            application = DjangoApplication(configuration.wsgi)
            steps = [setting_up(application, log), *preparing_steps(configuration, progress)]
            services: list[Service] = [log, StartupService(steps, lambda: succeed(None), lifecycle, progress, reactor)]
            lifecycle.observe(lambda state, reason: lifecycle.recycle("done") if state is State.READY else None)
        else:
            listeners = _inherited(configuration, descriptors, reactor)
            serving = Serving(replace(configuration, drain_delay=0.0), listeners, lifecycle, log, reactor)
            steps = [*serving.steps((), lambda: None), *checks.steps()]
            services = [
                log,
                *serving.observers,
                serving.pool,
                serving.web,
                StartupService(steps, serving.web.open, lifecycle, progress, reactor),
                *_recycling(configuration, serving, lifecycle, parent.ask_for_replacement, reactor),
            ]
            signals[signal.SIGTERM] = lambda name: parent.ask_for_replacement("signal", f"received {name}")
            signals[signal.SIGQUIT] = serving.log_stacks
    except StartError as error:
        lifecycle.fail(str(error))
        services = []
    tree = _tree(services, lifecycle, ending, lambda: names, reactor, signals, (TO_WORKER, FROM_WORKER, LIFELINE))
    reactor.addSystemEventTrigger("before", "shutdown", tree.stopService)
    tree.startService()
    return WorkerSide(lifecycle, serving, checks)


def _tree(
    services: Sequence[Service],
    lifecycle: Lifecycle,
    ending: Ending,
    names: Callable[[], Sequence[Any]],
    reactor: Any,
    signals: Mapping[int, Callable[[str], None]],
    files: Sequence[int] = (),
) -> ServiceTree:
    """The services below their root; `names` are the addresses of the web ports, as getsockname(2) tells them.

    `files` are descriptors that forked children must not have either.
    """
    tree = ServiceTree(lifecycle, reactor, signals)
    for service in services:
        service.setServiceParent(tree)
    ending.stopping = lambda: tree.stopping
    probes = [service.port for service in services if isinstance(service, ProbeService)]
    guard = ForkGuard(
        reactor,
        lambda: [*names(), *(name for port in probes for name in port.names)],
        lambda: (*files, *ending.descriptors),
    )
    reactor.callWhenRunning(guard.install)
    return tree


def _outside(
    configuration: Configuration,
    results: ProbeResults,
    metrics_resource: Metrics,
    report: StatusReport,
    lifecycle: Lifecycle,
    log: LogService,
    reactor: Any,
) -> Iterator[Service]:
    """What others ask and are told: the probe port and the webhooks."""
    webhooks = _webhooks(configuration, lifecycle, reactor) if configuration.webhook_url else None
    if not configuration.no_probe:
        changed = _probe_announcer(webhooks) if webhooks is not None else None
        root = _probes(results, metrics_resource, report, configuration, changed)
        access_log = AccessLog(log, configuration.log_format == "json") if configuration.log_probes else None
        yield ProbeService(_probe_port(configuration, reactor), root, lifecycle.fail, reactor, access_log)
    if webhooks is not None:
        yield webhooks


def _recycling(
    configuration: Configuration,
    serving: Serving,
    lifecycle: Lifecycle,
    recycle: Callable[[str, str], None],
    reactor: Any,
) -> Iterator[Service]:
    if configuration.max_lifetime or configuration.max_memory:
        memory = configuration.max_memory << 20
        answered = lambda: serving.site.answered  # noqa: E731
        yield RecyclingService(configuration.max_lifetime, memory, answered, lifecycle, recycle, reactor)


def _no_workers(name: str) -> None:
    logger.warning("received %s, which is for the workers of --workers: there are none", name)


def _not_ours(name: str) -> None:
    """A signal to the whole group of processes: the parent knows what to do."""


def _sockets(configuration: Configuration, reactor: Any) -> list[socket.socket]:
    """The bound sockets that workers share."""
    if configuration.endpoint:
        return bind_endpoints(reactor, configuration.endpoint)
    port = _web_port(configuration, reactor)
    port.bind()
    return port.sockets


def _inherited(configuration: Configuration, descriptors: Sequence[int], reactor: Any) -> list[Listener]:
    """The same in a worker."""
    if configuration.endpoint:
        adopting = AdoptingReactor(reactor, iter(descriptors))
        return [Endpoint(adopting, description) for description in configuration.endpoint]
    port = _web_port(configuration, reactor)
    port.take(descriptors)
    return [port]


def _web_listeners(configuration: Configuration, reactor: Any) -> list[Listener]:
    """Where the site is served: --endpoint, or --host and --port, which is reserved now."""
    if configuration.endpoint:
        return [Endpoint(reactor, description) for description in configuration.endpoint]
    port = _web_port(configuration, reactor)
    port.bind()
    return [port]


def _web_port(configuration: Configuration, reactor: Any) -> Port:
    return Port(reactor, configuration.host, configuration.port, "--port", configuration.backlog)


def _probe_port(configuration: Configuration, reactor: Any) -> Port:
    host_option = "--probe-host" if "probe_host" in configuration.sources else "--host"
    port = Port(reactor, configuration.probe_host, configuration.probe_port, "--probe-port", host_option=host_option)
    port.bind()
    return port


def _webhooks(configuration: Configuration, lifecycle: Lifecycle, reactor: Any) -> WebhookService:
    """The webhooks, told of the lifecycle's states."""
    facts = facts_of(configuration.app_version, os.environ)
    webhooks = WebhookService(configuration.webhook_url, configuration.webhook_secret, facts, lifecycle.hurry, reactor)

    def announce(state: State, reason: str) -> None:
        if state is State.READY:
            webhooks.announce("startup", "succeeded", reason)
        elif state is State.DRAINING and lifecycle.failure is not None:
            webhooks.announce("startup", "failed", lifecycle.failure)
        elif state is State.DRAINING:
            webhooks.announce("draining", "draining", reason)

    lifecycle.observe(announce)
    return webhooks


def _probe_announcer(webhooks: WebhookService) -> Changed:
    def announce(probe: str, passing: bool, reason: str) -> None:
        webhooks.announce(probe, "passing" if passing else "failing", reason)

    return announce


def _probes(
    results: ProbeResults,
    metrics_resource: Metrics,
    report: StatusReport,
    configuration: Configuration,
    changed: Changed | None,
) -> ProbeRoot:
    """The probe port's resources by path.

    `changed` is told of readiness, which fails to begin with, and of liveness, which passes.
    """
    resources: dict[str, Any] = {
        configuration.startup_probe: Probe("startup", results.startup),
        configuration.readiness_probe: Probe("readiness", results.readiness, changed),
        configuration.liveness_probe: Probe("liveness", results.liveness, changed, passing=True),
    }
    if not configuration.no_metrics:
        resources[configuration.metrics] = metrics_resource
    if not configuration.no_status_page:
        resources[STATUS_PAGE] = StatusDocument(report.gather, page.render, page.CONTENT_TYPE, page.POLICY)
        resources[STATUS_JSON] = StatusDocument(report.gather, as_json, b"application/json")
    return ProbeRoot(resources)


def _measure(lifecycle: Lifecycle) -> None:
    """Tell versions and states."""
    metrics.describe_build(django_version())

    def show_state(state: State, reason: str) -> None:
        for each in State:
            metrics.lifecycle_state.labels(each.value).set(each is state)

    lifecycle.observe(show_state)
