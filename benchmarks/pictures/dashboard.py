"""docs/dashboard.svg: the panels of deploy/grafana/twistserve.json, drawn from what a real Prometheus has.

Grafana itself is not drawn, nor needed: each expression is asked over Prometheus' HTTP API, as Grafana asks it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.drawing import document
from benchmarks.environments import ROOT
from benchmarks.pictures.panels import Series, panel
from tests.support.functional.prometheus import Prometheus

COLUMN, ROW, MARGIN = 50, 32, 8
"""Pixels of a cell of the grid, and between two panels."""
STEP = 5.0
"""Seconds between two values."""
VARIABLES = {"$__rate_interval": "15s", "$job": ".+", "$instance": ".+"}
TITLE = "The dashboard over six minutes of the example shop"


@dataclass(frozen=True)
class Found:
    """A panel, and the series of its expressions."""

    panel: dict[str, Any]
    series: list[Series]


def queried(prometheus: Prometheus, begin: float, end: float) -> list[Found]:
    """What each panel shows from one time to another, both in seconds since the epoch."""
    dashboard = json.loads((ROOT / "deploy" / "grafana" / "twistserve.json").read_text())
    return [
        Found(each, [one for target in each.get("targets", ()) for one in _series(prometheus, target, begin, end)])
        for each in dashboard["panels"]
    ]


def drawn(found: Sequence[Found]) -> str:
    """The picture."""
    parts = []
    bottom = 0
    for one in found:
        place = one.panel["gridPos"]
        x, y = place["x"] * COLUMN + MARGIN / 2, place["y"] * ROW + MARGIN / 2
        width, height = place["w"] * COLUMN - MARGIN, place["h"] * ROW - MARGIN
        parts += [f'<g transform="translate({x:g} {y:g})">', *panel(one.panel, one.series, width, height), "</g>"]
        bottom = max(bottom, (place["y"] + place["h"]) * ROW)
    titles = ", ".join(one.panel["title"] for one in found if one.panel["type"] != "row")
    return document(24 * COLUMN, bottom, TITLE, parts, description=f"Panels: {titles}.")


def _series(prometheus: Prometheus, target: dict[str, Any], begin: float, end: float) -> list[Series]:
    expression = target["expr"]
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    parameters = {"query": expression, "start": f"{begin}", "end": f"{end}", "step": f"{STEP:g}"}
    moments = [begin + STEP * number for number in range(int((end - begin) / STEP) + 1)]
    return [
        Series(_legend(target.get("legendFormat", ""), one["metric"]), one["metric"], _values(one["values"], moments))
        for one in prometheus.api("query_range", **parameters)["result"]
    ]


def _values(found: Sequence[tuple[float, str]], moments: Sequence[float]) -> list[float]:
    """A value for each moment, NaN where there is none."""
    known = {round((moment - moments[0]) / STEP): float(value) for moment, value in found}
    return [known.get(number, math.nan) for number in range(len(moments))]


def _legend(template: str, labels: dict[str, str]) -> str:
    return re.sub(r"{{(\w+)}}", lambda match: labels.get(match[1], ""), template)
