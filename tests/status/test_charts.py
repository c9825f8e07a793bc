"""The charts of the status page."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import pytest

from twistserve.status.charts import charts

NAMES = (
    *("requests_per_second", "errors_per_second", "p95_seconds", "median_seconds", "threads_busy", "threads_stuck"),
    *("queued", "in_flight", "connections"),
)


def worker(ages: list[float], **history: list[float | None]) -> dict[str, Any]:
    """What a process tells of itself: all zero but for what is given."""
    zeros: dict[str, Any] = {name: [0.0] * len(ages) for name in NAMES}
    return {
        "threads": {"busy": 3, "total": 8, "stuck": 1},
        "history": {"seconds_ago": ages, **zeros, **history},
        **dict.fromkeys(("queued", "in_flight", "connections"), 5),
    }


def drawn(data: dict[str, Any]) -> dict[str, Any]:
    """Each chart as XML, by its title."""
    figures = [ElementTree.fromstring(chart) for chart in charts(data)]
    return {figure.findtext("figcaption/h3") or "": figure for figure in figures}


def lines(figure: Any) -> dict[str | None, str]:
    """The paths of a chart by their class."""
    return {path.get("class"): path.get("d") for path in figure.iter("path")}


def test_what_charts_say() -> None:
    """The last value, the greatest, and of latencies that they are estimates."""
    found = drawn(
        worker(
            [4.0, 2.0, 0.0],
            requests_per_second=[1.0, 30.0, 12.0],
            errors_per_second=[0.0, 2.0, 0.5],
            p95_seconds=[0.2, 0.25, None],
            median_seconds=[None, None, None],
        )
    )
    texts = {title: "|".join(figure.itertext()) for title, figure in found.items()}
    assert texts["Requests"] == "Requests|12/s|5xx 0.5/s, peak 30"
    assert texts["Latency"] == "Latency|p95 about 250 ms|median unknown"
    assert texts["Threads"] == "Threads|3 of 8 busy|1 stuck"
    assert texts["Queue"] == "Queue|5 waiting|peak 0"
    assert list(found) == ["Requests", "Latency", "Threads", "Queue", "Requests in flight", "Connections"]


def test_errors_that_are_not_counted_are_not_called_none() -> None:
    """Without metrics nobody knows of any."""
    found = drawn(worker([0.0], errors_per_second=[None]))
    assert "5xx" not in "".join(found["Requests"].itertext())


def test_lines_run_from_five_minutes_ago_to_now() -> None:
    """The greatest value touches the top, zero the bottom."""
    path = lines(drawn(worker([300.0, 150.0, 0.0], connections=[0.0, 10.0, 5.0]))["Connections"])
    assert path[None] == "M0.0,60.0 150.0,0.0 300.0,30.0"
    assert path["area"] == "M0.0,60 0.0,60.0 150.0,0.0 300.0,30.0 300.0,60Z"


def test_the_scale_of_threads_is_how_many_there_are() -> None:
    """Two of eight that are busy are a quarter of the height."""
    path = lines(drawn(worker([300.0, 0.0], threads_busy=[2.0, 2.0]))["Threads"])
    assert path[None] == "M0.0,45.0 300.0,45.0"
    assert "bad" not in path


@pytest.mark.parametrize("gap", [[None], [None, None]])
def test_what_is_not_known_is_not_drawn(gap: list[float | None]) -> None:
    """A line has a gap there; a value by itself is a dash that can be seen."""
    values = [4.0, 4.0, *gap, 2.0, *gap]
    ages = [float(age) for age in range(len(values))][::-1]
    path = lines(drawn(worker(ages, connections=values))["Connections"])
    assert (path[None] or "").count("M") == 2
    assert re.search(r"M[\d.]+,30\.0m-2 0h4$", path[None] or "")


def test_a_process_that_has_just_started() -> None:
    """It has no values yet, and charts all the same."""
    assert len(drawn(worker([]))) == 6
