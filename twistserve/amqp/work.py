"""What becomes of messages: threads handle them, and the broker is told when they have. Reactor thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from twistserve.amqp.failures import DatabaseGone, Reject
from twistserve.amqp.message import Message
from twistserve.backoff import backoff
from twistserve.errors import describe
from twistserve.logs import get_logger
from twistserve.metrics.amqp import MessageMetrics
from twistserve.redaction import redacted
from twistserve.threads.pool import RequestThreadPool
from twistserve.threads.stacks import where

logger = get_logger(__name__)

LOOK_EVERY = 1.0
"""Seconds between two looks for messages past --handler-timeout."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds before a message that has failed is tried again."""
LONGEST_OUTAGE_PAUSE = 15.0
"""The same while a database cannot be reached."""

Handle = Callable[[Message], "BaseException | None"]
"""Handles a message in a thread, and returns what was raised."""


class Channel(Protocol):
    """Where a message came from and is acknowledged; both return False once it is lost."""

    def acknowledge(self, tag: int) -> bool:
        """Say that a message was handled."""

    def reject(self, tag: int, requeue: bool) -> bool:
        """Give a message back."""


class Copies(Protocol):
    """What publishes the copy of a message that is to be tried again."""

    def publish(self, exchange: str, routing_key: str, body: bytes, properties: Any) -> Deferred[None]:
        """Fires when the broker has confirmed it."""


@dataclass(frozen=True)
class Policy:
    """How often a message that fails is tried again, and after how many seconds it counts as stuck: 0, never."""

    retries: int
    stuck_after: float = 0.0


class Held:
    """A message that the broker waits to hear of: it waits for a thread, is in hand, or waits for another try."""

    def __init__(self, message: Message, channel: Channel, work: Work) -> None:
        self.message = message
        self.channel = channel
        self.began = 0.0
        """When a thread began it, by time.monotonic; 0 before."""
        self.stuck = False
        self.outages = 0
        """Times in a row that a database could not be reached."""
        self.timer: Any = None
        """What will try it again, if it waits for that."""
        self._work = work

    def __call__(self) -> None:
        """Be handled. The thread's."""
        self.began = time.monotonic()
        error = self._work.handle(self.message)
        self._work.call_from_thread(self._work.done, self, error, time.monotonic() - self.began)

    def __str__(self) -> str:
        return str(self.message)

    @property
    def seconds(self) -> float:
        """Since a thread began it; 0 before."""
        return time.monotonic() - self.began if self.began else 0.0


