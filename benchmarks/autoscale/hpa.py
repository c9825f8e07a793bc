"""The HorizontalPodAutoscaler's algorithm, after its documentation and kube-controller-manager's source (v1.35).

https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#algorithm-details, and in
pkg/controller/podautoscaler replica_calculator.go and horizontal.go. All times are seconds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

SYNC = 15.0
"""Seconds between two decisions (--horizontal-pod-autoscaler-sync-period)."""
TOLERANCE = 0.1
CPU_INITIALIZATION = 300.0
"""Seconds after its start in which a pod that is not ready does not count for CPU."""


@dataclass(frozen=True)
class Policy:
    """By how much the number of pods may change within a period: by `pods`, or by `percent` of it."""

    period: float = 15.0
    pods: int | None = None
    percent: int | None = None

    def most(self, before: int) -> int:
        """The greatest number that may be reached within the period from `before`."""
        return before + self.pods if self.pods is not None else math.ceil(before * (1 + (self.percent or 0) / 100))

    def least(self, before: int) -> int:
        """The least one."""
        return before - self.pods if self.pods is not None else int(before * (1 - (self.percent or 0) / 100))


@dataclass(frozen=True)
class Behavior:
    """The field of the same name; the defaults are Kubernetes'."""

    up: tuple[Policy, ...] = (Policy(percent=100), Policy(pods=4))
    down: tuple[Policy, ...] = (Policy(percent=100),)
    up_stabilization: float = 0.0
    down_stabilization: float = 300.0


@dataclass(frozen=True)
class Sample:
    """What is known of a pod."""

    value: float | None
    """The metric as a multiple of its target; None while there is none."""
    unready: bool = False
    """Whether its metric is set aside because it starts, or for CPU, is not ready in its first five minutes."""


def desired(samples: Sequence[Sample], current: int, fallback: float = 1.0) -> int:
    """The number of pods for a metric of pods, before behavior and bounds.

    `fallback` is what a pod without metric is taken to use when the others use less than the target: the target, and
    for CPU all that is requested, as a multiple of the target.
    """
    known = [sample.value for sample in samples if sample.value is not None and not sample.unready]
    unready = sum(sample.unready for sample in samples)
    missing = len(samples) - len(known) - unready
    if not known:
        return current
    ratio = sum(known) / len(known)
    up_with_unready = unready > 0 and ratio > 1
    if not up_with_unready and not missing:
        return current if _tolerated(ratio) else math.ceil(_exact(ratio * len(known)))
    if ratio < 1:
        known += [fallback] * missing
    elif ratio > 1:
        known += [0.0] * missing
    if up_with_unready:
        known += [0.0] * unready
    new = sum(known) / len(known)
    if _tolerated(new) or (ratio < 1 < new) or (new < 1 < ratio):
        return current
    replicas = math.ceil(_exact(new * len(known)))
    if (new < 1 and replicas > current) or (new > 1 and replicas < current):
        return current
    return replicas


def desired_by_total(total: float, current: int) -> int:
    """The number of pods for a metric that has one value for all of them, as KEDA's have (AverageValue)."""
    return current if _tolerated(total / current) else math.ceil(_exact(total))


def _tolerated(ratio: float) -> bool:
    return 1 - TOLERANCE <= _exact(ratio) <= 1 + TOLERANCE


def _exact(number: float) -> float:
    """Kubernetes computes in thousandths as integers: 3.0000000000000004 is 3."""
    return round(number, 9)


@dataclass
class Autoscaler:
    """What an autoscaler remembers: recommendations and changes."""

    minimum: int
    maximum: int
    behavior: Behavior = field(default_factory=Behavior)
    _recommendations: list[tuple[float, int]] = field(default_factory=list)
    _changes: list[tuple[float, int]] = field(default_factory=list)

    def decide(self, now: float, wanted: int, current: int) -> int:
        """The number of pods from now on, of which `wanted` is what the metric asks for."""
        stable = self._stabilized(now, wanted, current)
        new = min(max(self._limited(now, stable, current), self.minimum), self.maximum)
        if new != current:
            self._changes.append((now, new - current))
        return new

    def _stabilized(self, now: float, wanted: int, current: int) -> int:
        rules = self.behavior
        longest = max(rules.up_stabilization, rules.down_stabilization)
        self._recommendations = [each for each in self._recommendations if each[0] > now - longest]
        recent = [(now, wanted), *self._recommendations]
        low = min(number for at, number in recent if at > now - rules.up_stabilization or at == now)
        high = max(number for at, number in recent if at > now - rules.down_stabilization or at == now)
        self._recommendations.append((now, wanted))
        return min(max(current, low), high)

    def _limited(self, now: float, wanted: int, current: int) -> int:
        if wanted > current:
            limits = [policy.most(current - self._change(now, policy.period)) for policy in self.behavior.up]
            return min(wanted, max(current, *limits))
        if wanted < current:
            limits = [policy.least(current - self._change(now, policy.period)) for policy in self.behavior.down]
            return max(wanted, min(current, *limits))
        return current

    def _change(self, now: float, period: float) -> int:
        """By how much the number has changed within the last period."""
        return sum(change for at, change in self._changes if at > now - period)
