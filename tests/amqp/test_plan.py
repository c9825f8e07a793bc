"""What is consumed: from options and the handler's attributes to what the broker is told."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.amqp import PikaChannel, configuration
from twistserve.amqp import Handler, TopicHandler
from twistserve.amqp.plan import Plan, plan_of
from twistserve.errors import StartError


class Orders(Handler):
    queue, exchange, exchange_type = "orders", "shop", "direct"

    def __init__(self, keys: Any = ()) -> None:
        self.keys = keys

    def get_routing_keys(self, queue_name: str) -> list[str]:
        if isinstance(self.keys, Exception):
            raise self.keys
        return list(self.keys)


def test_the_handler_says_what_options_do_not() -> None:
    """Options win."""
    plan = plan_of(configuration(), Orders(["a", "b"]))
    assert plan == Plan(queue="orders", exchange="shop", exchange_type="direct", routing_keys=("a", "b"))
    plan = plan_of(configuration(queue="q", exchange="e", exchange_type="fanout", prefetch="9"), Orders())
    assert plan == Plan(queue="q", exchange="e", exchange_type="fanout", prefetch=9)


def test_what_is_not_durable() -> None:
    """A handler that was written for Django-Hurricane, which declares so; or by the option."""
    assert not plan_of(configuration(queue="q"), TopicHandler()).durable
    assert not plan_of(configuration(no_durable=True), Orders()).durable
    with pytest.raises(StartError, match="a quorum queue is durable"):
        plan_of(configuration(queue="q", queue_type="quorum"), TopicHandler())


@pytest.mark.parametrize(
    ("handler", "said"),
    [
        (Handler(), "there is no queue to consume from: give --queue, or Handler an attribute queue"),
        (Orders(ValueError("no keys")), "get_routing_keys of the handler Orders has raised ValueError: no keys"),
        (Orders([1]), r"has returned \(1,\): return a list of texts"),
    ],
)
def test_what_cannot_be_consumed(handler: Handler, said: str) -> None:
    """In one line."""
    with pytest.raises(StartError, match=said):
        plan_of(configuration(), handler)


def test_all_is_declared_and_bound() -> None:
    """With the queue's name where there are no routing keys; the dead-letter exchange must be there."""
    channel = PikaChannel()
    Plan(queue="q", exchange="e", queue_type="quorum", dead_letter_exchange="dead", prefetch=3).declare(channel)
    assert channel.calls == [
        ("basic_qos", {"prefetch_count": 3}),
        ("exchange_declare", "dead", {"passive": True}),
        ("exchange_declare", "e", "topic", {"durable": True}),
        (
            "queue_declare",
            "q",
            {"durable": True, "arguments": {"x-queue-type": "quorum", "x-dead-letter-exchange": "dead"}},
        ),
        ("queue_bind", "q", "e", "q"),
    ]
    channel = PikaChannel()
    Plan(queue="q", exchange="e", routing_keys=("a", "b"), durable=False).declare(channel)
    assert channel.calls[-3:] == [
        ("queue_declare", "q", {"durable": False, "arguments": None}),
        ("queue_bind", "q", "e", "a"),
        ("queue_bind", "q", "e", "b"),
    ]


def test_without_an_exchange_nothing_is_bound() -> None:
    """And with --no-declare it is only looked whether the queue is there."""
    channel = PikaChannel()
    Plan(queue="q").declare(channel)
    assert [call[0] for call in channel.calls] == ["basic_qos", "queue_declare"]
    channel = PikaChannel()
    Plan(queue="q", exchange="e", declares=False).declare(channel)
    assert channel.calls[1:] == [("queue_declare", "q", {"passive": True})]
