"""One pod under a steady load: an exact simulation, and what the simulation of many pods needs to know of it.

A request waits in one queue for a thread. It computes on one CPU, which serves one request after the other as the GIL
does, first half of its CPU time before its thread waits for another machine, the other half after.
"""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import TypeVar

from benchmarks.autoscale.measured import THREADS, Request

N = TypeVar("N", int, float)

LOADS = (0.02, *(number / 20 for number in range(1, 19)), 0.92, 0.94, 0.96, 0.98)
"""Shares of the greatest rate of which profiles are made."""
REQUESTS = 10_000
"""Simulated for each load."""
POINTS = 200
"""Quantiles that are kept of a distribution."""


@dataclass(frozen=True)
class Served:
    """What became of the requests."""

    responses: list[float]
    """Seconds of each."""
    found: list[int]
    """Requests that each found in the pod when it arrived, running or waiting."""
    seconds: float
    """Until the last one ended."""


def serve(
    arrivals: Sequence[float], mix: Sequence[Request], chance: random.Random, cpus: float = 1.0, threads: int = THREADS
) -> Served:
    """Serve requests that arrive at these times, in order, on `cpus` of a CPU."""
    waiting: deque[tuple[float, Request]] = deque()
    events: list[tuple[float, int, float, Request]] = []
    """When, what (1: computes again, 0: ended), when it arrived."""
    responses: list[float] = []
    found: list[int] = []
    free, cpu_free, last = threads, 0.0, 0.0
    coming = 0

    def compute(now: float, seconds: float) -> float:
        nonlocal cpu_free
        cpu_free = max(now, cpu_free) + seconds / cpus
        return cpu_free

    def begin(now: float, arrived: float, request: Request) -> None:
        if request.wait:
            heappush(events, (compute(now, request.cpu / 2) + request.wait, 1, arrived, request))
        else:
            heappush(events, (compute(now, request.cpu), 0, arrived, request))

    while coming < len(arrivals) or events:
        if coming < len(arrivals) and (not events or arrivals[coming] < events[0][0]):
            now = arrivals[coming]
            coming += 1
            found.append(threads - free + len(waiting))
            request = chance.choice(mix)
            if free:
                free -= 1
                begin(now, now, request)
            else:
                waiting.append((now, request))
            continue
        now, again, arrived, request = heappop(events)
        if again:
            heappush(events, (compute(now, request.cpu / 2), 0, arrived, request))
            continue
        responses.append(now - arrived)
        last = now
        if waiting:
            begin(now, *waiting.popleft())
        else:
            free += 1
    return Served(responses, found, last)


def poisson(rate: float, number: int, chance: random.Random) -> list[float]:
    """So many times of independent arrivals."""
    now = 0.0
    times = []
    for _ in range(number):
        now += chance.expovariate(rate)
        times.append(now)
    return times


@dataclass(frozen=True)
class Level:
    """A pod at one load."""

    mean: float
    """Seconds of a response."""
    responses: tuple[float, ...]
    """Quantiles, least first."""
    found: tuple[int, ...]
    """Quantiles of the requests in the pod."""
    found_mean: float

    @property
    def p99(self) -> float:
        """Seconds."""
        return self.responses[-1 - POINTS // 100]

    def share_within(self, seconds: float) -> float:
        """The share of responses that take no longer."""
        return bisect_right(self.responses, seconds) / len(self.responses)


class Profile:
    """A mix on a pod, by load."""

    def __init__(self, mix: Sequence[Request], cpus: float = 1.0, threads: int = THREADS) -> None:
        chance = random.Random(1)
        self.threads = threads
        self.cpu = sum(request.cpu for request in mix) / len(mix)
        """CPU seconds of a request."""
        self.rate = REQUESTS / serve([0.0] * REQUESTS, mix, chance, cpus, threads).seconds
        """The greatest number of requests a second."""
        self._levels = []
        for load in LOADS:
            served = serve(poisson(load * self.rate, REQUESTS, chance), mix, chance, cpus, threads)
            mean = sum(served.responses) / REQUESTS
            self._levels.append(
                Level(mean, _quantiles(served.responses), _quantiles(served.found), sum(served.found) / REQUESTS)
            )

    @property
    def unloaded_p99(self) -> float:
        """Seconds."""
        return self.level(0.0).p99

    def level(self, load: float) -> Level:
        """The next load of the profile that is no less, or the highest."""
        return self._levels[min(bisect_left(LOADS, load), len(LOADS) - 1)]


def _quantiles(values: Sequence[N]) -> tuple[N, ...]:
    ordered = sorted(values)
    return tuple(ordered[int((number + 0.5) * len(ordered) / POINTS)] for number in range(POINTS))
