"""The options of ``manage.py consume``: its own, and those of the server that a consumer has too."""

from __future__ import annotations

import dataclasses
from functools import partial

from twistserve import broker_url, redaction, values
from twistserve.options import TABLE, Configuration, Kind, Option, options_of, row

MOST_PREFETCHED = 65535
"""What AMQP 0-9-1 has room for in basic.qos."""

_amqp = partial(row, "AMQP")
_probes = partial(row, "Probes and metrics")
_ending = partial(row, "Draining and recycling")
_hurricane = partial(row, "Moving from Django-Hurricane")
_FROM_ZERO = Kind("N", values.whole_number)


def _exchange_type(text: str) -> str:
    if text.lower() not in ("topic", "direct", "fanout", "headers"):
        raise ValueError("give topic, direct, fanout or headers")
    return text.lower()


def _queue_type(text: str) -> str:
    if text.lower() not in ("classic", "quorum"):
        raise ValueError("give classic or quorum")
    return text.lower()


def _name(text: str) -> str:
    """A name of AMQP's, a short string."""
    if not text.isprintable() or not 1 <= len(text.encode()) <= 255:
        raise ValueError("give a name of at most 255 bytes")
    return text


def _prefetch(text: str) -> int:
    # 0 would be as many as there are, and all of them in memory.
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MOST_PREFETCHED):
        raise ValueError(f"give a whole number from 1 to {MOST_PREFETCHED}")
    return int(text)


_NAME = Kind("NAME", _name)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConsumerConfiguration(Configuration):
    """The values in force of a consumer; made by `resolve_consumer`."""

    serves = False

    handler: str | None = _amqp(
        "the handler's class; the same as the argument without a name", Kind("DOTTED", values.dotted_attribute), None
    )
    queue: str | None = _amqp("the queue to consume from", _NAME, None, default_text="the handler's attribute queue")
    exchange: str | None = _amqp(
        "the exchange to bind the queue to, with the routing keys of the handler's get_routing_keys; without one it is"
        " not bound",
        _NAME,
        None,
        default_text="the handler's attribute exchange",
    )
    exchange_type: str | None = _amqp(
        "type of the exchange: topic, direct, fanout or headers",
        Kind("TYPE", _exchange_type),
        None,
        default_text="the handler's attribute, or topic",
    )
    queue_type: str = _amqp(
        "type of the queue: classic, or quorum, which is replicated", Kind("TYPE", _queue_type), "classic"
    )
    no_durable: bool = _amqp(
        "declare the exchange and the queue so that a restart of the broker forgets them and their messages, as"
        " Django-Hurricane does",
        default_text="off; on for a TopicHandler, unless its attribute durable says otherwise",
    )
    no_declare: bool = _amqp(
        "declare nothing: use the queue as it is there, whatever it was declared with, and bind it to nothing"
    )
    dead_letter_exchange: str | None = _amqp(
        "declare the queue with this exchange, which must exist, for messages that are rejected: those that have"
        " failed --retries times more; without one, the broker discards them",
        _NAME,
        None,
    )
    amqp_url: str | None = _amqp(
        "the broker in one URL, amqps:// for TLS; better given by the environment variable TWISTSERVE_AMQP_URL where"
        " it has a password, since others can read a command line",
        Kind("URL", broker_url.url),
        None,
    )
    amqp_host: str | None = _amqp("address or name of the broker", Kind("HOST", values.host), None)
    amqp_port: int = _amqp("port of the broker", Kind("PORT", values.port), 5672)
    amqp_vhost: str = _amqp("virtual host of the broker", _NAME, "/")
    amqp_user: str | None = _amqp(
        "user of the broker", Kind("NAME", values.line, redaction.hidden), None, default_text="guest"
    )
    amqp_password: str | None = _amqp(
        "the user's password; better given by the environment variable AMQP_PASSWORD, since others can read a command"
        " line",
        Kind("PASSWORD", values.secret, redaction.hidden),
        None,
        default_text="guest",
    )
    threads: int = _amqp(
        "messages handled at the same time, each in a thread; with 1 in the order of the queue",
        Kind("N", values.positive_integer),
        1,
    )
    prefetch: int = _amqp(
        "messages that the broker sends before earlier ones are acknowledged: those in hand, those that wait for a"
        " thread, and those that failed and wait for another try",
        Kind("N", _prefetch),
        0,
        default_text="twice --threads",
    )
    retries: int = _amqp(
        "times that a message whose handler raises is tried again, after 1, 2, 4 seconds and so on; then it is"
        " rejected",
        _FROM_ZERO,
        5,
    )
    handler_timeout: float = _amqp(
        "seconds after which a message counts as stuck: its thread is replaced until it returns, and liveness fails"
        " when all are stuck; 0 for as long as it takes",
        Kind("SECONDS", values.seconds),
        0.0,
        default_text="0, off",
    )
    publish_timeout: float = _amqp(
        "seconds that the broker has to confirm what a handler publishes; then publishing raises",
        Kind("SECONDS", values.positive_seconds),
        30.0,
    )
    reconnect: bool = _amqp(
        "connect again when the connection is lost, after pauses of 1 to 30 seconds; --no-reconnect ends the process"
        " with status 1",
        default=True,
    )

    probe_host: str | None = _probes(
        "address or name to serve probes on", Kind("HOST", values.host), None, "all interfaces, IPv4 and IPv6"
    )
    probe_port: int = _probes("port to serve probes and metrics on", Kind("PORT", values.port), 0, default_text="8001")
    graceful_timeout: float = _ending("seconds granted to messages in hand", Kind("SECONDS", values.seconds), 25.0)
    max_lifetime: int = _ending(
        "drain and end after this many messages, and up to a tenth more, so that instances do not end together;"
        " 0 for never",
        _FROM_ZERO,
        0,
        default_text="0, off",
    )
    req_queue_len: int = _hurricane(
        "without effect: --prefetch bounds the messages that wait, and the others wait at the broker", _FROM_ZERO, 100
    )


_OF_SERVING = frozenset(
    (
        *("wsgi", "host", "port", "endpoint", "backlog", "cpu_affinity", "workers", "preload", "request_timeout"),
        *("max_queue", "max_body_size", "max_header_size", "header_timeout", "body_timeout", "keep_alive_timeout"),
        *("max_connections", "forwarded_allow_ips", "static", "media", "media_scripts", "drain_delay", "access_log"),
        *("autoreload", "autoreload_watch", "static_watch", "hurricane_settings", "max_buffer_size"),
    )
)
"""Options of the server that mean nothing to a consumer."""


def _ordered(options: tuple[Option, ...]) -> tuple[Option, ...]:
    """Those of a consumer, group by group: Django's first, then its own, then as the server has them."""
    groups = list(dict.fromkeys(["Django", "AMQP", *(option.group for option in TABLE)]))
    own = list(ConsumerConfiguration.__annotations__)

    def place(option: Option) -> tuple[int, int]:
        # --threads has its place among the fields of the server.
        return groups.index(option.group), own.index(option.name) if option.group == "AMQP" else 0

    return tuple(sorted((option for option in options if option.name not in _OF_SERVING), key=place))


CONSUMER_TABLE = ConsumerConfiguration.table = _ordered(options_of(ConsumerConfiguration))
