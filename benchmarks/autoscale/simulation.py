"""Many pods behind a Service, and an autoscaler: seconds of an hour, one after the other.

Within a second a pod's load is steady: it serves as its profile says, or has more requests than it can serve, which
queue up. The Service gives each ready pod the same share of the requests, as kube-proxy does by chance.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.autoscale.arrivals import Scenario
from benchmarks.autoscale.hpa import SYNC, Autoscaler
from benchmarks.autoscale.measured import START
from benchmarks.autoscale.metrics import MetricsServer, Prometheus
from benchmarks.autoscale.pod import Pod
from benchmarks.autoscale.profile import Level, Profile
from benchmarks.autoscale.rules import Rule

MINIMUM, MAXIMUM = 2, 100
MAX_QUEUE = 1000
"""--max-queue, whose excess gets 503."""
READY_QUEUE = 100
"""--req-queue-len, at which the readiness probe fails."""
PROBE, FAILURES = 2, 2
"""Period of the readiness probe in seconds, and failures until a pod gets no requests."""
CLIENT_TIMEOUT = 10.0
"""Seconds after which a client gives up."""
LEAVING = 6
"""Seconds that a pod is paid for after it was told to end: --drain-delay, and a last request."""
SCHEDULING = 3.0
"""Seconds from the autoscaler's decision to the start of the container, on a node that has room and the image."""


@dataclass(frozen=True)
class Conditions:
    """What may be otherwise in another cluster."""

    start: float = SCHEDULING + START
    """Seconds from the autoscaler's decision until a pod can serve."""
    scrape: int = 15
    """Seconds between two scrapes of Prometheus."""
    ready_queue: int = READY_QUEUE
    """Requests that wait at which a pod is not ready."""


USUAL = Conditions()


@dataclass
class Outcome:
    """What happened, second by second."""

    replicas: list[int] = field(default_factory=list)
    queue: list[float] = field(default_factory=list)
    """Requests running or waiting, of all pods."""
    p99: list[float] = field(default_factory=list)
    """Seconds; the clients' patience where fewer than 99 of 100 are served."""
    errors: list[float] = field(default_factory=list)
    """Requests a second that were refused or given up."""
    requests: float = 0.0
    served: float = 0.0
    excess: float = 0.0
    """Requests that wait at the end, beyond those of a steady load."""
    pod_seconds: float = 0.0

    @property
    def error_share(self) -> float:
        return sum(self.errors) / self.requests


def simulate(
    rule: Rule, scenario: Scenario, profile: Profile, whole: float, conditions: Conditions = USUAL, seed: int = 1
) -> Outcome:
    """Run a scenario with a rule. `whole` is the rate that a pod with a whole CPU can serve, the scenario's unit."""
    world = _World(rule, profile, random.Random(seed), conditions)
    outcome = Outcome()
    for now in range(scenario.seconds):
        world.second(now, scenario.rate(now) * whole, outcome)
    return outcome


class _World:
    def __init__(self, rule: Rule, profile: Profile, chance: random.Random, conditions: Conditions) -> None:
        self._profile, self._chance, self._conditions = profile, chance, conditions
        self._autoscaler = Autoscaler(MINIMUM, MAXIMUM, rule.behavior)
        cpu = rule.target if rule.metric == "cpu" else rule.cpu
        self._metrics: list[MetricsServer | Prometheus] = [] if cpu is None else [MetricsServer(cpu)]
        if rule.metric != "cpu":
            self._metrics.append(Prometheus(rule, chance, conditions.scrape, profile.threads))
        self._pods = [self._new(-600.0) for _ in range(MINIMUM)]
        for pod in self._pods:
            pod.ready = True
        self._leaving: list[float] = []
        self._served = 0.0

    def second(self, now: int, rate: float, outcome: Outcome) -> None:
        pods = self._pods
        for pod in pods:
            if (now + pod.phase) % PROBE == 0:
                self._probe(pod, now)
        serving = [pod for pod in pods if pod.ready]
        share = rate / len(serving) if serving else 0.0
        errors = 0.0 if serving else rate
        for pod in pods:
            errors += self._serve(pod, share if pod.ready else 0.0)
            for metric in self._metrics:
                metric.observe(pod, now)
        outcome.replicas.append(len(pods))
        outcome.queue.append(sum(self._in_pod(pod) for pod in pods))
        outcome.errors.append(errors)
        outcome.p99.append(CLIENT_TIMEOUT if errors > 0.01 * rate else self._p99(serving))
        outcome.requests += rate
        outcome.excess = sum(pod.excess for pod in pods)
        outcome.served = self._served
        self._leaving = [until for until in self._leaving if until > now]
        outcome.pod_seconds += len(pods) + len(self._leaving)
        if now % SYNC == 0:
            self._scale(now)

    def _new(self, now: float) -> Pod:
        start = now + self._conditions.start
        return Pod(now, start - START, start + self._chance.uniform(0, PROBE), self._chance.randrange(60))

    def _probe(self, pod: Pod, now: int) -> None:
        if now < pod.ready_at:
            return
        # Few of a steady load's requests wait; a pod whose queue has begun to grow has more of them.
        pod.failures = pod.failures + 1 if pod.excess >= self._conditions.ready_queue else 0
        ready = pod.failures < FAILURES if pod.ready else not pod.failures
        if ready != pod.ready:
            pod.ready, pod.ready_since = ready, now

    def _serve(self, pod: Pod, rate: float) -> float:
        """Serve for a second; the number of requests that were refused or given up."""
        most = self._profile.rate
        coming = pod.excess + rate
        served = min(coming, most)
        left = coming - served
        self._served += served
        bound = min(MAX_QUEUE, CLIENT_TIMEOUT * most)
        pod.excess = min(left, bound)
        pod.level = self._profile.level(served / most) if served else None
        pod.cpu += served * self._profile.cpu
        if pod.level is not None:
            pod.request_seconds += served * (pod.level.mean + pod.excess / most)
        return left - pod.excess

    def _in_pod(self, pod: Pod) -> float:
        return 0.0 if pod.level is None else pod.excess + pod.level.found_mean

    def _p99(self, serving: Sequence[Pod]) -> float:
        """The 99th percentile of the responses of all pods."""
        kinds: dict[tuple[int, float], tuple[int, Level, float]] = {}
        for pod in serving:
            if pod.level is not None:
                delay = round(pod.excess / self._profile.rate, 2)
                number = kinds.get((id(pod.level), delay), (0,))[0]
                kinds[id(pod.level), delay] = (number + 1, pod.level, delay)
        found = list(kinds.values())
        if len(found) < 2:
            return found[0][1].p99 + found[0][2] if found else 0.0
        low, high = (choose(level.p99 + delay for _, level, delay in found) for choose in (min, max))
        while high - low > 0.001:
            middle = (low + high) / 2
            within = sum(number * level.share_within(middle - delay) for number, level, delay in found)
            low, high = (low, middle) if within >= 0.99 * len(serving) else (middle, high)
        return high

    def _scale(self, now: float) -> None:
        pods = self._pods
        wanted = max(metric.desired(pods, now) for metric in self._metrics)
        new = self._autoscaler.decide(now, wanted, len(pods))
        if new > len(pods):
            pods.extend(self._new(now) for _ in range(new - len(pods)))
        elif new < len(pods):
            # The ReplicaSet ends pods that are not ready first, then the youngest.
            pods.sort(key=lambda pod: (not pod.ready, pod.born))
            self._leaving += [now + LEAVING] * (len(pods) - new)
            # They serve what waits there before they end.
            self._served += sum(pod.excess for pod in pods[new:])
            del pods[new:]
