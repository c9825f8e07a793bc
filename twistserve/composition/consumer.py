"""A process that consumes messages, of ``manage.py consume``: no web port, and the rest as in one that serves."""

from __future__ import annotations

import signal
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import succeed
from twisted.internet.threads import blockingCallFromThread

from twistserve.amqp.consumer import Consumer
from twistserve.amqp.handlers import Handler
from twistserve.amqp.loading import load_handler
from twistserve.amqp.plan import Plan, plan_of
from twistserve.composition.outside import outside_services
from twistserve.composition.parts import development_services, service_tree, tell_states
from twistserve.composition.services import STOP, service_host, service_step
from twistserve.composition.tree import ServiceTree
from twistserve.consumer_options import ConsumerConfiguration
from twistserve.development.debugger import DebuggerService
from twistserve.errors import StartError
from twistserve.lifecycle import Lifecycle
from twistserve.load import Load
from twistserve.logs import get_logger
from twistserve.logs.log import LogService
from twistserve.metrics import catalogue as metrics
from twistserve.metrics.reactor_lag import ReactorLagService
from twistserve.probes.django_checks import DjangoChecks
from twistserve.probes.handlers import Metrics, ProbeResults
from twistserve.process.ending import Ending
from twistserve.project.application import DjangoApplication, django_version
from twistserve.project.preparing import preparing_steps
from twistserve.project.startup import Progress, StartupService
from twistserve.recycling import RecyclingService
from twistserve.services.host import ServiceHost
from twistserve.services.loading import Declared, Loaded, declared
from twistserve.services.readiness import WithServices
from twistserve.status.report import StatusReport
from twistserve.threads.stacks import log_all_stacks

logger = get_logger(__name__)

NO_LIMIT = 1 << 30
"""Messages that may wait for a thread: --prefetch bounds them, and readiness need not look."""


class Consuming:
    """The consumer, from when the start-up has made it. Reactor thread."""

    def __init__(self, configuration: ConsumerConfiguration, lifecycle: Lifecycle, reactor: Any) -> None:
        self._configuration = configuration
        self._lifecycle = lifecycle
        self._reactor = reactor
        self._consumer: Consumer | None = None

    def start(self, host: ServiceHost) -> None:
        """The start-up's last step: load the handler and connect. Main thread; raises `StartError`."""
        dotted = self._configuration.handler
        if dotted is None:
            raise StartError("there is no handler: give its dotted name, as in manage.py consume shop.consumers.Orders")
        handler = load_handler(dotted)
        # Here, where a handler may ask the database for its routing keys.
        plan = plan_of(self._configuration, handler)
        blockingCallFromThread(self._reactor, self._start, dotted, handler, plan, host)

    def _start(self, dotted: str, handler: Handler, plan: Plan, host: ServiceHost) -> Any:
        lifecycle, configuration = self._lifecycle, self._configuration
        self._consumer = Consumer(handler, lifecycle, self._reactor, configuration, plan, lifecycle.give_up)
        return host.start([Loaded(Declared("consumer", dotted), self._consumer)])

    def snapshot(self) -> Load:
        """How busy it is."""
        return self._consumer.load() if self._consumer is not None else Load()

    @property
    def handled(self) -> int:
        """Messages that were handled."""
        return self._consumer.handled if self._consumer is not None else 0

    def log_stacks(self, signal_name: str) -> None:
        """Log where every thread stands, and which message it is at."""
        log_all_stacks(signal_name, self._consumer.in_hand() if self._consumer is not None else {})


def consumer_process(
    configuration: ConsumerConfiguration, lifecycle: Lifecycle, ending: Ending, log: LogService, reactor: Any
) -> ServiceTree:
    """The tree of a process that consumes. Raises `StartError`."""
    debuggers = [DebuggerService(configuration, lifecycle, reactor)] if configuration.debugger else []
    consuming = Consuming(configuration, lifecycle, reactor)
    checks = DjangoChecks(configuration.check, configuration.check_timeout, reactor)
    # The consumer is stopped before the services that its handler may use.
    services, consumers = (service_host(configuration, lifecycle, reactor, stop=STOP) for _ in range(2))
    consumers.title = "consumers"
    asked = WithServices(WithServices(checks, services.check), consumers.check)
    results = ProbeResults(lifecycle, consuming, asked, NO_LIMIT)

    def set_django_up() -> None:
        DjangoApplication(None).set_up(log.applying_logging)
        log.settle()
        if not configuration.no_probe:
            checks.tell()
        results.django_ready = True

    progress = Progress(lifecycle, reactor)
    steps = [
        *(step for debugger in debuggers for step in debugger.steps),
        ("setting Django up", set_django_up),
        *preparing_steps(configuration, progress),
        *checks.steps(),
        *([service_step(declared(configuration), services, reactor)] if configuration.service else []),
        ("starting the consumer", lambda: consuming.start(consumers)),
    ]

    def described() -> list[dict[str, Any]]:
        return [*services.describe(), *consumers.describe()]

    def flush() -> None:
        metrics.flush_log()
        metrics.show_services(described())

    startup = StartupService(steps, None, lifecycle, progress, reactor)
    report = StatusReport(
        configuration,
        django_version(),
        lifecycle,
        results,
        lambda: succeed([]),
        lambda: succeed(described()),
        reactor,
    )
    counted = not (configuration.no_metrics or configuration.no_probe)
    tree: list[Service] = [
        log,
        *development_services(configuration),
        *debuggers,
        *([ReactorLagService(metrics.reactor_lag.observe, reactor)] if counted else []),
        *outside_services(configuration, results, Metrics(flush, reactor), report, lifecycle, log, reactor),
        services,
        consumers,
        startup,
        RecyclingService(
            configuration.max_lifetime,
            configuration.max_age,
            configuration.max_memory << 20,
            lambda: consuming.handled,
            lifecycle,
            lambda cause, reason: lifecycle.recycle(reason),
            reactor,
            counted="messages handled",
        ),
    ]
    tell_states(lifecycle)
    return service_tree(
        tree,
        lifecycle,
        ending,
        list,
        reactor,
        {
            signal.SIGTERM: lifecycle.shut_down,
            signal.SIGINT: lifecycle.shut_down,
            signal.SIGQUIT: consuming.log_stacks,
            signal.SIGHUP: _nothing_to_do,
        },
    )


def _nothing_to_do(name: str) -> None:
    logger.warning("received %s, which replaces the workers of a server: a consumer has none", name)