class Work:
    """The messages of a consumer that the broker waits to hear of."""

    def __init__(
        self,
        handle: Handle,
        pool: RequestThreadPool,
        policy: Policy,
        copies: Copies,
        metrics: MessageMetrics,
        reactor: Any,
    ) -> None:
        self.handle = handle
        self.call_from_thread = reactor.callFromThread
        self.handled = 0
        """Messages that handlers were through with."""
        self._pool = pool
        self._policy = policy
        self._copies = copies
        self._metrics = metrics
        self._reactor = reactor
        self._held: dict[Held, None] = {}
        self._pause = backoff(FIRST_PAUSE, LONGEST_PAUSE)
        self._outage_pause = backoff(FIRST_PAUSE, LONGEST_OUTAGE_PAUSE)
        self._closing = False
        self._idle: list[Deferred[None]] = []
        self._looking = LoopingCall(self._look)
        self._looking.clock = reactor

    def start(self) -> None:
        """Begin to look for what is stuck."""
        if self._policy.stuck_after:
            self._looking.start(LOOK_EVERY, now=False)

    def stop(self) -> None:
        """Look no more."""
        if self._looking.running:
            self._looking.stop()

    # Messages

    def receive(self, message: Message, channel: Channel) -> None:
        """A message has come. While the work is being closed it goes back."""
        self._metrics.received(message)
        held = Held(message, channel, self)
        if self._closing:
            self._give_back(held)
            return
        self._hold(held)
        self._pool.submit(held)

    def done(self, held: Held, error: BaseException | None, seconds: float) -> None:
        """A thread is through with a message."""
        self._metrics.handled(seconds, failed=error is not None)
        if isinstance(error, DatabaseGone):
            self._wait_for_database(held, error)
            return
        self.handled += 1
        held.outages = 0
        if error is None:
            self._acknowledge(held)
        elif isinstance(error, Reject):
            self._reject(held, str(error) or "the handler rejects it")
        elif held.message.failures >= self._policy.retries:
            tries = held.message.failures + 1
            often = f"{tries} times, the last time with" if tries > 1 else "with"
            self._reject(held, f"handling it has failed {often} {describe(error)}", error)
        else:
            self._try_later(held, error)

    def close(self) -> None:
        """Give back what no thread has begun, and what waits for another try; what is in hand goes on."""
        self._closing = True
        for held in list(self._held):
            if held.timer is not None and held.outages:
                held.timer.cancel()
                self._give_back(held)
            elif held.timer is not None:
                self._try_again(held)
            elif self._pool.withdraw(held):
                self._give_back(held)

    def lost(self, channel: Channel) -> None:
        """The broker delivers all messages of a channel again: forget those that no thread has begun."""
        for held in [each for each in self._held if each.channel is channel]:
            if held.timer is not None:
                held.timer.cancel()
                self._release(held)
            elif self._pool.withdraw(held):
                self._release(held)

    def finished(self) -> Deferred[None]:
        """Fires when the broker has heard of every message."""
        waiter: Deferred[None] = Deferred(self._idle.remove)
        self._idle.append(waiter)
        self._tell_idle()
        return waiter

    @property
    def unfinished(self) -> list[Held]:
        """The messages that the broker waits to hear of."""
        return list(self._held)

    # What the broker is told

    def _acknowledge(self, held: Held) -> None:
        if not held.channel.acknowledge(held.message.delivery_tag):
            self._unacknowledged(held)
        self._release(held)

    def _reject(self, held: Held, why: str, error: BaseException | None = None) -> None:
        logger.error(
            "%s is rejected: %s; it goes to the queue's dead-letter exchange, and without one it is discarded",
            held,
            redacted(why),
            exc_info=error,
        )
        if held.channel.reject(held.message.delivery_tag, requeue=False):
            self._metrics.rejected()
        else:
            self._unacknowledged(held)
        self._release(held)

    def _give_back(self, held: Held) -> None:
        if held.channel.reject(held.message.delivery_tag, requeue=True):
            self._metrics.requeued("returned")
        self._release(held)

    def _unacknowledged(self, held: Held) -> None:
        self._metrics.unacknowledged()
        logger.warning("the connection was lost while %s was in hand: the broker delivers it again", held)

    # Another try

    def _try_later(self, held: Held, error: BaseException) -> None:
        failures = held.message.failures
        seconds = self._pause(failures)
        logger.warning(
            "handling %s has failed, %d of %d times: %s; it is tried again in %g s",
            held,
            failures + 1,
            self._policy.retries + 1,
            redacted(describe(error)),
            seconds,
            exc_info=error,
        )
        if self._closing:
            self._try_again(held)
        else:
            held.timer = self._reactor.callLater(seconds, self._try_again, held)

    def _try_again(self, held: Held) -> None:
        """Put a copy that counts the failure into the queue, and acknowledge the message when the broker has it."""
        if held.timer is not None and held.timer.active():
            held.timer.cancel()
        held.timer = None
        message = held.message
        published = self._copies.publish("", message.queue, message.body, message.copy_after_failure())
        published.addCallbacks(lambda _: self._copied(held), lambda failure: self._not_copied(held, failure.value))

    def _copied(self, held: Held) -> None:
        self._metrics.requeued("failed")
        self._acknowledge(held)

    def _not_copied(self, held: Held, error: BaseException) -> None:
        logger.warning("%s goes back to its queue without its failure being counted: %s", held, error)
        self._give_back(held)

    # Outages of databases

    def _wait_for_database(self, held: Held, error: DatabaseGone) -> None:
        """Keep the message, and have it handled again: it is not its failure, and no other would fare better."""
        if self._closing:
            self._give_back(held)
            return
        seconds = self._outage_pause(held.outages)
        held.outages += 1
        logger.warning("%s waits for its database: %s; it is tried again in %g s", held, redacted(str(error)), seconds)
        held.timer = self._reactor.callLater(seconds, self._handle_again, held)

    def _handle_again(self, held: Held) -> None:
        held.timer, held.began, held.stuck = None, 0.0, False
        self._pool.submit(held)

    # Who holds what

    def _hold(self, held: Held) -> None:
        self._held[held] = None
        self._metrics.holds(len(self._held))

    def _release(self, held: Held) -> None:
        self._held.pop(held, None)
        self._metrics.holds(len(self._held))
        self._tell_idle()

    def _tell_idle(self) -> None:
        if not self._held:
            waiting, self._idle = self._idle, []
            for waiter in waiting:
                waiter.callback(None)

    def _look(self) -> None:
        """Have the threads replaced whose messages are past their time."""
        at_work = {job: thread for thread, job in self._pool.at_work().items()}
        for held in self._held:
            if held in at_work and not held.stuck and held.seconds >= self._policy.stuck_after:
                held.stuck = True
                self._pool.give_up(held)
                logger.error(
                    "%s is in hand for %.0f s, more than --handler-timeout; its thread is at %s",
                    held,
                    held.seconds,
                    where(at_work[held]),
                )
