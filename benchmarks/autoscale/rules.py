"""The rules that are compared: what is measured, its target, and how fast the number of pods may change."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from benchmarks.autoscale.hpa import Behavior, Policy
from twistserve.kubernetes import scaling
from twistserve.kubernetes.resources import BUSY

Metric = Literal["cpu", "gauges", "counters"]


def behavior(field: dict[str, Any]) -> Behavior:
    """The field `behavior` of an autoscaler, where it has policies for scaling down alone."""
    down = field["scaleDown"]
    policies = (Policy(period=each["periodSeconds"], percent=each["value"]) for each in down["policies"])
    return Behavior(down=tuple(policies), down_stabilization=down["stabilizationWindowSeconds"])


BEHAVIORS = {
    "": Behavior(),
    "down by a tenth a minute": behavior(scaling.BEHAVIOR),
    "down by a quarter a minute": Behavior(down=(Policy(period=60, percent=25),)),
}
"""By what is said of them; the first is Kubernetes' own."""


@dataclass(frozen=True)
class Rule:
    """An autoscaler's metric and target."""

    metric: Metric
    target: float
    """A share: of the CPU that is requested, or of the request threads."""
    window: int = 60
    """Seconds over which Prometheus averages."""
    most: float | None = None
    """The greatest value that a pod's metric may have; None for any."""
    pace: str = ""
    """The name of its behavior."""
    cpu: float | None = None
    """The target of a second metric, CPU; the autoscaler takes the greater number of pods."""
    keda: bool = False
    """Whether the autoscaler gets one sum for all pods, as KEDA gives it, instead of a value for each."""

    @property
    def behavior(self) -> Behavior:
        return BEHAVIORS[self.pace]

    @property
    def name(self) -> str:
        if self.metric == "cpu":
            words = [f"CPU {self.target:.0%}"]
        else:
            words = [f"threads {self.target:g} over {self.window} s"]
            words += ["by counters"] if self.metric == "counters" else []
            words += [] if self.most is None else [f"at most {self.most:g}"]
            words += [] if self.cpu is None else [f"and CPU {self.cpu:.0%}"]
            words += ["by KEDA"] if self.keda else []
        return ", ".join([*words, *([self.pace] if self.pace else [])])


SLOWLY = "down by a tenth a minute"
CPU = Rule("cpu", BUSY / 100)
"""What `manage.py kubernetes` prints."""
RECOMMENDED = Rule("gauges", scaling.TARGET, most=scaling.MOST, pace=SLOWLY)
"""What it prints with `--scale-by threads`."""
RULES = (
    *(replace(CPU, target=target / 100) for target in (50, 60, 70, 80)),
    replace(CPU, pace=SLOWLY),
    *(replace(RECOMMENDED, target=target / 10) for target in (3, 4, 5, 6, 7, 8)),
    replace(RECOMMENDED, pace=""),
    replace(RECOMMENDED, pace="down by a quarter a minute"),
    *(replace(RECOMMENDED, window=window) for window in (30, 120)),
    *(replace(RECOMMENDED, most=most) for most in (2, None)),
    replace(RECOMMENDED, most=None, pace=""),
    replace(RECOMMENDED, metric="counters"),
    replace(RECOMMENDED, keda=True),
    *(replace(RECOMMENDED, cpu=target / 100, pace="") for target in (70, 80)),
)
