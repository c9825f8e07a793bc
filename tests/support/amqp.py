"""Messages, and what stands for pika and the broker."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from pika.spec import Basic, BasicProperties
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from tests.support import lifecycle
from twistserve.amqp.message import Message, Publish
from twistserve.consumer_options import ConsumerConfiguration
from twistserve.resolution import resolve_consumer


class Reactor(lifecycle.Reactor):
    """A Clock on which calls from threads happen at once."""

    def callFromThread(self, function: Any, *arguments: Any, **keywords: Any) -> None:
        function(*arguments, **keywords)


def configuration(environ: dict[str, str] | None = None, **given: Any) -> ConsumerConfiguration:
    """The configuration of a consumer for these words of the command line."""
    return resolve_consumer(given, environ or {}, lambda *_: {})


def unpublished(exchange: str, routing_key: str, body: bytes, properties: Any) -> None:
    raise AssertionError("nothing was to be published")


def message(
    body: bytes = b"{}",
    tag: int = 1,
    publish: Publish = unpublished,
    *,
    redelivered: bool = False,
    exchange: str = "shop",
    routing_key: str = "orders.new",
    **properties: Any,
) -> Message:
    delivery = Basic.Deliver("consumer", tag, redelivered, exchange, routing_key)
    return Message("orders", delivery, BasicProperties(**properties), body, publish)


class Channel:
    """In place of a session: notes what becomes of messages. `is_open` may be turned off."""

    def __init__(self) -> None:
        self.is_open = True
        self.told: list[tuple[Any, ...]] = []

    def acknowledge(self, tag: int) -> bool:
        return self._tell("ack", tag)

    def reject(self, tag: int, requeue: bool) -> bool:
        return self._tell("requeue" if requeue else "reject", tag)

    def _tell(self, *what: Any) -> bool:
        if self.is_open:
            self.told.append(what)
        return self.is_open


class PikaChannel:
    """In place of a channel of pika's Twisted adapter: notes its calls, and fails those that `failing` names."""

    def __init__(self) -> None:
        self.is_open = True
        self.calls: list[tuple[Any, ...]] = []
        self.on_closed: Deferred[Any] = Deferred()
        self.failing: dict[str, BaseException] = {}
        self.answers: dict[str, Deferred[Any]] = {}
        """What calls of these names return, in place of what is there at once."""
        self.queue: Deferred[Any] = Deferred()
        """What the next message comes by."""
        self.published: list[Deferred[Any]] = []

    def __getattr__(self, name: str) -> Callable[..., Deferred[Any]]:
        def call(*arguments: Any, **keywords: Any) -> Deferred[Any]:
            self.calls.append((name, *arguments, keywords) if keywords else (name, *arguments))
            if name in self.failing:
                return _failed(self.failing[name])
            return self.answers.get(name) or succeed(None)

        return call

    def basic_consume(self, queue: str) -> Deferred[Any]:
        self.calls.append(("basic_consume", queue))
        if "basic_consume" in self.failing:
            return _failed(self.failing["basic_consume"])
        return succeed((self, "tag"))

    def basic_publish(self, *arguments: Any, **keywords: Any) -> Deferred[Any]:
        self.calls.append(("basic_publish", *arguments))
        self.published.append(Deferred())
        return self.published[-1]

    def get(self) -> Deferred[Any]:
        self.queue = Deferred()
        return self.queue

    def deliver(self, body: bytes, tag: int = 1) -> None:
        delivery = Basic.Deliver("tag", tag, False, "", "orders")
        self.queue.callback((self, delivery, BasicProperties(), body))

    def close_by(self, reason: BaseException) -> None:
        """The broker closes it."""
        self.is_open = False
        self.queue.errback(Failure(reason))
        self.on_closed.callback(reason)


class PikaConnection:
    """In place of a connection."""

    def __init__(self, channel: PikaChannel | None = None) -> None:
        self.made = channel or PikaChannel()
        self.is_open = True
        self.told: list[str] = []
        self.reason: BaseException | None = None
        self.transport = SimpleNamespace()

    def channel(self) -> Deferred[Any]:
        return succeed(self.made)

    def close(self) -> None:
        self.told.append("close")
        self.is_open = self.made.is_open = False

    def close_within(self, seconds: float, reactor: Any) -> Deferred[Any]:
        self.close()
        return succeed(None)

    def abort(self) -> None:
        self.told.append("abort")
        self.is_open = self.made.is_open = False


def _failed(error: BaseException) -> Deferred[Any]:
    failed: Deferred[Any] = Deferred()
    failed.errback(error)
    return failed
