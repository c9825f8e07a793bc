"""A message, as a handler sees it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from twistserve.amqp.failures import Reject

FAILURES = "x-twistserve-failures"
"""The header that counts how often handling the message has failed."""
EXCHANGE, ROUTING_KEY = "x-twistserve-exchange", "x-twistserve-routing-key"
"""Headers with what the message was published with, before it came back to the queue for another try."""
_ROUTED = ("CC", "BCC")
"""Headers by which the broker would send a copy to other queues too."""

Publish = Callable[[str, str, bytes, Any], None]
"""Publishes a body with properties by exchange and routing key; raises `PublishError` unless the broker confirms."""


class Message:
    """One message. `delivery` and `properties` are pika's `Basic.Deliver` and `BasicProperties`."""

    def __init__(self, queue: str, delivery: Any, properties: Any, body: bytes, publish: Publish) -> None:
        self.queue = queue
        self.body = body
        self.properties = properties
        self.headers: Mapping[str, Any] = properties.headers or {}
        self.delivery_tag: int = delivery.delivery_tag
        self.redelivered: bool = delivery.redelivered
        """Whether the broker has delivered it before: it may have been handled already."""
        self.exchange: str = self.headers.get(EXCHANGE, delivery.exchange)
        self.routing_key: str = self.headers.get(ROUTING_KEY, delivery.routing_key)
        self._publish = publish

    def __str__(self) -> str:
        name = self.properties.message_id or f"number {self.delivery_tag}"
        return f"the message {str(name)[:100]!r} of the queue {self.queue}"

    @property
    def failures(self) -> int:
        """How often handling it has failed before."""
        failures = self.headers.get(FAILURES, 0)
        return failures if isinstance(failures, int) else 0

    @property
    def text(self) -> str:
        """The body as text, in the encoding that the message names, or UTF-8. Raises `Reject`."""
        encoding = self.properties.content_encoding or "utf-8"
        try:
            return self.body.decode(encoding)
        except (UnicodeDecodeError, LookupError) as error:
            raise Reject(f"the body cannot be decoded as {encoding}: {_without_body(error)}") from None

    def json(self) -> Any:
        """What the body says as JSON. Raises `Reject`."""
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise Reject(f"the body is not JSON: {_without_body(error)}") from None

    def publish(self, exchange: str, routing_key: str, body: bytes | str, **properties: Any) -> None:
        """Publish another message, and wait until the broker has confirmed it. Handler's thread.

        `properties` are those of pika's `BasicProperties`; the message is persistent unless `delivery_mode` says
        otherwise. Raises `PublishError` if the broker does not confirm it, or has no queue for it.
        """
        from pika.spec import BasicProperties

        encoded = body.encode() if isinstance(body, str) else body
        self._publish(exchange, routing_key, encoded, BasicProperties(**{"delivery_mode": 2, **properties}))

    def copy_after_failure(self) -> Any:
        """The properties of a copy that is to be tried again."""
        from pika.spec import BasicProperties

        kept = {name: value for name, value in self.headers.items() if name not in _ROUTED}
        mine = {FAILURES: self.failures + 1, EXCHANGE: self.exchange, ROUTING_KEY: self.routing_key}
        # The broker refuses a user_id which is not ours.
        names = (
            *("content_type", "content_encoding", "delivery_mode", "priority", "correlation_id", "reply_to"),
            *("expiration", "message_id", "timestamp", "type", "app_id", "cluster_id"),
        )
        values = {name: getattr(self.properties, name) for name in names}
        return BasicProperties(headers={**kept, **mine}, **values)


def _without_body(error: Exception) -> str:
    """What is wrong and where; the error's own words may repeat the body."""
    if isinstance(error, UnicodeDecodeError):
        return f"{error.reason} at byte {error.start}"
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.pos}"
    return type(error).__name__
