"""What the values of options may be: each function turns text into a value, or raises ValueError with what is right."""

from __future__ import annotations

import os
import re
import shlex
import string
from dataclasses import dataclass
from ipaddress import ip_network
from urllib.parse import urlsplit

LONGEST = 1_000_000_000
"""Seconds; timers of the system and of Python end not far beyond."""
_SECONDS = re.compile(r"\d+(\.\d+)?|\.\d+", re.ASCII)


def port(text: str) -> int:
    """A TCP port."""
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):
        raise ValueError("give a port, a whole number from 1 to 65535")
    return int(text)


def whole_number(text: str, least: int = 0) -> int:
    """A whole number; 0 is one."""
    if not (text.isascii() and text.isdigit() and int(text) >= least):
        raise ValueError(f"give a whole number, {least} or more")
    return int(text)


def positive_integer(text: str) -> int:
    """A whole number from 1."""
    return whole_number(text, 1)


def seconds(text: str, least: str = "a number from 0") -> float:
    """A duration; 0 is one."""
    if not _SECONDS.fullmatch(text):
        raise ValueError(f"give seconds, {least}")
    if float(text) > LONGEST:
        raise ValueError(f"give seconds, {least} to {LONGEST:,}, which is 31 years")
    return float(text)


def positive_seconds(text: str) -> float:
    """A duration above 0."""
    least = "a number above 0"
    if not (duration := seconds(text, least)):
        raise ValueError(f"give seconds, {least}")
    return duration


