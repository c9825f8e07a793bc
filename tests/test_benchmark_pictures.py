"""The pictures: what they draw of what was measured; no server runs here."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks import drawing, probe_plot
from benchmarks.pictures import __main__ as command_line
from benchmarks.pictures import dashboard, drain, panels, process
from benchmarks.pictures.drain_run import Run

SVG = "{http://www.w3.org/2000/svg}"
NAN = math.nan


def texts(drawn: str) -> list[str]:
    """The words of a document, which must be well-formed."""
    return [element.text or "" for element in ElementTree.fromstring(drawn).iter(f"{SVG}text")]


def fragment(parts: list[str]) -> str:
    return drawing.document(100, 100, "panel", parts)


class TestDrawing:
    def test_a_document_follows_the_page_and_the_system(self) -> None:
        """It has colours for each, and every colour has a value on dark ground."""
        drawn = drawing.document(10, 10, "a <title>", [], description="b & c")
        root = ElementTree.fromstring(drawn)
        assert (root.get("role"), root.get("aria-label")) == ("img", "a <title>")
        assert [root.findtext(f"{SVG}{name}") for name in ("title", "desc")] == ["a <title>", "b & c"]
        assert "prefers-color-scheme: dark" in drawn
        assert 'body[data-theme="dark"] .picture' in drawn
        assert drawing.LIGHT.keys() == drawing.DARK.keys()

    def test_an_arrow_ends_at_its_last_point(self) -> None:
        drawn = drawing.arrow((0, 0), (0, 50), both=True)
        assert "M0.0 50.0" in drawn
        assert "M0.0 0.0" in drawn


class TestDrain:
    RUN = Run(
        readiness=[(-1, 200), (1, 503)],
        liveness=[(-1, 200), (1, 200)],
        new=[(-1, 200), (1, 200), (5.0, 0)],
        kept=[(-1, 200, False), (1, 200, True), (6, 0, False)],
        idle=(-3, 5.1),
        long=(-3, 7.9, 200),
        ended=8.1,
        exit_status=0,
    )

    def test_each_response_has_a_mark_by_its_kind(self) -> None:
        """Dots, rings, squares and crosses differ without colours; the legend has three of them."""
        root = ElementTree.fromstring(drain.drawn(self.RUN))
        circles = [element.get("class") for element in root.iter(f"{SVG}circle")]
        assert circles.count("dot good") == 1 + 2 + 2 + 1 + 1
        assert circles.count("line thin bad") == 1 + 1
        crosses = [element for element in root.iter(f"{SVG}path") if element.get("class") == "line thin bad"]
        assert len(crosses) == 1 + 1 + 1

    def test_the_description_has_the_moments(self) -> None:
        told = ElementTree.fromstring(drain.drawn(self.RUN)).findtext(f"{SVG}desc") or ""
        for words in ("fails from 1.0 s", "closes at 5.0 s", "closed at 5.1 s", "200, at 7.9 s", "ends at 8.1 s"):
            assert words in told


class TestProbes:
    def test_a_response_that_is_missing_is_a_cross(self) -> None:
        rows = [probe_plot.Row("gunicorn", [0.01, None]), probe_plot.Row("twistserve", [0.002])]
        drawn = probe_plot.dots({"a view that waits": rows}, patience=10)
        root = ElementTree.fromstring(drawn)
        assert len(list(root.iter(f"{SVG}circle"))) == 2
        assert {"gunicorn", "twistserve", "a view that waits", "1 ms", "10 s"} <= set(texts(drawn))
        told = root.findtext(f"{SVG}desc") or ""
        assert "gunicorn: 10 to 10 ms, 1 without response" in told

    def test_the_axis_is_logarithmic_and_has_ends(self) -> None:
        places = [probe_plot.across(seconds) for seconds in (0.0001, 0.001, 0.01, 0.1, 1, 10, 60)]
        assert places[0] == places[1]
        assert places[5] == places[6] == probe_plot.RIGHT
        assert places[2] - places[1] == pytest.approx(places[4] - places[3])


class TestPanels:
    @pytest.mark.parametrize(
        ("value", "unit", "words"),
        [
            *((0.105, "percentunit", "10.5 %"), (0.0123, "s", "12.3 ms"), (2.0, "s", "2 s"), (84e6, "bytes", "84 MB")),
            *((1500, "Bps", "1.5 kB/s"), (57.31, "reqps", "57.3/s"), (12345, "short", "12,345"), (NAN, "s", "-")),
        ],
    )
    def test_values_have_units(self, value: float, unit: str, words: str) -> None:
        assert panels.shown(value, unit) == words

    def test_stacked_series_lie_on_each_other(self) -> None:
        series = [panels.Series(name, {}, values) for name, values in (("a", [1.0, 2.0]), ("b", [NAN, 1.0]))]
        assert panels._stacked(series) == [[1.0, 2.0], [1.0, 3.0]]

    def test_a_state_is_drawn_as_stretches(self) -> None:
        assert panels._runs([NAN, 1, 1, 0, 0, 1]) == [(1, 3, 1), (3, 5, 0), (5, 6, 1)]

    def test_a_bucket_is_without_those_before(self) -> None:
        """Prometheus counts in each bucket what is at most as long."""
        series = [panels.Series("", {"le": le}, [count]) for le, count in (("+Inf", 3.0), ("0.1", 3.0), ("0.5", 3.0))]
        drawn = fragment(
            panels.panel({"type": "heatmap", "title": "t", "fieldConfig": {"defaults": {}}}, series, 300, 200)
        )
        cells = [one for one in ElementTree.fromstring(drawn).iter(f"{SVG}rect") if one.get("class") == "dot s1"]
        assert len(cells) == 1

    @pytest.mark.parametrize("kind", ["stat", "timeseries", "heatmap", "state-timeline", "table", "row"])
    def test_every_kind_is_drawn_without_data(self, kind: str) -> None:
        described: dict[str, Any] = {"type": kind, "title": "Requests & more", "fieldConfig": {"defaults": {}}}
        assert "Requests & more" in texts(fragment(panels.panel(described, [], 300, 200)))

    def test_each_panel_is_at_its_place(self) -> None:
        place = {"x": 12, "y": 3, "w": 12, "h": 8}
        described = {"type": "timeseries", "title": "CPU", "fieldConfig": {"defaults": {}}, "gridPos": place}
        found = [dashboard.Found(described, [panels.Series("pod", {}, [0.1, 0.2])])]
        root = ElementTree.fromstring(dashboard.drawn(found))
        assert [group.get("transform") for group in root.iter(f"{SVG}g")] == ["translate(604 100)"]
        assert root.get("height") == str(11 * dashboard.ROW)

    def test_legends_are_filled_in(self) -> None:
        assert dashboard._legend("{{method}} {{route}}", {"method": "GET", "route": "/"}) == "GET /"


def test_the_drawing_of_a_process(tmp_path: Path) -> None:
    """All its words are inside."""
    process.draw(tmp_path / process.NAME)
    root = ElementTree.fromstring((tmp_path / process.NAME).read_text())
    for text in root.iter(f"{SVG}text"):
        assert 0 < float(text.get("x", "0")) < process.WIDTH
        assert 0 < float(text.get("y", "0")) < process.HEIGHT


def test_only_pictures_that_exist_are_drawn(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(SystemExit):
        command_line.main(["process", "nothing"])
    assert "there is no picture nothing" in capsys.readouterr().err
    monkeypatch.setattr(command_line, "DOCS", tmp_path)
    command_line.main(["process"])
    assert [path.name for path in tmp_path.iterdir()] == [process.NAME]
