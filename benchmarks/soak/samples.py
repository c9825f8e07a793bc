"""What is looked at each second: the processes by /proc, and the probes and metrics as a cluster asks for them."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.processes import PAGE, descendants

EVERY = 1.0
PATIENCE = 10.0
"""Seconds after which a probe counts as missing."""
PROBES = ("/alive", "/ready", "/metrics")
_SAMPLE = re.compile(r"^(\w+)(\{[^}]*\})? ([0-9.e+-]+|NaN)$", re.MULTILINE)


@dataclass(frozen=True)
class Process:
    """One process at one moment."""

    title: str
    memory: int
    """Bytes resident (RSS)."""
    descriptors: int
    threads: int


@dataclass(frozen=True)
class Probe:
    """The outcome of a probe; status 0 is none."""

    path: str
    seconds: float
    status: int


@dataclass(frozen=True)
class Sample:
    """All that was seen in one second."""

    at: float
    """Seconds since the beginning."""
    processes: dict[int, Process]
    probes: tuple[Probe, ...]
    metrics: dict[str, float]
    """By name with labels."""

    def sum(self, name: str) -> float:
        """Of a metric over all its labels."""
        return sum(value for key, value in self.metrics.items() if key.partition("{")[0] == name)


@dataclass
class Watch:
    """Samples of one service."""

    first: int
    """The process that was started."""
    probe_port: int
    samples: list[Sample] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def watch(self, until: float, each: Callable[[float], None] = lambda at: None) -> None:
        """Take a sample each second until this monotonic time; `each` is told of each."""
        due = time.monotonic()
        while due < until:
            time.sleep(max(0.0, due - time.monotonic()))
            self.samples.append(self.look())
            each(self.samples[-1].at)
            due = max(due + EVERY, time.monotonic())

    def look(self) -> Sample:
        """Take one now."""
        probes, metrics = [], {}
        for path in PROBES:
            probe, body = ask(self.probe_port, path)
            probes.append(probe)
            if path == "/metrics":
                metrics = parsed(body)
        return Sample(time.monotonic() - self.began, dict(processes(self.first)), tuple(probes), metrics)


def processes(first: int) -> Iterator[tuple[int, Process]]:
    """A process and its descendants, by their ids; what ends meanwhile is left out."""
    for pid in descendants(first):
        with contextlib.suppress(OSError, IndexError, ValueError):
            directory = Path(f"/proc/{pid}")
            title = (directory / "cmdline").read_bytes().partition(b"\0")[0].decode(errors="replace").strip()
            memory = int((directory / "statm").read_text().split()[1]) * PAGE
            threads = int((directory / "stat").read_text().rpartition(")")[2].split()[17])
            if memory:
                yield pid, Process(title, memory, len(os.listdir(directory / "fd")), threads)


def ask(port: int, path: str) -> tuple[Probe, str]:
    """Ask once, over a new connection; the outcome, and the body."""
    began, status, body = time.monotonic(), 0, b""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body, status = response.read(), response.status
    except (OSError, http.client.HTTPException):
        pass
    finally:
        connection.close()
    return Probe(path, time.monotonic() - began, status), body.decode(errors="replace")


def parsed(text: str) -> dict[str, float]:
    """Prometheus' text as values by name with labels."""
    return {name + (labels or ""): float(value) for name, labels, value in _SAMPLE.findall(text)}
