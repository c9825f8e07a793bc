"""The composition root: what the service consists of, and in which order. Reading it is reading the architecture."""

from __future__ import annotations

import atexit
import logging
import os
from typing import Any

from twisted.application.service import IService, Service

from twistserve import metrics
from twistserve.application import DjangoApplication, django_version, file_settings, load_settings
from twistserve.errors import StartError
from twistserve.lifecycle import Lifecycle, ServiceTree, State
from twistserve.listening import Port
from twistserve.logs import LogService
from twistserve.options import CommandLine, Configuration, resolve, unknown_variables
from twistserve.probes.checks import DjangoChecks
from twistserve.probes.resources import Metrics, Probe, ProbeResults, ProbeRoot
from twistserve.probes.service import ProbeService
from twistserve.startup import StartupService, command_steps
from twistserve.web.service import WebService
from twistserve.web.site import Site
from twistserve.web.static import FileResource, PrefixResource
from twistserve.web.threads import RequestThreadPool
from twistserve.web.wsgi import DjangoResource

logger = logging.getLogger(__name__)

Options = CommandLine
"""What ``twistd djangoserve`` parses its command line with; twisted's plugin machinery looks for this name."""


def makeService(options: CommandLine) -> IService:
    """The service for ``twistd djangoserve`` and ``twist djangoserve``.

    What is wrong with options or settings ends the process with status 1 and one line on standard error.
    """
    runner: dict[str, Any] = options.parent or {}
    daemon = not runner.get("nodaemon", True)
    to_file = daemon or any(runner.get(name) for name in ("logfile", "syslog", "logger"))
    try:
        configuration = resolve(options.given, os.environ, load_settings)
        return compose(configuration, into_twisted=to_file, daemon=daemon)
    except StartError as error:
        raise SystemExit(f"twistserve: {error}") from error


def compose(configuration: Configuration, *, into_twisted: bool = False, daemon: bool = False) -> ServiceTree:
    """Compose the service tree: it starts in this order and stops in reverse. Raises `StartError`.

    `into_twisted` sends log lines into Twisted's log; with `daemon` a port in use is raised from the start
    of the service, as twistd expects of a daemon. No thread and no connection exists before the start.
    """
    from twisted.internet import reactor

    lifecycle = Lifecycle(reactor)
    application = DjangoApplication(configuration.wsgi)
    pool = RequestThreadPool(configuration.threads)
    site = Site(_root(application, pool, configuration, reactor), reactor=reactor)
    checks = DjangoChecks(configuration.check_timeout, reactor)
    results = ProbeResults(lifecycle, pool, checks, configuration.req_queue_len)
    log = LogService(configuration.log_level, configuration.access_log, into_twisted, takes_streams=not into_twisted)
    web_port = Port(reactor, configuration.host, configuration.port, "--port")
    web = WebService(web_port, site, lifecycle.hurry, reactor)

    def set_up_django() -> None:
        application.set_up()
        log.settle()
        results.django_ready = True

    steps = [
        ("setting Django up", set_up_django),
        *command_steps(configuration.command),
        ("loading the WSGI application", application.load),
    ]
    services: list[Service] = [log]
    if not configuration.no_probe:
        probe_port = Port(reactor, configuration.probe_host, configuration.probe_port, "--probe-port")
        services.append(ProbeService(probe_port, _probes(results, configuration, reactor), reactor))
    services += [pool, web, StartupService(steps, web.open, lifecycle, reactor)]

    tree = ServiceTree(lifecycle, reactor, raises=daemon)
    for service in services:
        service.setServiceParent(tree)
    atexit.register(tree.leave)
    _measure(lifecycle, pool, site)
    for name in unknown_variables(os.environ):
        logger.warning("the environment variable %s is not an option's; see --help", name)
    return tree


def _root(application: Any, pool: Any, configuration: Configuration, reactor: Any) -> PrefixResource:
    """The web port's resource tree: files below their prefixes, everything else to Django."""
    root = PrefixResource(DjangoResource(application, pool, reactor.callFromThread))
    for handler, prefix, find in file_settings(configuration.static, configuration.media):
        # What users uploaded must not be taken for anything but its type.
        headers = {b"X-Content-Type-Options": b"nosniff"} if handler == "media" else {}
        root.mount(prefix, FileResource(handler, find, headers))
    return root


def _probes(results: ProbeResults, configuration: Configuration, reactor: Any) -> ProbeRoot:
    """The probe port's resources by path."""
    resources: dict[str, Any] = {
        configuration.startup_probe: Probe("startup", results.startup),
        configuration.readiness_probe: Probe("readiness", results.readiness),
        configuration.liveness_probe: Probe("liveness", results.liveness),
    }
    if not configuration.no_metrics:
        resources[configuration.metrics] = Metrics(reactor)
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
