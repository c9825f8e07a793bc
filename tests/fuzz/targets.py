"""What is fuzzed, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from tests.fuzz import connections, fields, http2, proxies, requests, seeds, websockets

FOUND = Path(__file__).resolve().parent / "found"
"""What has made a target fail: a directory for each target, a file for each input, whose name says what was wrong."""


class Target(NamedTuple):
    """A function that raises where bytes make something wrong, and bytes to begin with, by name."""

    fuzz: Callable[[bytes], None]
    seeds: Mapping[str, bytes]


TARGETS = {
    "requests": Target(requests.fuzz, seeds.HTTP1),
    "connections": Target(connections.fuzz, seeds.HTTP1),
    "http2": Target(http2.fuzz, seeds.FRAMES),
    "websockets": Target(websockets.fuzz, seeds.SOCKETS),
    "proxies": Target(proxies.fuzz, seeds.PROXIED),
    "fields": Target(fields.fuzz, seeds.VALUES),
}
