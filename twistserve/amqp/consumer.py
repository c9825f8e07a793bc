"""A consumer as a Twisted service: connected as long as it runs, and drained when the process is."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred, inlineCallbacks

from twistserve.amqp.broker import CONNECT, broker_of
from twistserve.amqp.calls import HandlerCall
from twistserve.amqp.failures import ConnectionFailed, failed
from twistserve.amqp.handlers import Handler
from twistserve.amqp.message import Message
from twistserve.amqp.plan import Plan, plan_of
from twistserve.amqp.publishing import OnBlocked, Publisher
from twistserve.amqp.session import Session, open_session
from twistserve.amqp.work import Policy, Work
from twistserve.backoff import backoff
from twistserve.checks.in_force import read_settings, twistserve_setting
from twistserve.consumer_options import MOST_PREFETCHED, ConsumerConfiguration
from twistserve.errors import StartError
from twistserve.lifecycle import State
from twistserve.load import Load
from twistserve.logs import get_logger
from twistserve.metrics.amqp import MessageMetrics
from twistserve.resolution import resolve_consumer
from twistserve.threads.pool import RequestThreadPool

logger = get_logger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds before another connection is tried."""
STEADY = 60.0
"""Seconds that a connection has to last for the pauses to begin anew: the broker may take and close each at once."""

Open = Callable[[Callable[..., None]], Deferred[Session]]
"""Opens a session whose messages go to what it is given."""


class Observable(Protocol):
    """What a consumer needs of the lifecycle: that of a process, or what services are given of it."""

    def observe(self, observer: Callable[[State, str], Any]) -> None:
        """Call `observer` with each state from now on."""


