"""The last five minutes of a process, sampled on a Clock."""

from __future__ import annotations

import pytest
from prometheus_client import REGISTRY
from twisted.internet.task import Clock

from twistserve.load import Load
from twistserve.metrics import catalogue as metrics
from twistserve.metrics.catalogue import DURATION_BOUNDS, Totals
from twistserve.status.history import INTERVAL, SPAN, History, quantile


class Process:
    """A process that serves, as its history sees it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.durations = [0] * len(DURATION_BOUNDS)
        self.errors = 0
        self.load = Load()
        self.history = History(
            lambda: Totals(sum(self.durations), self.durations.copy(), self.errors),
            lambda: self.load,
            self.clock,
            self.clock.seconds,
        )
        self.history.startService()

    def answer(self, times: int, seconds: float, *, errors: int = 0) -> None:
        bucket = next(index for index, bound in enumerate(DURATION_BOUNDS) if seconds <= bound)
        self.durations[bucket] += times
        self.errors += errors

    def last(self, name: str) -> float | None:
        return self.history.columns()[name][-1]


def test_rates_are_of_the_time_since_the_last_sample() -> None:
    """Counts become rates per second, and what was counted once is not counted again."""
    process = Process()
    process.answer(30, 0.02, errors=4)
    process.clock.advance(INTERVAL)
    assert process.last("requests_per_second") == 30 / INTERVAL
    assert process.last("errors_per_second") == 4 / INTERVAL
    process.clock.advance(INTERVAL)
    assert process.last("requests_per_second") == process.last("errors_per_second") == 0


def test_what_came_before_does_not_count() -> None:
    """A history that begins later begins with no requests."""
    process = Process()
    process.answer(1000, 0.02)
    clock = Clock()
    late = History(lambda: Totals(1000, process.durations.copy(), 0), lambda: process.load, clock, clock.seconds)
    late.startService()
    clock.advance(INTERVAL)
    assert late.columns()["requests_per_second"] == [0]


def test_latencies_are_estimated_and_unknown_without_requests() -> None:
    """Median and p95 lie in the bucket of the request they are of; nothing answered is not zero seconds."""
    process = Process()
    process.answer(90, 0.02)
    process.answer(10, 0.7)
    process.clock.advance(INTERVAL)
    median, p95 = process.last("median_seconds"), process.last("p95_seconds")
    assert median is not None
    assert p95 is not None
    assert 0.01 < median <= 0.025
    assert 0.5 < p95 <= 1
    process.clock.advance(INTERVAL)
    assert process.last("median_seconds") is process.last("p95_seconds") is None


def test_the_load_is_that_of_the_moment() -> None:
    """Threads, queue, requests and connections are as they are when the sample is taken."""
    process = Process()
    process.load = Load(requests=7, queued=3, busy=4, stuck=1, connections=40)
    process.clock.advance(INTERVAL)
    found = [process.last(name) for name in ("in_flight", "queued", "threads_busy", "threads_stuck", "connections")]
    assert found == [7, 3, 4, 1, 40]


def test_five_minutes_are_kept() -> None:
    """However long a process runs, its columns are equally long, and no sample is older than the chart is wide."""
    process = Process()
    for _ in range(1000):
        process.clock.advance(INTERVAL)
    columns = process.history.columns()
    assert {len(column) for column in columns.values()} == {round(SPAN / INTERVAL)}
    ages = columns["seconds_ago"]
    assert ages[-1] == 0
    assert ages == sorted(ages, key=lambda age: -(age or 0))
    assert all(age is not None and age <= SPAN for age in ages)
    assert process.history.age == 1000 * INTERVAL


def test_a_reactor_that_was_busy_leaves_a_gap() -> None:
    """Samples that could not be taken are missing; the rate is of the whole time."""
    process = Process()
    process.clock.advance(INTERVAL)
    process.answer(100, 0.001)
    process.clock.advance(10 * INTERVAL)
    columns = process.history.columns()
    assert columns["seconds_ago"] == [10 * INTERVAL, 0]
    assert columns["requests_per_second"] == [0, 100 / (10 * INTERVAL)]


def test_a_stopped_history_takes_no_samples() -> None:
    """Nothing is left on the clock."""
    process = Process()
    process.history.stopService()
    assert process.clock.getDelayedCalls() == []
    process.history.stopService()


@pytest.mark.parametrize(
    ("share", "counts", "expected"),
    [
        (0.5, [0, 0, 0], None),
        (0.5, [10, 0, 0], 0.5),
        (0.5, [0, 10, 0], 1.5),
        (0.95, [50, 50, 0], 1.9),
        (0.95, [0, 0, 10], 2.0),
        (0.5, [10, 0, 10], 1.0),
        (0.75, [10, 0, 10], 2.0),
    ],
)
def test_quantile(share: float, counts: list[int], expected: float | None) -> None:
    """As Prometheus's histogram_quantile says it of the same buckets."""
    assert quantile(share, counts, (1.0, 2.0, float("inf"))) == pytest.approx(expected)


class Counted:
    """A request, as the metrics count it."""

    method, handler, queue_time, body_length, sent, left = b"GET", "django", 0.0, 0, 0, False

    def __init__(self, status: int, duration: float) -> None:
        self.status, self.duration = status, duration


def test_totals_go_on_when_prometheus_takes_its_share() -> None:
    """A scrape takes nothing from the history, and the history nothing from a scrape."""

    def exported() -> float:
        sample = REGISTRY.get_sample_value(
            "twistserve_http_requests_total", {"method": "GET", "status": "503", "handler": "django"}
        )
        return sample or 0.0

    metrics.flush()
    before, exported_before = metrics.totals(), exported()
    for _ in range(3):
        metrics.record_requests([Counted(503, 0.3), Counted(200, 0.003)])
        metrics.flush()
    after = metrics.totals()
    assert sum(after.durations) - sum(before.durations) == 6
    assert after.durations[DURATION_BOUNDS.index(0.5)] - before.durations[DURATION_BOUNDS.index(0.5)] == 3
    assert before.server_errors is not None
    assert after.server_errors is not None
    assert after.server_errors - before.server_errors == 3
    assert exported() - exported_before == 3
