"""Parts of the service tree that one process and the parent of several have in common."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.application.service import Service

from twistserve.composition.tree import ServiceTree
from twistserve.http.access_log import AccessLog
from twistserve.http.site import Handler
from twistserve.lifecycle import Lifecycle, State
from twistserve.logs.log import LogService
from twistserve.logs.loggers import spare_this_thread
from twistserve.metrics import catalogue as metrics
from twistserve.net.listeners import Endpoint, Listener, Port
from twistserve.net.main_thread import main_thread
from twistserve.net.reactor import Reactor
from twistserve.net.shared_sockets import AdoptingReactor, bind_endpoints
from twistserve.options import STATUS_JSON, STATUS_PAGE, Configuration
from twistserve.probes.handlers import Metrics, Probe, ProbeResults, ProbeRoot, Told
from twistserve.probes.port import ProbeService
from twistserve.process.ending import Ending
from twistserve.process.forks import ForkGuard
from twistserve.process.signals import Signals, outlive_log_rotation
from twistserve.project.application import django_version
from twistserve.recycling import RecyclingService
from twistserve.server import Serving
from twistserve.status import page
from twistserve.status.report import StatusDocument, StatusReport, as_json

if TYPE_CHECKING:
    from twistserve.webhooks.outbox import WebhookService


def service_tree(
    services: Sequence[Service],
    lifecycle: Lifecycle,
    ending: Ending,
    names: Callable[[], Sequence[Any]],
    reactor: Any,
    actions: Mapping[int, Callable[[str], None]],
    *,
    files: Sequence[int] = (),
    sets_up: bool = True,
    at_drain: Collection[int] = (),
) -> ServiceTree:
    """The services below their root; `names` are the addresses of the web ports, as getsockname(2) tells them.

    `actions` are what signals are for, `files` descriptors that forked children must not have either. `sets_up` says
    whether one of the services sets the application up, whose handlers of the signals `at_drain` are called then.
    """
    tree = ServiceTree(lifecycle)
    for service in services:
        service.setServiceParent(tree)
    ending.stopping = lambda: tree.stopping
    shared = sets_up and isinstance(reactor, Reactor)
    signals = Signals(actions, reactor, ending.hear, ending.pass_on, shared, at_drain)
    _hear_signals(tree, ending, signals, reactor)

    def call_later(state: State, reason: str) -> None:
        for number in at_drain if state is State.DRAINING else ():
            main_thread.call(partial(signals.call, number))

    lifecycle.observe(call_later)
    reactor.callFromThread(spare_this_thread)
    probes = [service.port for service in services if isinstance(service, ProbeService)]
    guard = ForkGuard(
        reactor,
        lambda: [*names(), *(name for port in probes for name in port.names)],
        lambda: (*files, *ending.descriptors),
        signals,
    )
    reactor.callWhenRunning(guard.install)
    return tree


def _hear_signals(tree: ServiceTree, ending: Ending, signals: Signals, reactor: Any) -> None:
    """Have the signals heard from the start of the services on, whatever the start-up's steps do to them."""

    def begin() -> None:
        if threading.current_thread() is threading.main_thread():
            signals.note(ending.replaced)
            outlive_log_rotation(reactor)
            ending.on_signal = signals.heard
            reactor.callWhenRunning(signals.take)
            main_thread.after_step = signals.keep
            reactor.addSystemEventTrigger("during", "shutdown", main_thread.call, signals.give_back)

    tree.before_start = begin


def outside_services(
    configuration: Configuration,
    results: ProbeResults,
    metrics_handler: Metrics,
    report: StatusReport,
    lifecycle: Lifecycle,
    log: LogService,
    reactor: Any,
    descriptors: Sequence[int] = (),
    on_web_port: Callable[[ProbeRoot], None] = lambda probes: None,
) -> Iterator[Service]:
    """What others ask and are told: the probe port, on its `descriptors` if a parent has it, and the webhooks.

    Probes that have no port of their own are given to `on_web_port`.
    """
    webhooks = _webhooks(configuration, lifecycle, reactor) if configuration.webhook_url else None
    if not configuration.no_probe:
        told = webhooks.note_probe if webhooks is not None else None
        root = _probes(results, metrics_handler, report, configuration, told)
        if configuration.probes_on_web_port:
            on_web_port(root)
        else:
            yield _probe_service(configuration, root, lifecycle, log, reactor, descriptors)
    if webhooks is not None:
        yield webhooks


def _probe_service(
    configuration: Configuration,
    root: ProbeRoot,
    lifecycle: Lifecycle,
    log: LogService,
    reactor: Any,
    descriptors: Sequence[int],
) -> ProbeService:
    access_log = AccessLog(log, configuration.log_format == "json") if configuration.log_probes else None
    port = probe_port(configuration, reactor)
    if descriptors:
        port.take(descriptors)
    else:
        port.bind()
    service = ProbeService(port, root, lifecycle.fail, reactor, access_log)
    service.last = not descriptors
    return service


