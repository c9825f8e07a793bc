"""Handlers written for Django-Hurricane."""

from __future__ import annotations

from typing import Any

import pytest
from pika.spec import BasicProperties

from tests.support.amqp import message
from twistserve.amqp import Reject, TopicHandler
from twistserve.amqp.topic_handler import TryAgain


class Handler(TopicHandler):
    """Notes what comes, and does with it what `act` does."""

    def __init__(self, act: Any = lambda handler, channel, deliver: None) -> None:
        self.act = act
        self.seen: list[Any] = []

    def on_message(self, channel: Any, deliver: Any, properties: Any, body: bytes) -> None:
        self.seen.append((deliver.delivery_tag, deliver.exchange, deliver.routing_key, properties.message_id, body))
        self.act(self, channel, deliver)


def test_it_gets_what_pika_gave_it_there() -> None:
    """A class with an __init__ of its own need not call ours."""
    handler = Handler(lambda self, channel, deliver: self.acknowledge_message(deliver.delivery_tag))
    handler.handle(message(b"body", 7, message_id="m"))
    assert handler.seen == [(7, "shop", "orders.new", "m", b"body")]


@pytest.mark.parametrize(
    ("act", "raised"),
    [
        (lambda self, channel, deliver: self.reject_message(deliver.delivery_tag), Reject),
        (lambda self, channel, deliver: self.reject_message(deliver.delivery_tag, requeue=True), TryAgain),
        (lambda self, channel, deliver: channel.basic_nack(deliver.delivery_tag), TryAgain),
        (lambda self, channel, deliver: channel.basic_reject(deliver.delivery_tag, requeue=False), Reject),
    ],
)
def test_rejecting(act: Any, raised: type[Exception]) -> None:
    """By the method, or on the channel."""
    with pytest.raises(raised, match="the handler has rejected it"):
        Handler(act).handle(message())


def test_without_a_word_it_is_acknowledged() -> None:
    """And the last word counts."""
    Handler().handle(message())

    def changes_its_mind(self: Handler, channel: Any, deliver: Any) -> None:
        self.reject_message(deliver.delivery_tag)
        channel.basic_ack(deliver.delivery_tag)

    Handler(changes_its_mind).handle(message())


def test_only_its_own_message_can_be_acknowledged() -> None:
    """Not another one, and not later."""
    with pytest.raises(RuntimeError, match="delivery tag 9"):
        Handler(lambda self, channel, deliver: self.acknowledge_message(9)).handle(message())
    with pytest.raises(RuntimeError, match="acknowledge and reject its own, before it returns"):
        Handler().acknowledge_message(1)


def test_it_publishes_on_its_channel() -> None:
    """With pika's properties or without."""
    published: list[Any] = []

    def publish(self: Handler, channel: Any, deliver: Any) -> None:
        channel.basic_publish("shop", "done", b"1")
        channel.basic_publish(exchange="", routing_key="q", body="2", properties=BasicProperties(type="t"))

    Handler(publish).handle(message(publish=lambda *arguments: published.append(arguments)))
    assert [(*each[:3], each[3].type, each[3].delivery_mode) for each in published] == [
        ("shop", "done", b"1", None, 2),
        ("", "q", b"2", "t", 2),
    ]


def test_the_base_class_handles_nothing() -> None:
    """And says which method is missing."""
    with pytest.raises(NotImplementedError, match="TopicHandler has no method on_message"):
        TopicHandler().handle(message())
