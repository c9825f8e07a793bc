"""Small line charts in one SVG, legible on light and dark pages."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from benchmarks.drawing import document

WIDTH, HEIGHT = 380, 250
"""Pixels of a chart, including axes and title."""
LEFT, RIGHT, TOP, BOTTOM = 66, 14, 34, 44
"""Its margins."""
LEGEND = 34
LINES = 4
"""Maximum number of grid lines above zero."""
MOST_TOLD = 8
"""Values of a series that the description has."""
DASHES = ("", "7 3", "2 3", "9 3 2 3")
"""Dash pattern of each series, so that they can be told apart without colours."""


@dataclass(frozen=True)
class Chart:
    """Series of values by name, one value for each label of the x axis; NaN for a missing one."""

    title: str
    x_title: str
    y_title: str
    labels: Sequence[str]
    series: Mapping[str, Sequence[float]]
    dots: bool = True
    """Whether each value has a dot."""
    logarithmic: bool = False
    """Whether the y axis has powers of ten, from 1 on; what is less is drawn there."""


def svg(charts: Sequence[Chart], *, columns: int = 2) -> str:
    """All charts, which have the same series, with a common legend."""
    rows = math.ceil(len(charts) / columns)
    width, height = columns * WIDTH, LEGEND + rows * HEIGHT
    parts = _legend(list(charts[0].series))
    for number, chart in enumerate(charts):
        x, y = number % columns * WIDTH, LEGEND + number // columns * HEIGHT
        parts += [f'<g transform="translate({x} {y})">', *_chart(chart), "</g>"]
    title = "; ".join(chart.title for chart in charts)
    return document(width, height, title, parts, description=". ".join(map(_described, charts)))


def _described(chart: Chart) -> str:
    """The values of a chart, for who does not see it; of one with many, the highest of each series."""
    told = []
    for name, values in chart.series.items():
        known = [(label, value) for label, value in zip(chart.labels, values, strict=True) if math.isfinite(value)]
        if len(known) > MOST_TOLD:
            told.append(f"{name} at most {max(value for _, value in known):,.4g}")
        else:
            told.append(f"{name} " + ", ".join(f"{value:,.4g} at {label}" for label, value in known))
    return f"{chart.title}, by {chart.x_title}: {'; '.join(told)}"


def top_of_scale(highest: float) -> tuple[float, float]:
    """The end of an axis that begins at zero, and the distance of its grid lines: 1, 2 or 5 times a power of ten."""
    if not highest > 0:
        return 1.0, 1.0
    power = 10.0 ** math.floor(math.log10(highest / LINES))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor * LINES >= highest)
    return step * math.ceil(highest / step), step


def _legend(names: Sequence[str]) -> list[str]:
    parts = []
    x = LEFT
    for number, name in enumerate(names):
        parts.append(f'<path class="line s{number}" stroke-dasharray="{DASHES[number]}" d="M{x} 18h28"/>')
        parts.append(f'<text x="{x + 34}" y="22">{escape(name)}</text>')
        x += 60 + 7 * len(name)
    return parts


def _chart(chart: Chart) -> list[str]:
    finite = [value for values in chart.series.values() for value in values if math.isfinite(value)]
    lines, height = (_powers if chart.logarithmic else _even)(max(finite, default=0))
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def across(number: int) -> float:
        return LEFT + 14 + number * (right - LEFT - 28) / max(1, len(chart.labels) - 1)

    def up(value: float) -> float:
        return bottom - height(value) * (bottom - TOP)

    parts = [f'<text class="title" x="{LEFT}" y="20">{escape(chart.title)}</text>']
    for line in lines:
        y = f"{up(line):.1f}"
        parts.append(f'<path class="grid" d="M{LEFT} {y}H{right}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y}" dy="4" text-anchor="end">{line:,g}</text>')
    for number, label in enumerate(chart.labels):
        if label:
            place = f'x="{across(number):.1f}" y="{bottom + 16}"'
            parts.append(f'<text {place} text-anchor="middle">{escape(label)}</text>')
    middle = (LEFT + right) / 2
    parts.append(f'<text x="{middle:g}" y="{bottom + 34}" text-anchor="middle">{escape(chart.x_title)}</text>')
    place = f'x="13" y="{(TOP + bottom) / 2:g}" transform="rotate(-90 13 {(TOP + bottom) / 2:g})"'
    parts.append(f'<text {place} text-anchor="middle">{escape(chart.y_title)}</text>')
    for series, values in enumerate(chart.series.values()):
        points = [(across(number), up(value)) for number, value in enumerate(values) if math.isfinite(value)]
        drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline class="line s{series}" stroke-dasharray="{DASHES[series]}" points="{drawn}"/>')
        if chart.dots:
            parts += (f'<circle class="dot s{series}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in points)
    return parts


def _even(highest: float) -> tuple[list[float], Callable[[float], float]]:
    """Grid lines from zero, and the share of the axis below a value."""
    end, step = top_of_scale(highest)
    return [count * step for count in range(round(end / step) + 1)], lambda value: value / end


def _powers(highest: float) -> tuple[list[float], Callable[[float], float]]:
    """The same with powers of ten."""
    end = max(1, math.ceil(math.log10(max(highest, 1))))
    return [10.0**power for power in range(end + 1)], lambda value: math.log10(max(value, 1)) / end
