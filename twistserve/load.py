"""How busy a process is: what probes, metrics, the status page and the parent of workers look at."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass


@dataclass(frozen=True)
class Load:
    """The load at one moment. `threads` counts busy and stuck ones too, `requests` those that are queued."""

    threads: int = 0
    busy: int = 0
    queued: int = 0
    stuck: int = 0
    requests: int = 0
    connections: int = 0
    websockets: int = 0

    @classmethod
    def total(cls, loads: Iterable[Load]) -> Load:
        """The load of all of them together."""
        return cls(*map(sum, zip(*map(astuple, loads), strict=True)))
