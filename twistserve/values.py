"""What the values of options may be: each function turns text into a value, or raises ValueError with what is right."""

from __future__ import annotations

import os
import re
import shlex

from twistserve.web.forwarded import TrustedPeers


def port(text: str) -> int:
    """A TCP port."""
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):
        hint = "; Kubernetes sets this for a Service named twistserve: set enableServiceLinks: false in the pod"
        raise ValueError("give a port, a whole number from 1 to 65535" + (hint if text.startswith("tcp://") else ""))
    return int(text)


def positive_integer(text: str) -> int:
    """A whole number from 1."""
    if not (text.isascii() and text.isdigit() and int(text) >= 1):
        raise ValueError("give a whole number, 1 or more")
    return int(text)


def positive_seconds(text: str) -> float:
    """A duration above 0."""
    if not re.fullmatch(r"\d+(\.\d+)?|\.\d+", text, re.ASCII) or not float(text) > 0:
        raise ValueError("give seconds, a number above 0")
    return float(text)


def size(text: str) -> int:
    """Bytes, with K, M or G for their powers of 1,024."""
    match = re.fullmatch(r"(\d+)([KMG]?)", text.strip(), re.ASCII | re.IGNORECASE)
    if match is None or not int(match[1]):
        raise ValueError("give bytes, a whole number above 0, or with K, M or G behind it")
    return int(match[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[match[2].upper()]


def peers(text: str) -> tuple[str, ...]:
    """Addresses and networks, or `*`."""
    peers = tuple(filter(None, re.split(r"[\s,]+", text)))
    try:
        TrustedPeers(peers)
    except ValueError as error:
        raise ValueError(f"give addresses or networks with commas between, or * ({error})") from error
    return peers


def endpoint(text: str) -> str:
    """A Twisted endpoint; the rest is for its parser to say."""
    if ":" not in text:
        raise ValueError("give a Twisted endpoint such as tcp:8000, unix:/run/web.sock or haproxy:tcp:8000")
    return text


def log_format(text: str) -> str:
    """A format of the access log."""
    if text.lower() not in ("text", "json"):
        raise ValueError("give text or json")
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


def directory(text: str) -> str:
    """A directory that exists."""
    if not os.path.isdir(text):
        raise ValueError("there is no such directory")
    return text


def host(text: str) -> str:
    """A host name or address."""
    if not re.fullmatch(r"[\w.:%-]+", text):
        raise ValueError("give a host name or an IPv4 or IPv6 address, without a port")
    return text


def path(text: str) -> str:
    """A path of the probe port: its leading slash is added, a trailing one dropped."""
    path = "/" + text.strip("/")
    if not re.fullmatch(r"(/[\w.~@:+=-]+)+", path, re.ASCII):
        raise ValueError("give a path such as /ready, of letters, digits and any of . ~ @ : + = - _")
    return path


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
