"""What the kubelet decides of one container, by the probes of its manifest; nothing here runs, waits or reads a clock.

As prober/worker.go and kuberuntime_manager.go of Kubernetes have it:

- The startup probe comes first. Until it has succeeded the others wait, and the container is not ready.
- Each probe runs at its period. One that takes longer than the period delays the next; none overlaps itself.
- A result counts once `failureThreshold` or `successThreshold` of the same have come in a row.
- A container whose startup or liveness probe fails, or that ends, is started again: at once the first time, then after
  pauses that double from 10 seconds to 5 minutes, until it has run for 10 minutes.
- A pod that is deleted is not ready from that moment. Its probes of startup and liveness are over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

STARTUP, READINESS, LIVENESS = "startup", "readiness", "liveness"
BACKOFF, LONGEST, RECOVERED = 10.0, 300.0, 600.0
"""Seconds: the first pause before a start, the longest, and how long a container runs until there is none again."""


@dataclass(frozen=True)
class Probe:
    """A probe of the manifest, times in seconds."""

    path: str
    port: int
    period: float = 10
    timeout: float = 1
    failures: int = 3
    successes: int = 1
    initial_delay: float = 0

    @classmethod
    def of(cls, manifest: Mapping[str, Any], ports: Mapping[str, int]) -> Probe:
        """The probe of a manifest, with its named port looked up and Kubernetes' defaults."""
        asked = manifest["httpGet"]
        return cls(
            asked["path"],
            ports.get(asked["port"], asked["port"]),
            manifest.get("periodSeconds", cls.period),
            manifest.get("timeoutSeconds", cls.timeout),
            manifest.get("failureThreshold", cls.failures),
            manifest.get("successThreshold", cls.successes),
            manifest.get("initialDelaySeconds", cls.initial_delay),
        )


class Act(Enum):
    """What is to be done with the container."""

    START = "start"
    STOP = "stop"
    """SIGTERM, and SIGKILL when the grace period is over."""


@dataclass
class _Runs:
    """What has come of one probe since the container started."""

    due: float
    passes: bool | None = None
    """What counts; None before anything does."""
    latest: bool | None = None
    in_a_row: int = 0
    running: bool = False

    def add(self, probe: Probe, success: bool) -> None:
        self.in_a_row = self.in_a_row + 1 if success == self.latest else 1
        self.latest = success
        if self.in_a_row >= (probe.successes if success else probe.failures):
            self.passes = success


@dataclass
class Kubelet:
    """One container; times are of any clock that goes forward, in seconds. Each call says what time it is."""

    probes: Mapping[str, Probe]
    starts: int = 0
    reasons: list[str] = field(default_factory=list)
    """Why the container was stopped or had to be started again, each time."""
    counts: Counter[str] = field(default_factory=Counter)
    """How often each probe was asked, over all starts."""
    deleted: bool = False
    _runs: dict[str, _Runs] = field(default_factory=dict)
    _running: bool = False
    _stopping: bool = False
    _started_at: float = 0.0
    _start_at: float = 0.0
    _pause: float = 0.0

    def act(self, now: float) -> Act | None:
        """What is to be done now; the caller tells by `started`, `stopping` and `ended` that it is done."""
        if not self._running:
            return Act.START if not self.deleted and now >= self._start_at else None
        failed = [name for name in (STARTUP, LIVENESS) if self._passes(name) is False]
        return Act.STOP if (self.deleted or failed) and not self._stopping else None

    def started(self, now: float) -> None:
        """The container has started."""
        self._running, self._stopping, self._started_at = True, False, now
        self.starts += 1
        self._runs = {name: _Runs(now + probe.initial_delay) for name, probe in self.probes.items()}

    def stopping(self) -> None:
        """The container has got SIGTERM."""
        self._stopping = True
        failed = [name for name in (STARTUP, LIVENESS) if self._passes(name) is False]
        if not self.deleted:
            self.reasons.append(f"{failed[0]} failed")

    def ended(self, status: int, now: float) -> None:
        """The container has ended."""
        if not self._stopping:
            self.reasons.append(f"status {status}")
        if now - self._started_at >= RECOVERED:
            self._pause = 0.0
        self._start_at = now + self._pause
        self._pause = min(max(BACKOFF, 2 * self._pause), LONGEST)
        self._running = self._stopping = False

    def delete(self) -> None:
        """The pod is deleted."""
        self.deleted = True

    def due(self, now: float) -> list[str]:
        """The probes that are to run now; `probed` has each one's result."""
        found = []
        for name, run in self._runs.items():
            if self._waits(name) or run.running or now < run.due:
                continue
            # A ticker: a probe that took long does not move the ones that follow.
            run.due += self.probes[name].period * (1 + (now - run.due) // self.probes[name].period)
            run.running = True
            self.counts[name] += 1
            found.append(name)
        return found

    def probed(self, name: str, success: bool, of: int) -> None:
        """A probe's result, of the start with this number: that of a container that is gone counts no more."""
        if of != self.starts or not self._running:
            return
        self._runs[name].running = False
        if not self._waits(name):
            self._runs[name].add(self.probes[name], success)

    @property
    def is_started(self) -> bool:
        """Whether the startup probe has succeeded since the last start, or there is none."""
        return self._running and (STARTUP not in self.probes or self._passes(STARTUP) is True)

    @property
    def is_ready(self) -> bool:
        """Whether the pod's address is among those of its Service."""
        return (
            self.is_started and not self.deleted and (READINESS not in self.probes or self._passes(READINESS) is True)
        )

    def _passes(self, name: str) -> bool | None:
        return self._runs[name].passes if name in self._runs else None

    def _waits(self, name: str) -> bool:
        """Whether a probe does not run now, or any more."""
        if not self._running:
            return True
        if name == READINESS:
            return not self.is_started
        # One that has failed is not asked again, nor one of a pod that goes.
        over = self._stopping or self.deleted or self._passes(name) is False
        return over or (self.is_started if name == STARTUP else not self.is_started)
