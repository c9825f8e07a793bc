"""Small charts of the last minutes, as SVG: lines from the left, five minutes ago, to the right, now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twistserve.status.html import Html, duration, element, number

SPAN = 300.0
"""Seconds from the left to the right."""
WIDTH, HEIGHT = 300, 60

Values = Sequence[float | None]


def charts(worker: dict[str, Any]) -> list[Html]:
    """The charts of one process that serves."""
    threads, history = worker["threads"], worker["history"]
    ages = history["seconds_ago"]
    requests, errors = history["requests_per_second"], history["errors_per_second"]
    p95, median = history["p95_seconds"], history["median_seconds"]
    busy, stuck = history["threads_busy"], history["threads_stuck"]
    return [
        _chart(
            "Requests",
            f"{number(_last(requests) or 0.0)}/s",
            _errors(errors) + _peak(requests),
            ages,
            {"": requests, "bad": errors},
        ),
        _chart("Latency", f"p95 {_latency(p95)}", f"median {_latency(median)}", ages, {"": p95, "second": median}),
        _chart(
            "Threads",
            f"{threads['busy']} of {threads['total']} busy",
            f"{threads['stuck']} stuck",
            ages,
            {"": busy, "bad": stuck},
            top=threads["total"],
        ),
        *(
            _chart(title, f"{number(worker[now])} {unit}", _peak(history[now]), ages, {"": history[now]})
            for title, now, unit in (
                ("Queue", "queued", "waiting"),
                ("Requests in flight", "in_flight", "in flight"),
                ("Connections", "connections", "open"),
            )
        ),
    ]


def _last(values: Values) -> float | None:
    return next((value for value in reversed(values) if value is not None), None)


def _errors(values: Values) -> str:
    """Nothing where they are not counted."""
    last = _last(values)
    return "" if last is None else f"5xx {number(last)}/s, "


def _peak(values: Values) -> str:
    return f"peak {number(max((value for value in values if value is not None), default=0.0))}"


def _latency(values: Values) -> str:
    """The last one known, which is estimated from a histogram's buckets."""
    last = _last(values)
    return "unknown" if last is None else f"about {duration(last)}"


def _chart(title: str, now: str, more: str, ages: Sequence[float], series: dict[str, Values], top: float = 0.0) -> Html:
    """One line for each series that is not all zero, by its CSS class; the scale ends at `top` or above."""
    highest = max((value for values in series.values() for value in values if value is not None), default=0.0)
    scale = HEIGHT / (max(top, highest) or 1.0)
    pieces = {kind: _pieces(ages, values, scale) for kind, values in series.items()}
    lines = [element("path", d=_line(pieces[kind]), _class=kind or None) for kind in series if any(series[kind])]
    return element(
        "figure",
        element("figcaption", element("h3", title), element("b", now), element("span", more, _class="quiet")),
        element(
            "svg",
            element("path", d=_area(pieces[""]), _class="area"),
            lines,
            _class="chart",
            viewBox=f"0 0 {WIDTH} {HEIGHT}",
            preserveAspectRatio="none",
            role="img",
            aria_label=f"{title} in the last five minutes",
        ),
    )


Piece = list[tuple[str, str]]


def _pieces(ages: Sequence[float], values: Values, scale: float) -> list[Piece]:
    """The points to draw, divided where there is no value."""
    pieces: list[Piece] = [[]]
    for age, value in zip(ages, values, strict=True):
        if value is not None:
            pieces[-1].append((f"{WIDTH * (1 - age / SPAN):.1f}", f"{HEIGHT - value * scale:.1f}"))
        elif pieces[-1]:
            pieces.append([])
    return [piece for piece in pieces if piece]


def _line(pieces: list[Piece]) -> str:
    """Through the points; one alone is a dash wide enough to be seen."""
    return "".join(f"M{_through(piece)}{'m-2 0h4' * (len(piece) == 1)}" for piece in pieces)


def _area(pieces: list[Piece]) -> str:
    return "".join(f"M{piece[0][0]},{HEIGHT} {_through(piece)} {piece[-1][0]},{HEIGHT}Z" for piece in pieces)


def _through(piece: Piece) -> str:
    return " ".join(f"{x},{y}" for x, y in piece)
