"""The URL of a message broker, amqp:// or amqps://, as RabbitMQ's URI specification and query parameters have it."""

from __future__ import annotations

import os
import re
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

PORTS = {"amqp": 5672, "amqps": 5671}
FILES = ("cacertfile", "certfile", "keyfile")
"""Query parameters that name PEM files, for TLS."""
_EXAMPLE = "such as amqp://user:password@rabbitmq:5672/vhost or amqps://rabbitmq/?cacertfile=/etc/ssl/broker.pem"


class BrokerUrl(NamedTuple):
    """What a URL says; None and "" are what it leaves out."""

    tls: bool
    host: str
    port: int
    vhost: str = "/"
    user: str | None = None
    password: str | None = None
    cacertfile: str = ""
    certfile: str = ""
    keyfile: str = ""
    heartbeat: int | None = None
    """Seconds; what the broker proposes if it is left out."""


def parsed(url: str) -> BrokerUrl:
    """What a URL says. Raises ValueError, which does not repeat what may be a password."""
    url = url.strip()
    try:
        parts = urlsplit(url)
        port = parts.port or PORTS.get(parts.scheme)
    except ValueError:
        # What it says may hold the password, which is taken for a port.
        port = None
    if not port or not parts.hostname or "@" in parts.path + parts.query + parts.fragment or re.search(r"\s", url):
        raise ValueError(
            f"give a URL {_EXAMPLE}; in a password, the characters / ? # @ : are written %2F %3F %23 %40 %3A"
        )
    tls = parts.scheme == "amqps"
    query = _query(parts.query, tls)
    heartbeat = query.pop("heartbeat", None)
    return BrokerUrl(
        tls,
        parts.hostname,
        port,
        unquote(parts.path[1:]) or "/",
        None if parts.username is None else unquote(parts.username),
        None if parts.password is None else unquote(parts.password),
        heartbeat=None if heartbeat is None else int(heartbeat),
        **query,
    )


def _query(text: str, tls: bool) -> dict[str, str]:
    found = dict(parse_qsl(text, keep_blank_values=True))
    for name, value in found.items():
        if name not in (*FILES, "heartbeat"):
            raise ValueError(f"the parameter {name!r} is not known: there are {', '.join(FILES)} and heartbeat")
        if name in FILES and not tls:
            raise ValueError(f"the parameter {name!r} is for TLS: give amqps:// with it")
        if name in FILES and not os.path.isfile(value):
            raise ValueError(f"there is no file {value!r}, which the parameter {name!r} names")
        if name == "heartbeat" and not (value.isascii() and value.isdigit() and int(value) <= 65535):
            raise ValueError("the parameter 'heartbeat' takes seconds, a whole number from 0 to 65535")
    if bool(found.get("certfile")) != bool(found.get("keyfile")):
        raise ValueError("give both of the parameters certfile and keyfile, or none")
    return found


def url(text: str) -> str:
    """The value of an option. Raises ValueError."""
    parsed(text)
    return text.strip()
