"""A plot of the times of single responses: a row of dots for each server, over a logarithmic axis."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.drawing import document, words

WIDTH = 480
LEFT, RIGHT = 100, 452
TOP = 26
ROW, TITLE_ROW, GAP = 20, 22, 10
SHORTEST, LONGEST = 1e-3, 10.0
"""Seconds at the ends of the axis."""
KUBELET = 1.0
"""Seconds: the default timeoutSeconds of a probe."""
TICKS = {1e-3: "1 ms", 1e-2: "10 ms", 1e-1: "100 ms", 1.0: "1 s", 10.0: "10 s"}


@dataclass(frozen=True)
class Row:
    """A server's responses under a load."""

    name: str
    times: Sequence[float | None]
    """Seconds of each response; None where there was none, or none with status 200."""


def dots(groups: Mapping[str, Sequence[Row]], *, patience: float) -> str:
    """A group of rows for each load."""
    height = TOP + sum(TITLE_ROW + ROW * len(rows) + GAP for rows in groups.values())
    parts = [*_axis(height)]
    y = float(TOP)
    for title, rows in groups.items():
        parts.append(words(12, y + 14, title, "title"))
        y += TITLE_ROW
        for number, row in enumerate(rows):
            parts += _row(row, y + ROW * number + ROW / 2, number)
        y += ROW * len(rows) + GAP
    legend = f"cross: no response with status 200 within {patience:g} s"
    parts.append(words(12, height + 40, legend, "small"))
    title = "Times of probes' responses while the server is loaded"
    return document(WIDTH, height + 52, title, parts, description=_described(groups))


def across(seconds: float) -> float:
    """The place of a time."""
    share = math.log10(max(seconds, SHORTEST) / SHORTEST) / math.log10(LONGEST / SHORTEST)
    return LEFT + min(share, 1) * (RIGHT - LEFT)


def _axis(height: float) -> list[str]:
    parts = []
    for seconds, label in TICKS.items():
        x = across(seconds)
        parts.append(f'<path class="grid" d="M{x:.1f} {TOP}V{height}"/>')
        parts.append(words(x, height + 16, label, "small", "middle"))
    x = across(KUBELET)
    parts.append(f'<path class="line thin bad" stroke-dasharray="4 3" d="M{x:.1f} {TOP - 6}V{height}"/>')
    parts.append(words(x, 14, "a kubelet's default timeout", "small bad", "middle"))
    return parts


def _row(row: Row, y: float, number: int) -> list[str]:
    kind = f"s{number % 4}"
    parts = [words(12, y + 4, row.name, kind)]
    for time in row.times:
        if time is None:
            x = across(LONGEST)
            parts.append(f'<path class="line thin bad" d="M{x - 4:.1f} {y - 4:g}l8 8m0 -8l-8 8"/>')
        else:
            parts.append(f'<circle class="dot {kind}" fill-opacity="0.6" cx="{across(time):.1f}" cy="{y:g}" r="4"/>')
    return parts


def _described(groups: Mapping[str, Sequence[Row]]) -> str:
    """The range of each row."""
    told = []
    for title, rows in groups.items():
        for row in rows:
            known = [time for time in row.times if time is not None]
            missing = len(row.times) - len(known)
            times = f"{min(known) * 1e3:,.0f} to {max(known) * 1e3:,.0f} ms" if known else "none"
            told.append(f"{title}, {row.name}: {times}" + (f", {missing} without response" if missing else ""))
    return ". ".join(told)
