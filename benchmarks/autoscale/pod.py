"""A pod of the simulation: its state, and what metrics-server and Prometheus have seen of it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from benchmarks.autoscale.profile import Level


@dataclass
class Pod:
    """A pod and what it has counted."""

    born: float
    running_at: float
    """When its container starts: before, it is pending."""
    ready_at: float
    """When its first readiness probe succeeds."""
    phase: int
    """Offset of what happens to it periodically, in seconds."""
    excess: float = 0.0
    """Requests beyond those that a steady load of what it can serve would have waiting."""
    failures: int = 0
    ready: bool = False
    ready_since: float = 0.0
    level: Level | None = None
    cpu: float = 0.0
    """Seconds of CPU so far."""
    request_seconds: float = 0.0
    """The sum of responses' durations so far."""
    sampled_cpu: float | None = None
    """`cpu` when metrics-server took its last sample."""
    usage: float | None = None
    """The share of a CPU that metrics-server knows."""
    usage_at: float = 0.0
    scrapes: deque[tuple[float, float, float]] = field(default_factory=lambda: deque(maxlen=16))
    """When, requests running or waiting, and the sum of durations, as Prometheus has them."""
