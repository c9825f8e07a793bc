"""The composition root: what the service consists of, and in which order. Reading it is reading the architecture."""

from __future__ import annotations

import atexit
import logging
import os
from typing import Any

from twisted.application.service import IService, Service

from twistserve import metrics
from twistserve.application import DjangoApplication, FileIndex, django_version, file_indexes, load_settings
from twistserve.errors import StartError
from twistserve.lifecycle import Lifecycle, ServiceTree, State
from twistserve.listening import Endpoint, Listener, Port
from twistserve.logs import LogService
from twistserve.options import CommandLine, Configuration, resolve, unknown_variables
from twistserve.probes.checks import DjangoChecks
from twistserve.probes.resources import Metrics, Probe, ProbeResults, ProbeRoot
from twistserve.probes.service import ProbeService
from twistserve.startup import StartupService, Step, command_steps
from twistserve.web.accesslog import AccessLog
from twistserve.web.environ import EnvironMaker
from twistserve.web.forwarded import TrustedPeers
from twistserve.web.limits import Limits
from twistserve.web.reactor import install_unless_chosen
from twistserve.web.service import WebService
from twistserve.web.site import Site
from twistserve.web.static import FileResource, MemoryCache, PrefixResource
from twistserve.web.threads import RequestThreadPool, Returns
from twistserve.web.wsgi import DjangoResource

logger = logging.getLogger(__name__)


class Options(CommandLine):
    """What ``twistd djangoserve`` parses its command line with; twisted's plugin machinery looks for this name."""

    def __init__(self) -> None:
        # twistd has parsed its --reactor by now, twist comes to it when we have been parsed.
        install_unless_chosen()
        super().__init__()


def makeService(options: CommandLine) -> IService:
    """The service for ``twistd djangoserve`` and ``twist djangoserve``.

    What is wrong with options or settings ends the process with status 1 and one line on standard error, before
    twistd forks.
    """
    runner: dict[str, Any] = options.parent or {}
    daemon = not runner.get("nodaemon", True)
    to_file = daemon or any(runner.get(name) for name in ("logfile", "syslog", "logger"))
    try:
        return compose(resolve(options.given, os.environ, load_settings), into_twisted=to_file)
    except StartError as error:
        raise SystemExit(f"twistserve: {error}") from error


def compose(configuration: Configuration, *, into_twisted: bool = False) -> ServiceTree:
    """Compose the service tree: it starts in this order and stops in reverse. Raises `StartError`.

    Ports are reserved here, so that a conflict is told before anything runs; no thread and no connection
    exists before the start. `into_twisted` sends log lines into Twisted's log.
    """
    from twisted.internet import reactor as installed

    reactor: Any = installed
    lifecycle = Lifecycle(reactor)
    application = DjangoApplication(configuration.wsgi)
    pool = RequestThreadPool(configuration.threads)
    files = file_indexes(configuration.static, configuration.media)
    environs = EnvironMaker(TrustedPeers(configuration.forwarded_allow_ips))
    django = DjangoResource(application, pool, Returns(reactor.callFromThread), environs)
    notices = [f"the environment variable {name} is no option's; see --help" for name in unknown_variables(os.environ)]
    log = LogService(
        configuration.log_level, into_twisted=into_twisted, takes_streams=not into_twisted, notices=notices
    )
    access_log = AccessLog(log.access, configuration.log_format == "json") if configuration.access_log else None
    site = Site(_root(django, files), reactor, _limits(configuration), access_log)
    results = ProbeResults(
        lifecycle, pool, DjangoChecks(configuration.check_timeout, reactor), configuration.req_queue_len
    )
    web = WebService(_web_listeners(configuration, reactor), site, lifecycle.hurry, reactor)
    steps = [
        *_django_steps(application, log, results),
        *command_steps(configuration.command),
        *((f"indexing the {index.kind} files", index.load) for index in files),
        *_loading_steps(application, log),
    ]
    services: list[Service] = [log]
    if not configuration.no_probe:

        def bring_up_to_date() -> None:
            site.account()
            metrics.flush()

        root = _probes(results, Metrics(bring_up_to_date, reactor), configuration)
        services.append(ProbeService(_probe_port(configuration, reactor), root, lifecycle.fail, reactor))
    services += [pool, web, StartupService(steps, web.open, lifecycle, reactor)]

    tree = ServiceTree(lifecycle, reactor)
    for service in services:
        service.setServiceParent(tree)
    atexit.register(tree.leave)
    _measure(lifecycle, pool, site)
    return tree


def _django_steps(application: DjangoApplication, log: LogService, results: ProbeResults) -> list[Step]:
    def set_up() -> None:
        application.set_up()
        log.settle(project_logs=application.logs_by_itself())
        results.django_ready = True

    return [("setting Django up", set_up)]


def _loading_steps(application: DjangoApplication, log: LogService) -> list[Step]:
    def load() -> None:
        application.load()
        # get_wsgi_application() runs django.setup() again, which applies LOGGING again.
        log.settle(project_logs=application.logs_by_itself())

    return [("loading the WSGI application", load)]


def _web_listeners(configuration: Configuration, reactor: Any) -> list[Listener]:
    """Where the site is served: --endpoint, or --host and --port, which is reserved now."""
    if configuration.endpoint:
        return [Endpoint(reactor, description) for description in configuration.endpoint]
    port = Port(reactor, configuration.host, configuration.port, "--port", configuration.backlog)
    port.bind()
    return [port]


def _probe_port(configuration: Configuration, reactor: Any) -> Port:
    host_option = "--probe-host" if "probe_host" in configuration.sources else "--host"
    port = Port(reactor, configuration.probe_host, configuration.probe_port, "--probe-port", host_option=host_option)
    port.bind()
    return port


def _root(django: DjangoResource, files: list[FileIndex]) -> PrefixResource:
    """The web port's resource tree: files below their prefixes, everything else to Django."""
    root = PrefixResource(django)
    for index in files:
        cache = None if index.changing else MemoryCache()
        root.mount(index.prefix, FileResource(index.kind, index.find, cache))
    return root


def _limits(configuration: Configuration) -> Limits:
    return Limits(
        max_body=configuration.max_body_size,
        max_head=configuration.max_header_size,
        header_timeout=configuration.header_timeout,
        body_timeout=configuration.body_timeout,
        keep_alive_timeout=configuration.keep_alive_timeout,
        max_connections=configuration.max_connections,
    )


def _probes(results: ProbeResults, metrics_resource: Metrics, configuration: Configuration) -> ProbeRoot:
    """The probe port's resources by path."""
    resources: dict[str, Any] = {
        configuration.startup_probe: Probe("startup", results.startup),
        configuration.readiness_probe: Probe("readiness", results.readiness),
        configuration.liveness_probe: Probe("liveness", results.liveness),
    }
    if not configuration.no_metrics:
        resources[configuration.metrics] = metrics_resource
    return ProbeRoot(resources)


def _measure(lifecycle: Lifecycle, pool: RequestThreadPool, site: Site) -> None:
    """Let the gauges read what the parts know."""
    metrics.describe_build(django_version())
    metrics.read_from(metrics.threads, lambda: pool.snapshot().threads)
    metrics.read_from(metrics.threads_busy, lambda: pool.snapshot().busy)
    metrics.read_from(metrics.request_queue_length, lambda: pool.snapshot().queued)
    metrics.read_from(metrics.requests_in_progress, lambda: len(site.requests))
    metrics.read_from(metrics.connections, lambda: len(site.channels))

    def show_state(state: State) -> None:
        for each in State:
            metrics.lifecycle_state.labels(each.value).set(each is state)

    lifecycle.observe(show_state)
