"""Periods, timeouts and failure thresholds of the probes, and other times, derived from the options in force.

All times are whole seconds, as Kubernetes requires.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from twistserve.options import Configuration
from twistserve.probes.client import MARGIN
from twistserve.process.ending import END

STARTUP_PERIOD = 2
START = 120
"""Seconds that a start may take: imports, on little CPU."""
START_WITH_STEPS = 600
"""The same with migrations or commands."""
READINESS_PERIOD = 5
"""The longest period; a short --drain-delay needs a shorter one."""
LIVENESS_PERIOD = 10
LIVENESS_FAILURES = 3
SPREAD = 1.0
"""Seconds until proxies know that a pod is not ready."""
PROGRESS = 600
"""Seconds that Kubernetes grants a roll-out by default, for the image and a node."""


class Asked(NamedTuple):
    """How a probe is asked: period and timeout in seconds, and the failure threshold."""

    period: int
    timeout: int
    failures: int

    def fields(self) -> dict[str, Any]:
        """The fields of the manifest."""
        return {"periodSeconds": self.period, "timeoutSeconds": self.timeout, "failureThreshold": self.failures}


def timeout(configuration: Configuration) -> int:
    """Seconds that the kubelet waits for a response, which the server sends by the end of --check-timeout."""
    return math.ceil(configuration.check_timeout + MARGIN)


def start(configuration: Configuration) -> int:
    """Seconds that a start may take."""
    steps = configuration.command or configuration.check_migrations or configuration.check_migrations_apply
    return START_WITH_STEPS if steps else START


def startup(configuration: Configuration) -> Asked:
    """A short period, so that a pod serves soon after it is ready, for as long as a start may take."""
    return Asked(STARTUP_PERIOD, timeout(configuration), start(configuration) // STARTUP_PERIOD)


def readiness(configuration: Configuration) -> Asked:
    """Often enough for a drain that the instance begins itself.

    Kubernetes must notice it before the port closes, at the end of --drain-delay.
    """
    left = configuration.drain_delay - SPREAD
    failures = 2 if left >= 2 or left < 1 else 1
    period = min(READINESS_PERIOD, int(left / failures)) if left >= 1 else READINESS_PERIOD
    return Asked(period, timeout(configuration), failures)


def liveness(configuration: Configuration) -> Asked:
    """A long period, since a restart rarely helps; more failures where liveness fails during a drain."""
    failures = LIVENESS_FAILURES
    if configuration.probe is not None or configuration.probes_on_web_port:
        failures = max(failures, math.floor(_drain(configuration) / LIVENESS_PERIOD) + 1)
    return Asked(LIVENESS_PERIOD, timeout(configuration), failures)


def grace(configuration: Configuration) -> int:
    """Seconds from SIGTERM by which the process has ended."""
    return math.ceil(_drain(configuration) + END)


def progress_deadline(configuration: Configuration) -> int:
    """Seconds until a roll-out counts as stuck: a start, plus Kubernetes' default."""
    return start(configuration) + PROGRESS


def _drain(configuration: Configuration) -> float:
    return configuration.drain_delay + configuration.graceful_timeout
