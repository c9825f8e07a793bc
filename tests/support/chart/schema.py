"""The JSON Schema of an option's values, for deploy/chart/values.schema.json.

It leaves out patterns, which the templates check: Helm would say that a value does not match, but not what would be
right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twistserve import broker_url, values
from twistserve.consumer_options import CONSUMER_TABLE, MOST_PREFETCHED
from twistserve.options import TABLE, Option

SECRET = ("check", "command", "webhook_url", "webhook_secret", "amqp_url", "amqp_user", "amqp_password")
"""Options whose values may be secrets, or have passwords in them."""

_MODULE = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*"
_CHECK = rf"caches|storage|migrations|health-check(={_MODULE})?|disk=.+:\d+[KMGkmg]?|broker=[a-z]+://\S+"

_TEXT: dict[str, Any] = {"type": "string", "minLength": 1}
_OF_KIND: dict[Any, dict[str, Any]] = {
    values.port: {"type": "integer", "minimum": 1, "maximum": 65535},
    values.positive_integer: {"type": "integer", "minimum": 1},
    values.whole_number: {"type": "integer", "minimum": 0},
    values.seconds: {"type": "number", "minimum": 0, "maximum": values.LONGEST},
    values.positive_seconds: {"type": "number", "exclusiveMinimum": 0, "maximum": values.LONGEST},
    values.size: {"type": ["integer", "string"], "minimum": 1, "pattern": r"^0*[1-9]\d*[KMGkmg]?$"},
    values.boolean: {"type": "boolean"},
    values.host: {"type": "string", "pattern": r"^[\w.:%-]+$"},
    values.path: {"type": "string", "pattern": r"^(/[\w.~@:+=-]+)+$"},
    values.dotted_attribute: {"type": "string", "pattern": rf"^{_MODULE}[.:][A-Za-z_]\w*$"},
    values.endpoint: {"type": "string", "pattern": ":"},
    values.check: {"type": "string", "pattern": f"^({_CHECK})$"},
    values.service: {"type": "string", "pattern": rf"^([a-z][a-z0-9-]{{0,39}}=)?{_MODULE}[.:][A-Za-z_]\w*$"},
    values.mount: {"type": "string", "pattern": rf"^/.+={_MODULE}([.:]{_MODULE})+$"},
    values.command: {"type": "string", "pattern": r"\S"},
    values.http_url: {"type": "string", "pattern": "^https?://[!-~]+$"},
    values.line: {"type": "string", "pattern": r"^.*\S.*$"},
    values.level: {"enum": ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]},
    values.log_format: {"enum": ["text", "combined", "json"]},
    values.cpu_affinity: {"enum": ["none", "auto"]},
    values.webhook_format: {"enum": ["twistserve", "hurricane"]},
    values.peers: _TEXT,
    values.directory: _TEXT,
    values.existing: _TEXT,
    values.secret: _TEXT,
    broker_url.url: {"type": "string", "pattern": "^amqps?://"},
}
"""By the function that parses the text."""
_NAME = {"type": "string", "minLength": 1, "maxLength": 255}
_OF_CONSUMERS: dict[str, dict[str, Any]] = {
    "queue": _NAME,
    "exchange": _NAME,
    "exchange_type": {"enum": ["topic", "direct", "fanout", "headers"]},
    "queue_type": {"enum": ["classic", "quorum"]},
    "dead_letter_exchange": _NAME,
    "amqp_vhost": _NAME,
    "prefetch": {"type": "integer", "minimum": 1, "maximum": MOST_PREFETCHED},
}
"""By the name of the option, where the function is of consumers alone."""


def both() -> list[Option]:
    """The options of the server, and those that only a consumer has, but for the settings module."""
    known = {option.name for option in TABLE}
    return [*TABLE[1:], *(option for option in CONSUMER_TABLE if option.name not in known)]


def options(table: Sequence[Option] = TABLE, but: Sequence[str] = ("settings",)) -> dict[str, Any]:
    """All options of the table but these, by their words; no others."""
    chosen = [option for option in table if option.name not in but]
    found = {option.word: {"description": option.full_help, **of_option(option)} for option in chosen}
    return {"type": "object", "additionalProperties": False, "properties": found}


def of_option(option: Option) -> dict[str, Any]:
    """The schema of one option's values."""
    one = {key: value for key, value in _of_kind(option).items() if key != "pattern"}
    return {"type": "array", "minItems": 1, "items": one} if option.repeatable else one


def pattern(option: Option) -> str | None:
    """The pattern that the text of its values matches; None for one that takes any."""
    found: str | None = _of_kind(option).get("pattern")
    return found


def remedy(option: Option) -> str:
    """What the server says would be right, in place of an empty text."""
    try:
        option.kind.parse("")
    except ValueError as error:
        return str(error)
    raise ValueError(f"--{option.word} takes an empty text, so that it has no remedy")


def _of_kind(option: Option) -> dict[str, Any]:
    return _OF_CONSUMERS.get(option.name) or _OF_KIND[option.kind.parse]


def secret_options(table: Sequence[Option] = TABLE) -> dict[str, Any]:
    """The words of options of the table that a Secret may hold."""
    words = [option.word for option in table if option.name in SECRET]
    return {"type": "array", "uniqueItems": True, "items": {"enum": words}}