class Consumer(Service):
    """Consumes a queue for a handler. To be made on the reactor thread once Django is set up; raises `StartError`.

    Without a `configuration`, the values in force are those of the environment and the settings, and of `options`,
    which are named as in the setting TWISTSERVE but in lower case: `Consumer(Orders(), lifecycle, queue="orders")`.
    `give_up` is called with the reason when the connection is lost for good, with --no-reconnect.
    """

    name = "consumer"

    def __init__(
        self,
        handler: Handler,
        lifecycle: Observable,
        reactor: Any = None,
        configuration: ConsumerConfiguration | None = None,
        plan: Plan | None = None,
        give_up: Callable[[str], None] | None = None,
        **options: object,
    ) -> None:
        if find_spec("pika") is None:
            raise StartError("a consumer needs pika: install twistserve[amqp]")
        if reactor is None:
            from twisted.internet import reactor
        if configuration is None:
            # --threads of the server that it runs beside is not meant for it.
            configuration = resolve_consumer(
                {"threads": 1, **options},
                os.environ,
                lambda *_: twistserve_setting(),
                read_settings=read_settings,
                origin="the call of Consumer",
            )
        self._lifecycle = lifecycle
        self._reactor = reactor
        self._reconnects = configuration.reconnect
        self._grace = configuration.graceful_timeout
        self._broker = broker_of(configuration)
        self._plan = plan or plan_of(configuration, handler)
        self._metrics = MessageMetrics(self._plan.queue)
        self._pool = RequestThreadPool(configuration.threads, MOST_PREFETCHED, "handler")
        self._publisher = Publisher(self._broker, self._connect_publisher, configuration.publish_timeout, reactor)
        policy = Policy(configuration.retries, configuration.handler_timeout)
        self._work = Work(HandlerCall(handler), self._pool, policy, self._publisher, self._metrics, reactor)
        self.open: Open = partial(open_session, self._broker, self._plan, reactor=reactor)
        self._session: Session | None = None
        self._opened_at = 0.0
        self._opening: Deferred[None] | None = None
        self._again: Any = None
        self._attempts = 0
        self._first = True
        """Whether the start waits for the first attempt."""
        self._problem = "the connection is being opened"
        self._pause = backoff(FIRST_PAUSE, LONGEST_PAUSE)
        self._give_up = give_up or self._end
        self._draining = False
        self._drained_at = 0.0
        """When the drain began, by the reactor's seconds."""
        if not self._plan.durable:
            logger.info("the queue %s is not durable: a restart of the broker forgets its messages", self._plan.queue)

    # As a service

    def startService(self) -> Deferred[None]:
        """Fires when a connection was tried; fails with `StartError` where waiting would not help."""
        super().startService()
        self._pool.startService()
        self._work.start()
        self._metrics.connected.set(0)
        self._lifecycle.observe(lambda state, reason: self._drain() if state is State.DRAINING else None)
        return self._connect().addCallbacks(self._tried, self._failed_at_start)

    @inlineCallbacks
    def stopService(self) -> Any:
        """Finish what is in hand within what is left of --graceful-timeout, then close the connection."""
        super().stopService()
        self._drain()
        left = max(self._grace - (self._reactor.seconds() - self._drained_at), 0.0)
        yield self._work.finished().addTimeout(left, self._reactor).addErrback(lambda failure: None)
        for held in self._work.unfinished:
            logger.warning("%s is left behind after %.0f s: the broker delivers it again", held, held.seconds)
        if self._session is not None:
            session, self._session = self._session, None
            yield session.close()
        yield self._publisher.close()
        self._work.stop()
        self._metrics.connected.set(0)
        self._pool.stopService()

    def check_ready(self) -> str | None:
        """Why no messages come; None if they do."""
        return None if self._session is not None else self._problem

    def metrics(self) -> dict[str, float]:
        """What the status page shows."""
        load = self.load()
        return {"connected": float(self._session is not None), "in hand": load.busy, "waiting": load.queued}

    def load(self) -> Load:
        """Threads, those at a message, those past --handler-timeout, and messages that wait for one."""
        return self._pool.snapshot()

    @property
    def handled(self) -> int:
        """Messages that the handler was through with."""
        return self._work.handled

    def in_hand(self) -> dict[int, str]:
        """Which message each thread is at. Any thread."""
        return {thread: str(job) for thread, job in self._pool.at_work().items()}

    # The connection

    def _connect(self) -> Deferred[None]:
        """Fires when the attempt is over, with a session or without; fails where that ends the process."""
        self._again = None
        self._attempts += 1
        opening = self.open(self._receive)
        self._opening = opening.addTimeout(2 * CONNECT, self._reactor).addCallbacks(
            self._connected, self._not_connected
        )
        return self._opening

    def _connected(self, session: Session) -> None:
        self._opening = None
        if self._draining:
            session.close()
            return
        self._session, self._opened_at = session, self._reactor.seconds()
        session.lost = self._lost
        self._metrics.connected.set(1)
        logger.info("consuming from the queue %s at %s", self._plan.queue, self._broker)

    def _not_connected(self, failure: Any) -> None:
        self._opening = None
        if self._draining:
            return
        error = failure.value
        if not isinstance(error, (ConnectionFailed, StartError)):
            logger.error("the consumer cannot connect", exc_info=error)
        self._problem = str(error) or type(error).__name__
        final = getattr(error, "final", True)
        if self._first and (final or not self._reconnects):
            raise StartError(self._problem) from error
        self._connect_later(final)

    def _tried(self, result: object) -> None:
        self._first = False

    def _failed_at_start(self, failure: Any) -> Any:
        self._draining = True
        self._work.stop()
        self._pool.stopService()
        return failure

    def _lost(self, reason: BaseException) -> None:
        """The session is over."""
        session, self._session = self._session, None
        assert session is not None
        self._metrics.connected.set(0)
        self._metrics.connections_lost.inc()
        self._work.lost(session)
        problem = failed(reason, f"the broker {self._broker}")
        self._problem = str(problem)
        if self._draining:
            logger.warning("%s; it delivers again what is in hand", problem)
            return
        if not self._reconnects:
            self._give_up(f"{self._problem}; --no-reconnect: there is no other attempt")
            return
        if self._reactor.seconds() - self._opened_at >= STEADY:
            self._attempts = 0
        self._connect_later(problem.final)

    def _connect_later(self, final: bool) -> None:
        seconds = LONGEST_PAUSE if final else self._pause(max(self._attempts - 1, 0))
        log = logger.error if final else logger.warning
        log("%s; another connection is tried in %g s", self._problem, seconds)
        self._again = self._reactor.callLater(seconds, self._connect)

    def _end(self, reason: str) -> None:
        """End alone: the host sees that the service no longer runs."""
        logger.error("%s", reason)
        super().stopService()
        self._drain()

    def _drain(self) -> None:
        """Stop consuming, and return the messages that no thread has begun."""
        if self._draining:
            return
        self._draining, self._drained_at = True, self._reactor.seconds()
        if self._again is not None:
            self._again.cancel()
            self._again = None
        if self._opening is not None:
            self._opening.cancel()
        if self._session is not None:
            self._session.cancel()
        self._work.close()

    # Messages

    def _receive(self, session: Session, delivery: Any, properties: Any, body: bytes) -> None:
        publish = self._publisher.publish_from_thread
        self._work.receive(Message(self._plan.queue, delivery, properties, body, publish), session)

    def _connect_publisher(self, on_blocked: OnBlocked) -> Deferred[Any]:
        from twistserve.amqp.connection import connect

        connected: Deferred[Any] = connect(self._broker, self._reactor, on_blocked)
        return connected
