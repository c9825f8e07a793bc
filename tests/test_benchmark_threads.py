"""Rates by number of threads: tables and the plot; no server runs here."""

from __future__ import annotations

import math
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import threads
from benchmarks.environments import InstallError
from benchmarks.plot import Chart, svg, top_of_scale
from benchmarks.rounds import Measured, Sample
from benchmarks.servers import Server, twistserve
from benchmarks.workloads import WORKLOADS

SVG = "{http://www.w3.org/2000/svg}"


def sample(rate: float, p99: float = 0.002) -> Sample:
    return Sample(rate, 1e-3, 1e-3, p99, 0)


MEASURED = Measured(
    WORKLOADS[0],
    {
        "new x 1": [sample(100), sample(300)],
        "new x 8": [sample(400, 0.5), sample(400, 1.5)],
        "Granian x 1": [sample(200), sample(100)],
    },
    {"Granian x 8": "it does not answer"},
)


class TestTable:
    def test_a_row_for_each_number_of_threads(self) -> None:
        """Ratios are paired ones; what took no part is shown as unknown."""
        lines = threads.threads_table(MEASURED, ["new", "Granian"], (1, 8)).splitlines()
        assert lines[0] == (
            "| threads | new, requests/s | Granian, requests/s | new / Granian | new, p99 ms | Granian, p99 ms |"
        )
        assert lines[2:] == ["| 1 | 200 | 150 | 1.75 | 2.0 | 2.0 |", "| 8 | 400 | - | - | 1,000.0 | - |"]

    def test_a_server_has_its_number_of_threads_on_the_command_line(self, tmp_path: Path) -> None:
        server = threads.with_threads(Server("new", twistserve, tmp_path), 16)
        assert server.name == "new x 16"
        assert "--threads=16" in server.words(8123, None, tmp_path)

    def test_more_servers_than_the_plot_can_tell_apart_are_refused(self, tmp_path: Path) -> None:
        (tmp_path / "twistd").touch()
        words = [word for name in "abcd" for word in ("--twistserve", f"{name}={tmp_path}")]
        with pytest.raises(InstallError, match="4 servers at most"):
            threads.line_up(threads.parser().parse_args([*words, "--workloads", "page"]))

    def test_a_twistserve_with_threads_of_its_own_is_refused(self, tmp_path: Path) -> None:
        """All rows would be of as many."""
        (tmp_path / "twistd").touch()
        words = ["--twistserve", f"{tmp_path},--threads=4", "--workloads", "page"]
        with pytest.raises(InstallError, match="leave it out"):
            threads.line_up(threads.parser().parse_args(words))

    def test_numbers_of_threads_are_positive(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            threads.parser().parse_args(["--threads", "1,0"])
        assert "0 is not at least 1" in capsys.readouterr().err


class TestPlot:
    @pytest.mark.parametrize(
        ("highest", "end", "step"),
        [(697, 800, 200), (3.1, 4, 1), (4, 4, 1), (4.1, 6, 2), (0.05, 0.06, 0.02), (12345, 15000, 5000), (0, 1, 1)],
    )
    def test_an_axis_ends_at_a_round_number(self, highest: float, end: float, step: float) -> None:
        assert top_of_scale(highest) == pytest.approx((end, step))

    def test_every_series_is_a_line_over_labelled_axes(self) -> None:
        """The document is well-formed whatever names hold, has both colour schemes, and leaves out what is unknown."""
        charts = [
            Chart("Page: p99 <ms>", "threads", "p99, ms", ["1", "8"], {"new & old": [1.0, 2.0], "b": [math.nan, 3.0]})
        ]
        drawn = svg(charts, columns=1)
        assert "prefers-color-scheme: dark" in drawn
        root = ElementTree.fromstring(drawn)
        texts = [element.text for element in root.iter(f"{SVG}text")]
        assert {"new & old", "b", "Page: p99 <ms>", "threads", "p99, ms", "1", "8", "0", "3"} <= set(texts)
        lines = [element.get("points", "") for element in root.iter(f"{SVG}polyline")]
        assert [len(line.split()) for line in lines] == [2, 1]

    def test_an_axis_of_powers_of_ten(self) -> None:
        """From 1 on, where less is drawn too; without dots there are lines alone."""
        drawn = svg([Chart("p99", "minutes", "ms", ["0", "", "2"], {"a": [0, 10, 1000]}, False, True)], columns=1)
        root = ElementTree.fromstring(drawn)
        texts = [element.text for element in root.iter(f"{SVG}text")]
        assert {"1", "10", "100", "1,000"} <= set(texts)
        [line] = root.iter(f"{SVG}polyline")
        heights = [float(point.partition(",")[2]) for point in line.get("points", "").split()]
        assert heights[0] - heights[1] == pytest.approx((heights[0] - heights[2]) / 3, abs=0.1)
        assert list(root.iter(f"{SVG}circle")) == []

    def test_a_chart_for_the_rate_and_one_for_the_p99_of_each_workload(self) -> None:
        rate, p99 = threads.charts([MEASURED], ["new", "Granian"], (1, 8))
        assert (rate.title, p99.title) == ("Hello: requests/s", "Hello: p99, ms")
        assert rate.series["new"] == [200, 400]
        assert p99.series["new"] == pytest.approx([2.0, 1000.0])
        assert math.isnan(rate.series["Granian"][1])
