"""Parts of the service tree that one process, the parent of several, and workers have in common."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from twisted.application.service import Service

from twistserve.composition.tree import ServiceTree
from twistserve.lifecycle import Lifecycle, State
from twistserve.logs.loggers import spare_this_thread
from twistserve.metrics import catalogue as metrics
from twistserve.net.listeners import Endpoint, Listener, Port
from twistserve.net.main_thread import main_thread
from twistserve.net.reactor import Reactor
from twistserve.net.shared_sockets import AdoptingReactor, bind_endpoints
from twistserve.options import Configuration
from twistserve.probes.port import ProbeService
from twistserve.process.ending import Ending
from twistserve.process.forks import ForkGuard
from twistserve.process.signals import Signals, outlive_log_rotation
from twistserve.project.application import django_version
from twistserve.recycling import RecyclingService
from twistserve.server import Serving


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


def tell_states(lifecycle: Lifecycle) -> None:
    """Tell versions and states."""
    metrics.describe_build(django_version())

    def show_state(state: State, reason: str) -> None:
        for each in State:
            metrics.lifecycle_state.labels(each.value).set(each is state)

    lifecycle.observe(show_state)
