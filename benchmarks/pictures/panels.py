"""Panels of a dashboard as Grafana lays them out: a title, a drawing of one kind, a legend."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.drawing import SERIES, box, words
from benchmarks.plot import top_of_scale

AXIS, LEGEND, TOP = 52, 34, 30
"""Pixels of the labels of the y axis, of two lines of legend, and of the title."""
LETTER = 6.2
"""Pixels of a small letter, about."""
MOST_NAMES = 6
"""In a legend."""


@dataclass(frozen=True)
class Series:
    """A series over the time that is shown; NaN where it has no value."""

    name: str
    labels: Mapping[str, str]
    values: Sequence[float]

    @property
    def last(self) -> float:
        return next((value for value in reversed(self.values) if math.isfinite(value)), math.nan)


def panel(described: Mapping[str, Any], series: Sequence[Series], width: float, height: float) -> list[str]:
    """A panel of the dashboard's JSON."""
    title = words(10, 19, described["title"], "title")
    if described["type"] == "row":
        return [title]
    kinds: dict[str, Callable[..., list[str]]] = {
        "stat": _stat,
        "heatmap": _heatmap,
        "state-timeline": _states,
        "table": _table,
    }
    draw = kinds.get(described["type"], _lines)
    return [box(0, 0, width, height), title, *draw(described["fieldConfig"]["defaults"], series, width, height)]


def shown(value: float, unit: str) -> str:
    """A value in its unit."""
    if not math.isfinite(value):
        return "-"
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit == "s" and value < 1:
        return f"{value * 1e3:.3g} ms" if value else "0 s"
    if unit in ("bytes", "Bps"):
        size, prefix = next(((s, p) for s, p in ((1e9, "G"), (1e6, "M"), (1e3, "k")) if value >= s), (1, ""))
        return f"{value / size:.3g} {prefix}B" + ("/s" if unit == "Bps" else "")
    suffix = {"s": " s", "reqps": "/s", "ops": "/s"}.get(unit, "")
    return f"{value:,.3g}{suffix}" if value < 1000 else f"{value:,.0f}{suffix}"


def _stat(defaults: Mapping[str, Any], series: Sequence[Series], width: float, height: float) -> list[str]:
    value = series[0].last if series else math.nan
    steps = defaults.get("thresholds", {}).get("steps", [])
    colours = [step["color"] for step in steps if step["value"] is None or value >= step["value"]]
    kind = {"green": "good", "orange": "warn", "red": "bad"}.get(colours[-1] if colours else "", "s0")
    number = words(width / 2, height / 2 + 26, shown(value, defaults.get("unit", "")), f"title {kind}", "middle")
    return [number.replace("<text ", '<text style="font-size: 28px" ')]


def _lines(defaults: Mapping[str, Any], series: Sequence[Series], width: float, height: float) -> list[str]:
    custom, unit = defaults.get("custom", {}), defaults.get("unit", "")
    stacked = custom.get("stacking", {}).get("mode") == "normal"
    known = [one for one in series if any(math.isfinite(value) for value in one.values)]
    levels = _stacked(known) if stacked else [one.values for one in known]
    highest = max((value for values in levels for value in values if math.isfinite(value)), default=0)
    end, step = top_of_scale(highest)
    bottom, right = height - LEGEND - 8, width - 12

    def up(value: float) -> float:
        return bottom - value / end * (bottom - TOP - 4)

    parts = []
    for number in range(round(end / step) + 1):
        y = up(number * step)
        parts.append(f'<path class="grid" d="M{AXIS} {y:.1f}H{right:g}"/>')
        parts.append(words(AXIS - 5, round(y + 4), shown(number * step, unit), "small faint", "end"))
    for number, values in reversed(list(enumerate(levels))):  # the first is drawn over the others
        below = levels[number - 1] if stacked and number else [0.0] * len(values)
        points = [
            (AXIS + (right - AXIS) * place / max(1, len(values) - 1), up(value), up(base))
            for place, (value, base) in enumerate(zip(values, below, strict=True))
            if math.isfinite(value)
        ]
        kind = f"s{number % SERIES}"
        if stacked:
            around = [(x, y) for x, y, _ in points] + [(x, base) for x, _, base in reversed(points)]
            parts.append(f'<polygon class="area {kind}" points="{_points(around)}"/>')
        parts.append(f'<polyline class="line thin {kind}" points="{_points([(x, y) for x, y, _ in points])}"/>')
    return parts + _legend(known, width, height)


