"""The last five minutes of a process that serves, for the status page."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import sub
from typing import Any

from twistserve.load import Load
from twistserve.metrics.catalogue import DURATION_BOUNDS, Totals
from twistserve.periodic import PeriodicService

INTERVAL = 2.0
"""Seconds from one sample to the next."""
SPAN = 300.0
"""Seconds that are kept."""


@dataclass(frozen=True)
class Sample:
    """What happened since the sample before, per second, and the load at its end; `at` and latencies in seconds.

    The latencies are None where nothing was answered, and they and the errors where nothing is counted.
    """

    at: float
    requests: float
    errors: float | None
    median: float | None
    p95: float | None
    load: Load


class History(PeriodicService):
    """Takes the samples; counting is left to the metrics, so that requests pay nothing for it. Reactor thread."""

    name = "history"

    def __init__(
        self,
        totals: Callable[[], Totals],
        load: Callable[[], Load],
        reactor: Any,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(INTERVAL, self.sample, reactor)
        self._totals = totals
        self._load = load
        self._seconds = seconds
        self._began = seconds()
        self._last: tuple[float, Totals] | None = None
        self._samples: deque[Sample] = deque(maxlen=round(SPAN / INTERVAL))

    def sample(self) -> None:
        """Take a sample; at the start there is only the count that the first one begins with."""
        now, counted = self._seconds(), self._totals()
        last, self._last = self._last, (now, counted)
        if last is None:
            return
        elapsed, before = now - last[0], last[1]
        durations = list(map(sub, counted.durations, before.durations))
        self._samples.append(
            Sample(
                at=now,
                requests=(counted.requests - before.requests) / elapsed,
                errors=_rate(before.server_errors, counted.server_errors, elapsed),
                median=quantile(0.5, durations, DURATION_BOUNDS),
                p95=quantile(0.95, durations, DURATION_BOUNDS),
                load=self._load(),
            )
        )

    @property
    def age(self) -> float:
        """Seconds since the beginning."""
        return self._seconds() - self._began

    def columns(self) -> dict[str, list[float | None]]:
        """The samples, oldest first, as one list for each value: short, and ready to be drawn."""
        now = self._seconds()
        samples = [sample for sample in self._samples if now - sample.at <= SPAN]
        return {
            "seconds_ago": [round(now - sample.at, 1) for sample in samples],
            "requests_per_second": [round(sample.requests, 2) for sample in samples],
            "errors_per_second": [_rounded(sample.errors, 2) for sample in samples],
            "median_seconds": [_rounded(sample.median, 5) for sample in samples],
            "p95_seconds": [_rounded(sample.p95, 5) for sample in samples],
            "in_flight": [sample.load.requests for sample in samples],
            "queued": [sample.load.queued for sample in samples],
            "threads_busy": [sample.load.busy for sample in samples],
            "threads_stuck": [sample.load.stuck for sample in samples],
            "connections": [sample.load.connections for sample in samples],
        }


def _rate(before: int | None, after: int | None, seconds: float) -> float | None:
    return None if before is None or after is None else (after - before) / seconds


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def quantile(share: float, counts: Sequence[int], bounds: Sequence[float]) -> float | None:
    """Below which value this share of the counted values lies, by a straight line through its bucket; None of none.

    As Prometheus's `histogram_quantile`: the last bucket has no end, so what lies there is said to be at its beginning.
    """
    left = share * sum(counts)
    if not left:
        return None
    lower = 0.0
    for count, upper in zip(counts[:-1], bounds, strict=False):
        if count >= left:
            return lower + (upper - lower) * left / count
        left -= count
        lower = upper
    return lower
