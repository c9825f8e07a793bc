"""What an autoscaler knows of the pods: from metrics-server, or from Prometheus; old by some seconds in any case."""

from __future__ import annotations

import random
from collections.abc import Sequence

from benchmarks.autoscale.hpa import CPU_INITIALIZATION, Sample, desired, desired_by_total
from benchmarks.autoscale.pod import Pod
from benchmarks.autoscale.profile import POINTS
from benchmarks.autoscale.rules import Rule

REQUESTED = 0.5
"""The share of a CPU that a pod requests."""
RESOLUTION = 15
"""Seconds between two samples of metrics-server, over which it averages."""


class MetricsServer:
    """CPU as a share of what is requested."""

    def __init__(self, target: float) -> None:
        self._target = target

    def observe(self, pod: Pod, now: int) -> None:
        """Called each second."""
        if (now + pod.phase) % RESOLUTION == 0 and now >= pod.running_at:
            before, pod.sampled_cpu = pod.sampled_cpu, pod.cpu
            if before is not None:
                pod.usage, pod.usage_at = (pod.cpu - before) / RESOLUTION, now

    def desired(self, pods: Sequence[Pod], now: float) -> int:
        """The number of pods before behavior and bounds."""
        samples = [self._sample(pod, now) for pod in pods]
        return desired(samples, len(pods), fallback=max(1.0, self._target) / self._target)

    def _sample(self, pod: Pod, now: float) -> Sample:
        if pod.usage is None:
            return Sample(None, unready=now < pod.running_at)
        young = now < pod.born + CPU_INITIALIZATION
        unready = young and (not pod.ready or pod.usage_at < pod.ready_since + RESOLUTION)
        return Sample(pod.usage / REQUESTED / self._target, unready)


class Prometheus:
    """Requests that run or wait, for each thread: averages of gauges, or rates of counters."""

    def __init__(self, rule: Rule, chance: random.Random, interval: int, threads: int) -> None:
        self._rule, self._chance, self._interval, self._threads = rule, chance, interval, threads

    def observe(self, pod: Pod, now: int) -> None:
        """Called each second."""
        # A pod that starts has a probe port before it is ready, and shows no load.
        if (now + pod.phase) % self._interval == 0 and now > pod.running_at:
            found = 0.0 if pod.level is None else pod.level.found[self._chance.randrange(POINTS)] + pod.excess
            pod.scrapes.append((now, found, pod.request_seconds))

    def desired(self, pods: Sequence[Pod], now: float) -> int:
        """The number of pods before behavior and bounds."""
        target = self._rule.target
        values = [self._value(pod, now) for pod in pods]
        if self._rule.keda:
            return desired_by_total(sum(value for value in values if value is not None) / target, len(pods))
        samples = [
            Sample(None if value is None else value / target, unready=now < pod.running_at)
            for pod, value in zip(pods, values, strict=True)
        ]
        return desired(samples, len(pods))

    def _value(self, pod: Pod, now: float) -> float | None:
        rule = self._rule
        scrapes = [each for each in pod.scrapes if each[0] > now - rule.window]
        if rule.metric == "gauges":
            if not scrapes:
                return None
            value = sum(found for _, found, _ in scrapes) / len(scrapes) / self._threads
        else:
            if len(scrapes) < 2:
                return None
            (first, _, before), *_, (last, _, after) = scrapes
            value = (after - before) / (last - first) / self._threads
        return value if rule.most is None else min(value, rule.most)
