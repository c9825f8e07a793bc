"""The metrics of consumers, in prometheus-client's default registry: imported by processes that consume alone."""

from __future__ import annotations

import time
from typing import Any, Protocol

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_LAG = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14400, 86400)
_QUEUE = ["queue"]

connected = Gauge(
    "twistserve_amqp_connected",
    "Whether the broker's connection is open and messages can come. At 0, readiness and the log say why.",
    _QUEUE,
    multiprocess_mode="livemin",
)
connections_lost = Counter(
    "twistserve_amqp_connections_lost_total",
    "Connections to the broker that were lost. More than its restarts explain: look at the network and at heartbeats.",
    _QUEUE,
)
messages_received = Counter(
    "twistserve_amqp_messages_received_total",
    "Messages that the broker has delivered. Compare its rate with that of what is published: the difference waits.",
    _QUEUE,
)
messages_redelivered = Counter(
    "twistserve_amqp_messages_redelivered_total",
    "Messages among them that the broker had delivered before, so that they may be duplicates. Above 0 after each lost"
    " connection.",
    _QUEUE,
)
messages_succeeded = Counter(
    "twistserve_amqp_messages_succeeded_total",
    "Messages that the handler has handled without raising. Its rate is what the consumer achieves: scale by it.",
    _QUEUE,
)
messages_failed = Counter(
    "twistserve_amqp_messages_failed_total",
    "Times that the handler has raised. The share of it in all handled is the error rate: alert on it.",
    _QUEUE,
)
messages_requeued = Counter(
    "twistserve_amqp_messages_requeued_total",
    "Messages that went back to their queue: failed, for another try, or returned, by a drain. Many that failed: the"
    " log says with what.",
    ["queue", "reason"],
)
messages_rejected = Counter(
    "twistserve_amqp_messages_rejected_total",
    "Messages given up, to the dead-letter exchange if the queue has one. Each of them is worth a look: alert on it.",
    _QUEUE,
)
messages_unacknowledged = Counter(
    "twistserve_amqp_messages_unacknowledged_total",
    "Messages whose connection was lost while they were in hand. The broker delivers them again: duplicates.",
    _QUEUE,
)
messages_in_hand = Gauge(
    "twistserve_amqp_messages_in_hand",
    "Messages that the broker waits to hear of: waiting for a thread, handled, or waiting for another try. At"
    " --prefetch for long, with idle threads: messages fail.",
    _QUEUE,
    multiprocess_mode="livesum",
)
handler_duration = Histogram(
    "twistserve_amqp_handler_duration_seconds",
    "Seconds that handling a message took. Times the rate it is the number of threads that are busy.",
    _QUEUE,
    buckets=_SECONDS,
)
lag = Histogram(
    "twistserve_amqp_lag_seconds",
    "Seconds from the timestamp of a message until it was delivered, if it has one; whole seconds. Rising steadily,"
    " consumers cannot keep up: scale.",
    _QUEUE,
    buckets=_LAG,
)


class Received(Protocol):
    """What is counted of a message; `properties.timestamp` is in seconds since 1970, or None."""

    redelivered: bool
    properties: Any


class MessageMetrics:
    """The metrics of one queue, whose label is looked up once."""

    def __init__(self, queue: str) -> None:
        self.connected = connected.labels(queue)
        self.connections_lost = connections_lost.labels(queue)
        self._received = messages_received.labels(queue)
        self._redelivered = messages_redelivered.labels(queue)
        self._succeeded = messages_succeeded.labels(queue)
        self._failed = messages_failed.labels(queue)
        self._requeued = {why: messages_requeued.labels(queue, why) for why in ("failed", "returned")}
        self._rejected = messages_rejected.labels(queue)
        self._unacknowledged = messages_unacknowledged.labels(queue)
        self._in_hand = messages_in_hand.labels(queue)
        self._duration = handler_duration.labels(queue)
        self._lag = lag.labels(queue)

    def received(self, message: Received) -> None:
        """A message has come."""
        self._received.inc()
        if message.redelivered:
            self._redelivered.inc()
        timestamp = message.properties.timestamp
        if isinstance(timestamp, int):
            self._lag.observe(max(time.time() - timestamp, 0.0))

    def handled(self, seconds: float, failed: bool) -> None:
        """The handler is through with one."""
        self._duration.observe(seconds)
        (self._failed if failed else self._succeeded).inc()

    def requeued(self, why: str) -> None:
        """One went back to its queue: "failed" or "returned"."""
        self._requeued[why].inc()

    def rejected(self) -> None:
        """One was given up."""
        self._rejected.inc()

    def unacknowledged(self) -> None:
        """One was handled, and its connection lost."""
        self._unacknowledged.inc()

    def holds(self, number: int) -> None:
        """So many are in hand."""
        self._in_hand.set(number)
