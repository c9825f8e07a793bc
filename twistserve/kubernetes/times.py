"""How often the kubelet asks, how long it waits, and when it has heard enough; all of the options in force.

Times are whole seconds, which is what Kubernetes has.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from twistserve.options import Configuration
from twistserve.probes.client import MARGIN
from twistserve.process.ending import END

STARTUP_PERIOD = 2
START = 120
"""Seconds that a start may take: imports, with little CPU."""
START_WITH_STEPS = 600
"""The same where migrations or commands come before."""
READINESS_PERIOD = 5
"""The longest; a drain may ask for a shorter one."""
LIVENESS_PERIOD = 10
LIVENESS_FAILURES = 3
SPREAD = 1.0
"""Seconds from a pod that is not ready to proxies that have heard of it."""


class Asked(NamedTuple):
    """A probe's numbers."""

    period: int
    timeout: int
    failures: int

    def fields(self) -> dict[str, Any]:
        """As a manifest has them."""
        return {"periodSeconds": self.period, "timeoutSeconds": self.timeout, "failureThreshold": self.failures}


def timeout(configuration: Configuration) -> int:
    """Until when the kubelet waits: our own response comes at the latest when --check-timeout is over."""
    return math.ceil(configuration.check_timeout + MARGIN)


def start(configuration: Configuration) -> int:
    """Seconds that a start has."""
    steps = configuration.command or configuration.check_migrations or configuration.check_migrations_apply
    return START_WITH_STEPS if steps else START


def startup(configuration: Configuration) -> Asked:
    """Often, so that a pod that is ready serves soon, for as long as a start may take."""
    return Asked(STARTUP_PERIOD, timeout(configuration), start(configuration) // STARTUP_PERIOD)


def readiness(configuration: Configuration) -> Asked:
    """As often as a drain that the instance begins by itself asks for.

    Kubernetes is to have noticed before the port closes, at the end of --drain-delay.
    """
    left = configuration.drain_delay - SPREAD
    failures = 2 if left >= 2 or left < 1 else 1
    period = min(READINESS_PERIOD, int(left / failures)) if left >= 1 else READINESS_PERIOD
    return Asked(period, timeout(configuration), failures)


def liveness(configuration: Configuration) -> Asked:
    """Patient: a restart mends little. More so where liveness fails in a drain."""
    failures = LIVENESS_FAILURES
    if configuration.probe is not None or configuration.probes_on_web_port:
        failures = max(failures, math.floor(_drain(configuration) / LIVENESS_PERIOD) + 1)
    return Asked(LIVENESS_PERIOD, timeout(configuration), failures)


def grace(configuration: Configuration) -> int:
    """Until when the process is gone after SIGTERM."""
    return math.ceil(_drain(configuration) + END)


def progress_deadline(configuration: Configuration) -> int:
    """Until when a roll-out counts as stuck: one start, and as much for the image and a node as Kubernetes grants."""
    return start(configuration) + 600


def _drain(configuration: Configuration) -> float:
    return configuration.drain_delay + configuration.graceful_timeout
