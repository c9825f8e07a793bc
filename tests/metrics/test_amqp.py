"""The metrics of a queue."""

from __future__ import annotations

import time

from prometheus_client import REGISTRY

from tests.support.amqp import message
from twistserve.metrics.amqp import MessageMetrics


def value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"twistserve_amqp_{name}", {"queue": "metrics", **labels})


def test_what_happens_to_messages_is_counted() -> None:
    """Each by its name; the lag of those that have a timestamp."""
    metrics = MessageMetrics("metrics")
    metrics.received(message(redelivered=True))
    metrics.received(message(timestamp=int(time.time()) - 5))
    metrics.received(message(timestamp=int(time.time()) + 500))
    metrics.handled(0.5, failed=False)
    metrics.handled(0.5, failed=True)
    metrics.requeued("returned")
    metrics.rejected()
    metrics.unacknowledged()
    metrics.holds(3)
    assert value("messages_received_total") == 3
    assert value("messages_redelivered_total") == 1
    assert value("messages_succeeded_total") == value("messages_failed_total") == 1
    assert value("messages_requeued_total", reason="returned") == 1
    assert value("messages_requeued_total", reason="failed") == 0
    assert value("messages_rejected_total") == value("messages_unacknowledged_total") == 1
    assert value("messages_in_hand") == 3
    assert value("handler_duration_seconds_count") == 2
    assert value("lag_seconds_count") == 2
    assert 5 <= (value("lag_seconds_sum") or 0) < 60
