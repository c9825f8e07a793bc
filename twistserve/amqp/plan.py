"""What a consumer consumes: the queue and how it is declared, from the options and the handler's attributes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import inlineCallbacks

from twistserve.amqp.handlers import Handler
from twistserve.consumer_options import ConsumerConfiguration
from twistserve.errors import StartError, describe


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The queue, what it is bound to, and how much of it is wanted at a time."""

    queue: str
    exchange: str = ""
    exchange_type: str = "topic"
    queue_type: str = "classic"
    routing_keys: tuple[str, ...] = ()
    durable: bool = True
    declares: bool = True
    dead_letter_exchange: str | None = None
    prefetch: int = 2

    @inlineCallbacks
    def declare(self, channel: Any) -> Any:
        """Declare it all by a channel of pika's Twisted adapter. Fails with what pika raises."""
        yield channel.basic_qos(prefetch_count=self.prefetch)
        if not self.declares:
            yield channel.queue_declare(self.queue, passive=True)
            return
        arguments: dict[str, Any] = {}
        if self.queue_type == "quorum":
            arguments["x-queue-type"] = "quorum"
        if self.dead_letter_exchange is not None:
            # The broker drops what is rejected to an exchange that is not there.
            yield channel.exchange_declare(self.dead_letter_exchange, passive=True)
            arguments["x-dead-letter-exchange"] = self.dead_letter_exchange
        if self.exchange:
            yield channel.exchange_declare(self.exchange, self.exchange_type, durable=self.durable)
        yield channel.queue_declare(self.queue, durable=self.durable, arguments=arguments or None)
        if self.exchange:
            for key in self.routing_keys or (self.queue,):
                yield channel.queue_bind(self.queue, self.exchange, key)


def plan_of(configuration: ConsumerConfiguration, handler: Handler) -> Plan:
    """What is to be consumed for a handler. Calls its `get_routing_keys`; raises `StartError`."""
    name = type(handler).__name__
    queue = configuration.queue or handler.queue
    if not queue:
        raise StartError(f"there is no queue to consume from: give --queue, or {name} an attribute queue")
    try:
        keys = tuple(handler.get_routing_keys(queue))
    except Exception as error:
        raise StartError(f"get_routing_keys of the handler {name} has raised {describe(error)}") from error
    if not all(isinstance(key, str) for key in keys):
        raise StartError(f"get_routing_keys of the handler {name} has returned {keys!r}: return a list of texts")
    durable = handler.durable and not configuration.no_durable
    if configuration.queue_type == "quorum" and not durable:
        raise StartError(
            "--queue-type: a quorum queue is durable: leave out --no-durable, and give a TopicHandler durable = True"
        )
    return Plan(
        queue=queue,
        exchange=configuration.exchange or handler.exchange,
        exchange_type=configuration.exchange_type or handler.exchange_type,
        queue_type=configuration.queue_type,
        routing_keys=keys,
        durable=durable,
        declares=not configuration.no_declare,
        dead_letter_exchange=configuration.dead_letter_exchange,
        prefetch=configuration.prefetch,
    )
