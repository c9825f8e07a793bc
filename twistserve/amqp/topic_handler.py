"""Handlers written for Django-Hurricane: its class, with the methods that they override and call."""

from __future__ import annotations

import threading
from typing import Any

from twistserve.amqp.failures import Reject
from twistserve.amqp.handlers import Handler
from twistserve.amqp.message import Message


class TryAgain(Exception):
    """The handler has rejected the message so that it is requeued."""


class TopicHandler(Handler):
    """Handles messages by `on_message`, as Django-Hurricane's class of this name does.

    What it does with the message counts when `on_message` returns: without a word it is acknowledged.
    """

    durable = False
    """Django-Hurricane declares exchange and queue so; those that are there cannot be declared differently."""

    _current = threading.local()
    """Which message each thread is at, and what is to become of it."""

    def on_message(self, channel: Channel, deliver: Any, properties: Any, body: bytes) -> None:
        """Handle a message; `deliver` and `properties` are pika's `Basic.Deliver` and `BasicProperties`."""
        raise NotImplementedError(f"{type(self).__name__} has no method on_message")

    def acknowledge_message(self, delivery_tag: int) -> None:
        """Have the message acknowledged. To be called by `on_message`, in its thread."""
        self._conclude(delivery_tag, None)

    def reject_message(self, delivery_tag: int, requeue: bool = False) -> None:
        """Have the message rejected, or tried again if it is to be requeued: at most --retries times."""
        reason = "the handler has rejected it"
        self._conclude(delivery_tag, TryAgain(reason) if requeue else Reject(reason))

    def handle(self, message: Message) -> None:
        """Call `on_message`."""
        from pika.spec import Basic

        # After another try it came by the queue's name; handlers look at what it was published with.
        deliver = Basic.Deliver("", message.delivery_tag, message.redelivered, message.exchange, message.routing_key)
        self._current.tag, self._current.conclusion = message.delivery_tag, None
        try:
            self.on_message(Channel(self, message), deliver, message.properties, message.body)
            if self._current.conclusion is not None:
                raise self._current.conclusion
        finally:
            self._current.tag = self._current.conclusion = None

    def _conclude(self, delivery_tag: int, conclusion: Exception | None) -> None:
        if delivery_tag != getattr(self._current, "tag", None):
            raise RuntimeError(
                f"on_message is not at a message with the delivery tag {delivery_tag} in this thread: acknowledge and"
                " reject its own, before it returns"
            )
        self._current.conclusion = conclusion


class Channel:
    """What `on_message` gets in the place of pika's channel: enough to publish, acknowledge and reject."""

    def __init__(self, handler: TopicHandler, message: Message) -> None:
        self._handler = handler
        self._message = message

    def basic_publish(
        self, exchange: str, routing_key: str, body: bytes | str, properties: Any = None, mandatory: bool = True
    ) -> None:
        """Publish a message, and wait until the broker has confirmed it. Raises `PublishError`."""
        given = {} if properties is None else {k: v for k, v in vars(properties).items() if v is not None}
        self._message.publish(exchange, routing_key, body, **given)

    def basic_ack(self, delivery_tag: int = 0, multiple: bool = False) -> None:
        """Have the message acknowledged."""
        self._handler.acknowledge_message(delivery_tag)

    def basic_nack(self, delivery_tag: int = 0, multiple: bool = False, requeue: bool = True) -> None:
        """Have the message rejected, or tried again."""
        self._handler.reject_message(delivery_tag, requeue)

    def basic_reject(self, delivery_tag: int = 0, requeue: bool = True) -> None:
        """Have the message rejected, or tried again."""
        self._handler.reject_message(delivery_tag, requeue)