def _stacked(series: Sequence[Series]) -> list[Sequence[float]]:
    """Each series on top of those before; what has no value counts as nothing."""
    levels: list[Sequence[float]] = []
    for one in series:
        values = [value if math.isfinite(value) else 0 for value in one.values]
        levels.append([a + b for a, b in zip(levels[-1], values, strict=True)] if levels else values)
    return levels


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.0f},{y:.1f}" for x, y in points)


def _legend(series: Sequence[Series], width: float, height: float) -> list[str]:
    parts = []
    x, y = 12.0, height - 24
    for number, one in enumerate(series[:MOST_NAMES]):
        name = one.name if len(one.name) <= 34 else one.name[:32] + "…"
        if x + 20 + LETTER * len(name) > width and x > 12:
            x, y = 12, y + 15
        if y > height - 5:
            break
        parts.append(f'<path class="line s{number % SERIES}" d="M{x:g} {y - 4:g}h12"/>')
        parts.append(words(x + 16, y, name, "small"))
        x += 30 + LETTER * len(name)
    return parts


def _heatmap(defaults: Mapping[str, Any], series: Sequence[Series], width: float, height: float) -> list[str]:
    """Buckets as rows; those of Prometheus count all that is at most as long, so that the one before is taken away."""
    buckets = sorted(series, key=lambda one: float(one.labels["le"]))
    counts = []
    for number, one in enumerate(buckets):
        before = buckets[number - 1].values if number else [0.0] * len(one.values)
        counts.append(
            [max(0.0, a - b) if math.isfinite(a - b) else 0.0 for a, b in zip(one.values, before, strict=True)]
        )
    highest = max((count for row in counts for count in row), default=0)
    bottom, right = height - 10, width - 12
    if not highest:
        return []
    tall, wide = (bottom - TOP - 4) / len(buckets), (right - AXIS) / max(1, len(counts[0]))
    parts = []
    for number, (one, row) in enumerate(zip(buckets, counts, strict=True)):
        y = bottom - tall * (number + 1)
        if number % 3 == 0:
            bound = float(one.labels["le"])
            label = shown(bound, "s") if math.isfinite(bound) else "more"
            parts.append(words(AXIS - 5, round(y + tall), label, "small faint", "end"))
        parts += [
            f'<rect class="dot s1" fill-opacity="{max(0.08, (count / highest) ** 0.5):.2f}"'
            f' x="{AXIS + wide * place:.1f}" y="{y:.1f}" width="{wide + 0.3:.1f}" height="{tall:.1f}"/>'
            for place, count in enumerate(row)
            if count
        ]
    return parts


def _states(defaults: Mapping[str, Any], series: Sequence[Series], width: float, height: float) -> list[str]:
    parts = []
    tall = (height - TOP - LEGEND) / max(1, len(series))
    for number, one in enumerate(series):
        y = TOP + 6 + tall * number
        parts.append(words(12, round(y + tall / 2 + 2), one.name, "small"))
        wide = (width - 84) / max(1, len(one.values))
        for first, last, value in _runs(one.values):
            kind = "good" if value >= 1 else "bad"
            place = (
                f'x="{72 + wide * first:.1f}" y="{y:.1f}" width="{wide * (last - first):.1f}" height="{tall - 8:.1f}"'
            )
            parts.append(f'<rect class="dot {kind}" fill-opacity="0.7" {place}/>')
    for number, (kind, name) in enumerate((("good", "passing"), ("bad", "failing"))):
        x, y = 12 + 90 * number, height - 14
        parts.append(f'<rect class="dot {kind}" fill-opacity="0.7" x="{x}" y="{y - 9:g}" width="12" height="10"/>')
        parts.append(words(x + 18, y, name, "small"))
    return parts


def _runs(values: Sequence[float]) -> list[tuple[int, int, float]]:
    """Stretches of one value: where they begin, where they end, and the value."""
    runs: list[tuple[int, int, float]] = []
    for place, value in enumerate(values):
        if runs and runs[-1][1:] == (place, value):
            runs[-1] = (runs[-1][0], place + 1, value)
        elif math.isfinite(value):
            runs.append((place, place + 1, value))
    return runs


def _table(defaults: Mapping[str, Any], series: Sequence[Series], width: float, height: float) -> list[str]:
    parts = []
    for number, (name, value) in enumerate(sorted(series[0].labels.items()) if series else ()):
        parts += [words(12, TOP + 18 + 20 * number, name, "faint"), words(110, TOP + 18 + 20 * number, value)]
    return parts