def development_services(configuration: Configuration) -> Iterator[Service]:
    """What --debug looks at while the service runs, if it is given."""
    if configuration.debug:
        # Imported here: asyncio takes its time.
        from twistserve.development.slow_callbacks import SlowCallbackService

        yield SlowCallbackService()


def recycling_service(
    configuration: Configuration,
    serving: Serving,
    lifecycle: Lifecycle,
    recycle: Callable[[str, str], None],
    reactor: Any,
) -> Iterator[Service]:
    """What looks after --max-lifetime, --max-age and --max-memory, if any; `recycle` gets the cause and the reason."""
    requests, age, memory = configuration.max_lifetime, configuration.max_age, configuration.max_memory << 20
    if requests or age or memory:
        answered = lambda: serving.site.responses  # noqa: E731
        yield RecyclingService(requests, age, memory, answered, lifecycle, recycle, reactor)


def web_port(configuration: Configuration, reactor: Any) -> Port:
    """The port of --host and --port, which is neither bound yet nor taken from a parent."""
    return Port(reactor, configuration.host, configuration.port, "--port", configuration.backlog)


def shared_sockets(configuration: Configuration, reactor: Any) -> list[socket.socket]:
    """The bound sockets of the site, for other processes to serve on. Raises `StartError`."""
    if configuration.endpoint:
        return bind_endpoints(reactor, configuration.endpoint)
    port = web_port(configuration, reactor)
    port.bind()
    return port.sockets


def shared_listeners(configuration: Configuration, descriptors: Sequence[int], reactor: Any) -> list[Listener]:
    """Where the site is served: on the `shared_sockets` of another process. Raises `StartError`."""
    if configuration.endpoint:
        adopting = AdoptingReactor(reactor, iter(descriptors))
        return [Endpoint(adopting, description) for description in configuration.endpoint]
    port = web_port(configuration, reactor)
    port.take(descriptors)
    return [port]


def probe_port(configuration: Configuration, reactor: Any) -> Port:
    """The port of --probe-host and --probe-port, which is neither bound yet nor taken from a parent."""
    host_option = "--probe-host" if "probe_host" in configuration.sources else "--host"
    return Port(reactor, configuration.probe_host, configuration.probe_port, "--probe-port", host_option=host_option)


def _webhooks(configuration: Configuration, lifecycle: Lifecycle, reactor: Any) -> WebhookService:
    """The webhooks, told of the lifecycle's states."""
    from twistserve.webhooks.formats import HurricaneFormat, TwistserveFormat
    from twistserve.webhooks.outbox import WebhookService, facts_of

    facts = facts_of(configuration.app_version, os.environ)
    as_hurricane = configuration.webhook_format == "hurricane"
    form = HurricaneFormat(facts, lifecycle) if as_hurricane else TwistserveFormat(facts)
    webhooks = WebhookService(configuration.webhook_url, configuration.webhook_secret, form, lifecycle.hurry, reactor)

    def announce(state: State, reason: str) -> None:
        if state is State.READY:
            webhooks.announce("startup", "succeeded", reason)
        elif state is State.DRAINING and lifecycle.failure is not None:
            webhooks.announce("startup", "failed", lifecycle.failure)
        elif state is State.DRAINING:
            webhooks.announce("draining", "draining", reason)

    lifecycle.observe(announce)
    return webhooks


def _probes(
    results: ProbeResults,
    metrics_handler: Metrics,
    report: StatusReport,
    configuration: Configuration,
    told: Told | None,
) -> ProbeRoot:
    """What responds to probes, by path; `told` of readiness and liveness, and of --probe as readiness."""
    handlers: dict[str, Handler] = {
        configuration.startup_probe: Probe("startup", results.startup),
        configuration.readiness_probe: Probe("readiness", results.readiness, told),
    }
    if configuration.probe is None:
        handlers[configuration.liveness_probe] = Probe("liveness", results.liveness, told)
    if not configuration.no_metrics:
        handlers[configuration.metrics] = metrics_handler
    if not configuration.no_status_page:
        handlers[STATUS_PAGE] = StatusDocument(report.gather, page.render, page.CONTENT_TYPE, page.POLICY)
        handlers[STATUS_JSON] = StatusDocument(report.gather, as_json, b"application/json")
    return ProbeRoot(handlers)


def tell_states(lifecycle: Lifecycle) -> None:
    """Tell versions and states."""
    metrics.describe_build(django_version())

    def show_state(state: State, reason: str) -> None:
        for each in State:
            metrics.lifecycle_state.labels(each.value).set(each is state)

    lifecycle.observe(show_state)
