"""The plots: pods, requests, p99 and errors over an hour."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from benchmarks.autoscale.comparison import Case
from benchmarks.autoscale.simulation import Outcome
from benchmarks.plot import Chart

EVERY = 10
"""Seconds for each point of a plot: their greatest value."""
LABELS = 600
"""Seconds between labels of the axis."""

Quantity = Callable[[Outcome], list[float]]


def charts(outcomes: Mapping[str, Outcome], case: Case) -> list[Chart]:
    """Four charts, with a line for each rule."""
    title = f"{case.mix}, {case.nodes}"
    return [
        _chart(f"{title}: pods", "pods", outcomes, lambda outcome: [float(number) for number in outcome.replicas]),
        _chart("requests that run or wait", "requests", outcomes, lambda outcome: outcome.queue, scale=True),
        _chart("p99", "ms", outcomes, lambda outcome: [1000 * seconds for seconds in outcome.p99], scale=True),
        _chart("errors", "a second", outcomes, lambda outcome: outcome.errors),
    ]


def _chart(title: str, unit: str, outcomes: Mapping[str, Outcome], quantity: Quantity, *, scale: bool = False) -> Chart:
    series = {name: _thinned(quantity(outcome)) for name, outcome in outcomes.items()}
    points = len(next(iter(series.values())))
    labels = [f"{number * EVERY // 60}" if number * EVERY % LABELS == 0 else "" for number in range(points)]
    return Chart(title, "minutes", unit, labels, series, dots=False, logarithmic=scale)


def _thinned(values: list[float]) -> list[float]:
    return [max(values[start : start + EVERY]) for start in range(0, len(values), EVERY)]