def size(text: str) -> int:
    """Bytes, with K, M or G for their powers of 1,024."""
    match = re.fullmatch(r"(\d+)([KMG]?)", text.strip(), re.ASCII | re.IGNORECASE)
    if match is None or not int(match[1]):
        raise ValueError("give bytes, a whole number above 0, or with K, M or G behind it")
    return int(match[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[match[2].upper()]


def peers(text: str) -> tuple[str, ...]:
    """Addresses, networks, and words for sets of peers."""
    peers = tuple(filter(None, re.split(r"[\s,]+", text.lower())))
    try:
        for peer in peers:
            if peer not in ("loopback", "private", "unix", "*"):
                ip_network(peer, strict=False)
    except ValueError as error:
        raise ValueError(
            f"give addresses, networks, or the words loopback, private, unix or *, with commas between ({error})"
        ) from error
    return peers


def endpoint(text: str) -> str:
    """A Twisted endpoint; the rest is for its parser to say."""
    if ":" not in text:
        raise ValueError("give a Twisted endpoint such as tcp:8000, unix:/run/web.sock or haproxy:tcp:8000")
    return text


def log_format(text: str) -> str:
    """A format of the log."""
    if text.lower() not in ("text", "combined", "json"):
        raise ValueError("give text, combined or json")
    return text.lower()


def cpu_affinity(text: str) -> str:
    """Whether threads are kept on one core."""
    if text.lower() not in ("none", "auto"):
        raise ValueError("give none or auto")
    return text.lower()


def webhook_format(text: str) -> str:
    """What the JSON of a webhook holds."""
    if text.lower() not in ("twistserve", "hurricane"):
        raise ValueError("give twistserve or hurricane")
    return text.lower()


def boolean(text: str) -> bool:
    """A flag."""
    value = text.strip().lower()
    if value in ("1", "true", "yes", "on"):
        return True
    if value in ("0", "false", "no", "off"):
        return False
    raise ValueError("give true or false")


def dotted(text: str) -> str:
    """A dotted Python name."""
    if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", text):
        raise ValueError("give a dotted Python name such as mysite.settings")
    return text


def dotted_attribute(text: str) -> str:
    """A dotted Python name of something in a module; a colon before the last part will do."""
    if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*[.:][^\W\d]\w*", text):
        raise ValueError("give the application's dotted name such as mysite.wsgi.application")
    return text.replace(":", ".")


def service(text: str) -> str:
    """A service's dotted name, with a name of its own before it or without."""
    parsed_service(text)
    return text.strip()


def parsed_service(text: str) -> tuple[str, str]:
    """The name of a service, and its dotted name. Raises ValueError."""
    name, equals, dotted = text.strip().rpartition("=")
    example = "such as catalogue.services.restock, or restock=catalogue.services.Restock"
    if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*[.:][^\W\d]\w*", dotted):
        raise ValueError(f"give the dotted name of a Twisted service, {example}")
    dotted = dotted.replace(":", ".")
    name = name if equals else dotted.rpartition(".")[2].lower().replace("_", "-").strip("-")
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,39}", name, re.ASCII):
        raise ValueError(
            f"{name!r} is no name for it: give one of at most 40 lower-case letters, digits and dashes before it,"
            f" {example}"
        )
    return name, dotted


def directory(text: str) -> str:
    """A directory that exists."""
    if not os.path.isdir(text):
        raise ValueError("there is no such directory")
    return text


def existing(text: str) -> str:
    """A file or directory that exists, as an absolute path: twistd may change the directory."""
    if not os.path.exists(text):
        raise ValueError("there is no such file or directory; give one that exists, relative to the current directory")
    return os.path.abspath(text)


def host(text: str) -> str:
    """A host name or address."""
    if not re.fullmatch(r"[\w.:%-]+", text):
        raise ValueError("give a host name or an IPv4 or IPv6 address, without a port")
    return text


def http_url(text: str) -> str:
    """A URL to send requests to."""
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or re.search(r"[^!-~]", text):
        raise ValueError("give an http or https URL with a host, such as https://hooks.example.com/events")
    return text


def line(text: str) -> str:
    """Text in one line."""
    if not text.strip() or not text.isprintable():
        raise ValueError("give text in one line")
    return text.strip()


def secret(text: str) -> str:
    """A secret, taken exactly as it is."""
    if not text:
        raise ValueError("give a text that nobody can guess, or leave the option out")
    return text


def path(text: str) -> str:
    """A path of the probe port: its leading slash is added, a trailing one and spaces around it are dropped."""
    path = "/" + text.strip("/" + string.whitespace)
    if not re.fullmatch(r"(/[\w.~@:+=-]+)+", path, re.ASCII):
        raise ValueError("give a path such as /ready, of letters, digits and any of . ~ @ : + = - _")
    return path


@dataclass(frozen=True)
class Mount:
    """A path of the web port, without a final slash, and the dotted name of the resource that has it."""

    path: str
    dotted: str


def mount(text: str) -> str:
    """A mount, its path as `path` makes it."""
    parsed = parsed_mount(text)
    return f"{parsed.path}={parsed.dotted}"


def parsed_mount(text: str) -> Mount:
    """The path and the dotted name of a mount. Raises ValueError."""
    where, equals, name = text.strip().partition("=")
    if not equals:
        raise ValueError("give a path and the dotted name of its resource, such as /live=mysite.live.resource")
    if not where.strip("/" + string.whitespace):
        raise ValueError("the root would hide Django: give a path such as /live")
    try:
        dotted = dotted_attribute(name.strip())
    except ValueError:
        raise ValueError("give the resource's dotted name after the path, such as /live=mysite.live.resource") from None
    return Mount(path(where), dotted)


def command(text: str) -> str:
    """A management command with its arguments, quoted as for a shell."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"give a management command and its arguments, quoted as for a shell ({error})") from error
    if not words:
        raise ValueError("give a management command and its arguments")
    return text.strip()


_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


def level(text: str) -> str:
    """A level of logging."""
    if text.upper() not in _LEVELS:
        raise ValueError(f"give one of {', '.join(_LEVELS)}")
    return text.upper()


# Checks


@dataclass(frozen=True)
class Disk:
    """A directory, and the bytes that are to be free where it lies."""

    path: str
    least: int


@dataclass(frozen=True)
class Broker:
    """Where a message broker listens, without the credentials that its URL had."""

    scheme: str
    host: str
    port: int


BROKER_PORTS = {"amqp": 5672, "amqps": 5671, "redis": 6379, "rediss": 6379, "kafka": 9092, "nats": 4222, "mqtt": 1883}

CHECKS = "caches, storage, migrations, disk=PATH:SIZE, broker=URL, health-check or health-check=DOTTED"


def check(text: str) -> str:
    """A ready-made check with its argument."""
    parsed_check(text)
    return text.strip()


def parsed_check(text: str) -> tuple[str, str | Disk | Broker]:
    """The kind of a ready-made check, and what it is asked about. Raises ValueError."""
    kind, equals, argument = text.strip().partition("=")
    if kind == "disk":
        return kind, _disk(argument)
    if kind == "broker":
        return kind, _broker(argument)
    if kind == "health-check" and argument:
        return kind, dotted(argument)
    if kind not in ("caches", "storage", "migrations", "health-check") or equals:
        raise ValueError(f"give {CHECKS}")
    return kind, ""


def _disk(argument: str) -> Disk:
    path, _, least = argument.rpartition(":")
    try:
        if path:
            return Disk(path, size(least))
    except ValueError:
        pass
    raise ValueError("give a directory and the bytes that are to be free there, such as disk=/var/lib:500M")


def _broker(url: str) -> Broker:
    try:
        parts = urlsplit(url)
        port = parts.port or BROKER_PORTS.get(parts.scheme)
        rest = parts.path + parts.query + parts.fragment
        if parts.hostname and port and "@" not in rest and not re.search(r"\s", url):
            return Broker(parts.scheme, parts.hostname, port)
    except ValueError:
        pass  # What it says may hold the password, which is taken for a port.
    raise ValueError(
        f"give a URL such as broker=amqp://host:5672, without a port only for {', '.join(BROKER_PORTS)};"
        " in a password, the characters / ? # @ : are written %2F %3F %23 %40 %3A"
    )
