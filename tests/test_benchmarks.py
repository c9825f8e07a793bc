"""The arithmetic and the reports of the benchmarks; no server runs here."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import __main__ as command_line
from benchmarks import memory, staging, wagtail, wrk
from benchmarks.arguments import chosen
from benchmarks.environments import InstallError
from benchmarks.idle import IdleRound
from benchmarks.layouts import LAYOUTS, ONE_CORE, TWO_CORES, TWO_WORKERS, Layout
from benchmarks.processes import TICKS, busy_seconds, cpu_ticks, descendants, pss
from benchmarks.projects import BENCH, WAGTAIL
from benchmarks.ratios import middle, paired
from benchmarks.report import Report, Table, error_cell, idle_table, summary_table, targets_table, workload_table
from benchmarks.rounds import FLOOR, Clocks, Measured, Sample, in_turn, interleave, sample_of
from benchmarks.servers import PEERS, Launch, Peer, Server, granian
from benchmarks.serving import RefusedError, Stage, check_answer
from benchmarks.targets import TARGETS, Target, compare
from benchmarks.workloads import WORKLOADS, write_static_files

HELLO = WORKLOADS[0]
TOOK = Clocks(wall=2.0, server=1.0, load=0.5, cores=2.0)

NUMBERS = ("workers", "processes", "threads")
"""How the options end that say how many."""

WRK_OUTPUT = """\
Running 3s test @ http://127.0.0.1:41883/hello
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     7.07ms   19.39ms   1.48s    72.73%
    Req/Sec     5.79k     21.87     6.10k    80.00%
  Latency Distribution
     50%  812.00us
     75%    6.90ms
     90%   44.03ms
     99%    1.21s 
  17410 requests in 3.01s, 4.25MB read
{errors}Requests/sec:   5784.05
Transfer/sec:      1.41MB
"""  # noqa: W291 - wrk pads its times
SOCKET_ERRORS = "  Socket errors: connect 1, read 20, write 300, timeout 4000\n"
BAD_STATUSES = "  Non-2xx or 3xx responses: 410\n"


def sample(rate: float = 100.0, cpu: float = 1e-3, p50: float = 1e-3, p99: float = 2e-3, errors: int = 0) -> Sample:
    return Sample(rate, cpu, p50, p99, errors)


def rates(*values: float) -> list[Sample]:
    return [sample(rate=value) for value in values]


class TestRatios:
    def test_the_ratio_is_taken_in_each_round_before_the_median(self) -> None:
        """Where the machine slows down from round to round, the ratio of medians would say something else."""
        ours, theirs = [300.0, 100.0, 50.0], [100.0, 100.0, 100.0]
        assert paired(ours, theirs).median == 1.0
        ours, theirs = [10.0, 200.0, 30.0], [5.0, 400.0, 10.0]
        assert paired(ours, theirs).ratios == (2.0, 0.5, 3.0)
        assert paired(ours, theirs).median == 2.0
        assert middle(ours) / middle(theirs) == 3.0

    def test_an_even_number_of_rounds_takes_the_mean_of_the_middle_two(self) -> None:
        assert paired([1.0, 2.0, 3.0, 10.0], [1.0] * 4).median == 2.5

    def test_the_least_and_the_greatest_ratio_are_those_of_single_rounds(self) -> None:
        ratio = paired([10.0, 200.0, 30.0], [5.0, 400.0, 10.0])
        assert (ratio.lowest, ratio.highest) == (0.5, 3.0)

    def test_rounds_that_do_not_pair_up_are_refused(self) -> None:
        with pytest.raises(ValueError, match="zip"):
            paired([1.0, 2.0], [1.0])

    def test_no_round_at_all_is_refused(self) -> None:
        with pytest.raises(ValueError, match="no round"):
            middle([])

    def test_a_round_in_which_the_other_did_nothing_counts_as_infinite(self) -> None:
        """It is not dropped: it moves the median up as any other won round does."""
        ratio = paired([5.0, 5.0, 5.0], [0.0, 10.0, 5.0])
        assert (ratio.lowest, ratio.median, ratio.highest) == (0.5, 1.0, math.inf)

    def test_a_round_in_which_we_did_nothing_counts_as_zero(self) -> None:
        assert paired([0.0, 5.0, 5.0], [5.0, 5.0, 10.0]).median == 0.5

    def test_a_round_in_which_nobody_did_anything_makes_the_ratio_unknown(self) -> None:
        ratio = paired([0.0, 5.0, 5.0], [0.0, 5.0, 5.0])
        assert all(map(math.isnan, (ratio.median, ratio.lowest, ratio.highest)))


class TestReadingWrk:
    def test_a_clean_run(self) -> None:
        """Its rate is the printed one; times come in microseconds, milliseconds or seconds."""
        result = wrk.parse(WRK_OUTPUT.format(errors=""))
        assert result.answers == 17410
        assert result.rate == pytest.approx(5784.05)
        assert result.p50 == pytest.approx(812e-6)
        assert result.p99 == pytest.approx(1.21)
        assert result.errors == 0

    @pytest.mark.parametrize(
        ("printed", "seconds"),
        [("812.00us", 812e-6), ("6.90ms", 6.9e-3), ("1.21s", 1.21), ("1.50m", 90.0), ("0.00us", 0.0)],
    )
    def test_units_of_time(self, printed: str, seconds: float) -> None:
        output = WRK_OUTPUT.format(errors="").replace("812.00us", printed)
        assert wrk.parse(output).p50 == pytest.approx(seconds)

    @pytest.mark.parametrize(
        ("printed", "rate"), [("950.25", 950.25), ("5.79k", 5790.0), ("1.20M", 1.2e6), ("0.00", 0.0)]
    )
    def test_units_of_counts(self, printed: str, rate: float) -> None:
        output = WRK_OUTPUT.format(errors="").replace("5784.05", printed)
        if rate == 0.0:
            output = output.replace("17410 requests", "0 requests")
        assert wrk.parse(output).rate == pytest.approx(rate)

    def test_socket_errors_of_every_kind_count(self) -> None:
        result = wrk.parse(WRK_OUTPUT.format(errors=SOCKET_ERRORS))
        assert (result.socket_errors, result.bad_statuses, result.errors) == (4321, 0, 4321)

    def test_an_error_page_is_an_error_and_no_answer(self) -> None:
        """Quick 503s do not make a server fast."""
        result = wrk.parse(WRK_OUTPUT.format(errors=SOCKET_ERRORS + BAD_STATUSES))
        assert result.answers == 17000
        assert result.errors == 4321 + 410
        assert result.rate == pytest.approx(5784.05 * 17000 / 17410)

    @pytest.mark.parametrize("missing", ["requests in", "Requests/sec", "50%", "99%"])
    def test_output_that_lacks_a_figure_is_refused(self, missing: str) -> None:
        with pytest.raises(wrk.WrkError, match="not a report"):
            wrk.parse(WRK_OUTPUT.format(errors="").replace(missing, "nothing"))


class TestSamples:
    def test_cpu_is_shared_out_among_good_answers(self) -> None:
        taken = sample_of(wrk.Result(400, 2.0, 1e-3, 2e-3, socket_errors=1, bad_statuses=100), TOOK)
        assert (taken.rate, taken.cpu, taken.errors) == (200.0, 2.5e-3, 101)
        assert taken.busy == pytest.approx(0.5)

    def test_no_good_answer_is_an_error_even_if_wrk_saw_none(self) -> None:
        taken = sample_of(wrk.Result(0, 0.0, 0.0, 0.0, socket_errors=0, bad_statuses=0), TOOK)
        assert (taken.rate, taken.errors) == (0.0, 1)
        assert all(map(math.isnan, (taken.cpu, taken.p50, taken.p99)))

    def test_what_others_took_on_the_two_cores_is_told(self) -> None:
        taken = sample_of(wrk.Result(400, 2.0, 1e-3, 2e-3, 0, 0), TOOK)
        assert taken.others == pytest.approx(0.25)

    def test_clocks_give_what_passed_between_two_readings(self) -> None:
        assert Clocks(12.0, 3.0, 2.0, 9.0) - Clocks(10.0, 2.0, 1.5, 7.0) == TOOK

    def test_the_work_of_a_core_is_all_but_idling_and_waiting_for_disks(self) -> None:
        """Interrupts and time stolen by the hypervisor keep a server waiting too; guest time is in user already."""
        stat = "cpu 9 9 9 9 9 9 9 9 9 9\ncpu0 1 20 300 7 7 4000 50000 600000 5 5\ncpu10 1 1 1 1 1 1 1 1 0 0\nctxt 5\n"
        assert busy_seconds(stat, (0, 10)) == pytest.approx((654321 + 6) / TICKS)

    def test_cpu_time_is_read_behind_a_hostile_process_name(self) -> None:
        """User and system time, with those of children that ended, whatever the name says."""
        stat = "42 (a) b (c 1 2) S 1 42 42 0 -1 4194560 100 0 0 0 " + "7 20 300 4000" + " 20 0 9 0 1000"
        assert cpu_ticks(stat) == 4327


class TestRounds:
    def test_the_order_alternates(self) -> None:
        assert [in_turn("abc", number) for number in range(3)] == ["abc", "cba", "abc"]

    def test_every_server_is_driven_once_in_each_round(self) -> None:
        driven: list[str] = []

        def driver(name: str) -> Callable[[], Sample]:
            def drive() -> Sample:
                driven.append(name)
                return sample(rate=len(driven))

            return drive

        samples = interleave({name: driver(name) for name in "abc"}, 3, "hello")
        assert "".join(driven) == "abccbaabc"
        assert {name: [one.rate for one in taken] for name, taken in samples.items()} == {
            "a": [1, 6, 7],
            "b": [2, 5, 8],
            "c": [3, 4, 9],
        }

    def test_added_cpu_is_taken_from_the_floor_of_the_same_round(self) -> None:
        measured = Measured(HELLO, {"ours": [sample(cpu=3.0), sample(cpu=5.0)], FLOOR: [sample(cpu=1.0)] * 2})
        assert measured.added_cpu("ours") == [2.0, 4.0]
        assert measured.added_cpu("absent") == []
        assert Measured(HELLO, {"ours": rates(1)}).added_cpu("ours") == []


class TestWorkloadTable:
    def table(self, samples: dict[str, list[Sample]], absent: dict[str, str] | None = None) -> Table:
        return workload_table(Measured(HELLO, samples, absent or {}), "twistserve")

    def cells(self, table: Table, server: str) -> dict[str, str]:
        (row,) = (row for row in table.rows if row[0] == server)
        return dict(zip(table.columns, row, strict=True))

    def test_the_subject_comes_first_and_the_ratio_is_subject_by_server(self) -> None:
        table = self.table({"granian": rates(5, 400, 10), "twistserve": rates(10, 200, 30)})
        assert [row[0] for row in table.rows] == ["twistserve", "granian"]
        assert self.cells(table, "granian")["twistserve / server"] == "2.00 (0.50 to 3.00)"
        assert self.cells(table, "twistserve")["twistserve / server"] == ""

    def test_figures_are_medians_in_readable_units(self) -> None:
        ours = [sample(rate, cpu, p50, p99) for rate, cpu, p50, p99 in ((1500, 2e-4, 2e-3, 1.5), (900, 4e-4, 1e-3, 2))]
        assert self.cells(self.table({"twistserve": ours}), "twistserve") == {
            "server": "twistserve",
            "requests/s": "1,200",
            "twistserve / server": "",
            "CPU us": "300",
            "cores used": "33%",
            "others": "0%",
            "p50 ms": "1.50",
            "p99 ms": "1,750.00",
            "errors": "0",
        }

    def test_a_round_with_errors_is_reported_and_stays_in_the_median(self) -> None:
        theirs = [sample(rate=50, errors=7), sample(rate=100), sample(rate=200, errors=1000)]
        cells = self.cells(self.table({"twistserve": rates(100, 100, 100), "granian": theirs}), "granian")
        assert cells["errors"] == "1,007 in 2 of 3 rounds"
        assert cells["twistserve / server"] == "1.00 (0.50 to 2.00)"

    def test_what_is_unknown_is_shown_as_such(self) -> None:
        """A server that stopped answering keeps its row."""
        dead = [Sample(0.0, math.nan, math.nan, math.nan, 32)]
        cells = self.cells(self.table({"twistserve": rates(100), "granian": dead}), "granian")
        assert cells["requests/s"] == "0"
        assert cells["twistserve / server"] == "inf (inf to inf)"
        assert (cells["CPU us"], cells["p99 ms"], cells["errors"]) == ("-", "-", "32 in 1 of 1 rounds")

    def test_added_cpu_is_shown_when_the_floor_was_measured(self) -> None:
        table = self.table({"twistserve": [sample(cpu=345e-6)], FLOOR: [sample(cpu=255e-6)], "granian": [sample()]})
        assert [row[0] for row in table.rows] == ["twistserve", "granian", FLOOR]
        assert self.cells(table, "twistserve")["added CPU us"] == "90"
        assert self.cells(table, FLOOR)["added CPU us"] == ""

    def test_a_server_that_could_not_take_part_is_named(self) -> None:
        table = self.table({"twistserve": rates(1)}, {"uwsgi": "it does not answer: no compiler"})
        assert table.remarks == ("uwsgi took no part: it does not answer: no compiler",)

    def test_without_the_subject_there_is_no_ratio(self) -> None:
        cells = self.cells(self.table({"granian": rates(1)}, {"twistserve": "broken"}), "granian")
        assert cells["twistserve / server"] == ""


RATES = (0.55, 0.8, 0.9, 0.93, 0.95, 1.0, 1.05, 1.1, 1.2, 1.3, 1.45, 1.5, 2.0, 2.2, 4.0)


class TestTargets:
    def test_each_bound_is_one_of_the_issue(self) -> None:
        """Nobody moves a goal by accident."""
        asked = {(one.quantity, one.bound, one.at_least) for one in TARGETS}
        assert asked == {
            *(("requests/s", bound, True) for bound in RATES),
            ("server-added CPU", 1.0, False),
            ("p99", 1.0, False),
            ("CPU", 2.0, False),
        }

    def test_every_target_names_workloads_and_servers_that_exist(self) -> None:
        workloads = {workload.name for workload in WORKLOADS}
        servers = {"quiet", "uncounted", *(peer.name for peer in PEERS)}
        for target in TARGETS:
            assert workloads >= set(target.workloads)
            assert servers >= set(target.against)

    def test_the_median_of_paired_ratios_decides(self) -> None:
        measured = Measured(HELLO, {"new": rates(110, 220, 90), "granian-8": rates(100, 200, 300)})
        (rate, p99) = compare([measured], "new")
        assert (rate.quantity, rate.against, rate.reached) == ("requests/s", "granian-8", True)
        assert (p99.quantity, p99.measured.median, p99.reached) == ("p99", 1.0, True)

    def test_a_loss_is_shown_as_plainly_as_a_win(self) -> None:
        measured = Measured(HELLO, {"new": rates(100), "granian-1": rates(100), "hurricane": rates(10)})
        rows = targets_table(compare([measured], "new"), "new").rows
        assert rows == [
            ("hello", "p99", "granian-1 (the best)", "at most 1", "1.00 (1.00 to 1.00)", "yes"),
            ("hello", "requests/s", "granian-1", "at least 1.1", "1.00 (1.00 to 1.00)", "no"),
            ("hello", "requests/s", "hurricane", "at least 4", "10.00 (10.00 to 10.00)", "yes"),
        ]

    def wanted(self, layout: str, workload: str, *servers: str) -> list[tuple[str, float]]:
        """The wanted ratios of rates to each of these servers."""
        (one,) = (one for one in WORKLOADS if one.name == workload)
        measured = Measured(one, {name: rates(100) for name in ("new", *servers)})
        compared = compare([measured], "new", LAYOUTS[layout])
        return [(found.against, found.target.bound) for found in compared if found.quantity == "requests/s"]

    def test_goals_of_a_workload_depend_on_the_layout(self) -> None:
        """There is one for each pair of a workload and a server."""
        granian = [("granian-8", 1.0)]
        assert self.wanted("one-core", "pgquery", "granian-8") == granian
        assert self.wanted("two-cores", "pgquery", "granian-8") == [("granian-8", 1.45)]
        assert self.wanted("two-cores", "db", "granian-8", "granian-1", "granian-8-pinned") == [("granian-8", 1.5)]
        assert self.wanted("one-core", "hello", "granian-8") == [("granian-8", 0.9)]
        assert self.wanted("one-core", "pgpage", "granian-8", "gunicorn", "uwsgi", "uwsgi-keepalive") == [
            *granian,
            *(("gunicorn", 1.0), ("uwsgi", 1.0)),
        ]
        assert self.wanted("two-workers", "body100k", "granian-2x4") == []

    @pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
    def test_no_pair_of_a_workload_and_a_server_has_two_goals(self, layout: Layout) -> None:
        """Of the same quantity."""
        pairs = [
            (workload, target.quantity, against)
            for target in TARGETS
            if target.layout is layout
            for workload in target.workloads
            for against in target.against
        ]
        assert sorted(pairs) == sorted(set(pairs))

    def test_the_best_of_several_is_what_counts(self) -> None:
        """A row tells which it was."""
        measured = Measured(
            HELLO, {"new": rates(100, 100), "granian-2x1": rates(120, 110), "granian-2x4": rates(90, 130)}
        )
        rate, p99 = compare([measured], "new", TWO_WORKERS)
        assert (rate.against, rate.reached) == ("granian-2x1", False)
        assert rate.measured.median == pytest.approx((100 / 120 + 100 / 110) / 2)
        assert rate.shown == "granian-2x1 (the best)"
        assert p99.reached

    def test_the_lowest_p99_is_that_of_all_servers_that_answered(self) -> None:
        dead = [Sample(0.0, math.nan, math.nan, math.nan, 32)]
        samples = {"granian-8": [sample(p99=4e-3)], "gunicorn": [sample(p99=3e-3)], "uwsgi": dead}
        measured = Measured(HELLO, {"new": [sample(p99=3.5e-3)], **samples})
        (p99,) = (found for found in compare([measured], "new") if found.quantity == "p99")
        assert (p99.against, p99.reached) == ("gunicorn", False)

    def test_the_variant_without_log_and_metrics_is_that_of_the_subject(self) -> None:
        (compared,) = compare([Measured(HELLO, {"new": rates(94), "new-quiet": rates(100)})], "new")
        assert (compared.against, compared.measured.median, compared.reached) == ("new-quiet", 0.94, True)

    def test_an_unknown_ratio_reaches_nothing(self) -> None:
        assert not Target(("hello",), "CPU", ("nginx",), 2.0, at_least=False).reached(math.nan)
        assert not Target(("hello",), "requests/s", ("nginx",), 0.5).reached(math.nan)

    def test_nothing_is_said_about_what_was_not_measured(self) -> None:
        assert compare([Measured(HELLO, {"new": rates(1), "other": rates(1)})], "new") == []
        assert compare([Measured(HELLO, {"granian-1": rates(1)})], "new") == []


class TestSummaryTable:
    def test_a_row_for_each_workload_with_every_server_that_ran_anywhere(self) -> None:
        """Ratios are paired ones; a server that took no part in a workload has an empty cell."""
        first = Measured(HELLO, {"new": rates(10, 200, 30), "a": rates(5, 400, 10), FLOOR: rates(1, 1, 1)})
        second = Measured(WORKLOADS[1], {"new": [sample(100, p99=0.5)], "b": [sample(50, p99=1.25)]})
        table = summary_table([first, second], "new")
        assert table.columns == ("workload", "requests/s", "of a", "of b", "p99 ms", "p99 of a", "p99 of b")
        assert table.rows == [
            ("hello", "30", "2.00", "", "2.0", "2.0", ""),
            ("browser", "100", "", "2.00", "500.0", "", "1,250.0"),
        ]

    def test_without_the_subject_others_have_their_latencies(self) -> None:
        table = summary_table([Measured(HELLO, {"a": rates(5)})], "new")
        assert table.rows == [("hello", "", "", "", "2.0")]


class TestIdleTable:
    def test_memory_and_rates_are_medians_of_the_rounds(self) -> None:
        rounds = [
            IdleRound(sample(rate=100), sample(rate=95), 5000, 0, 10_000.0),
            IdleRound(sample(rate=200), sample(rate=160, errors=3), 4990, 2, 11_000.0),
            IdleRound(sample(rate=300), sample(rate=270), 5000, 1, 12_000.0),
        ]
        table = idle_table({"twistserve": rounds}, 5000)
        assert table.rows == [
            ("twistserve", "4,990", "3", "11,000", "200", "160", "0.90 (0.80 to 0.95)", "3 in 1 of 6 rounds")
        ]


class TestReport:
    REPORT = Report(
        [("date", "2026-01-01"), ("granian-1", "granian 2.8")],
        [Table("Hello", ("server", "requests/s"), [("twistserve", "1,200"), ("a|b", "9")], ("c took\nno part",))],
    )

    def test_text_is_aligned(self) -> None:
        lines = self.REPORT.text().splitlines()
        assert lines[:2] == ["date: 2026-01-01", "granian-1: granian 2.8"]
        assert lines[-7:] == [
            "",
            "server      requests/s",
            "----------------------",
            "twistserve       1,200",
            "a|b                  9",
            "c took",
            "no part",
        ]

    def test_markdown_has_a_table_and_the_facts(self) -> None:
        lines = self.REPORT.markdown().splitlines()
        assert "## Hello" in lines
        start = lines.index("| server | requests/s |")
        assert lines[start + 1 : start + 4] == ["| --- | ---: |", "| twistserve | 1,200 |", "| a\\|b | 9 |"]
        assert "c took no part" in lines
        assert "- granian-1: `granian 2.8`" in lines

    def test_errors_are_summed_and_their_rounds_counted(self) -> None:
        assert error_cell([sample(), sample()]) == "0"
        assert error_cell([sample(errors=2), sample(), sample(errors=1)]) == "3 in 2 of 3 rounds"


class TestCommandLine:
    def test_a_server_is_chosen_by_its_name_or_the_part_before_a_hyphen(self) -> None:
        known = ("quiet", "granian-1", "granian-8", "uwsgi", "uwsgi-keepalive", "nginx")
        assert chosen("granian,nginx", known) == ("granian-1", "granian-8", "nginx")
        assert chosen("granian-8, granian", known) == ("granian-8", "granian-1")
        assert chosen("", known) == ()

    def test_unknown_names_are_refused(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            command_line.parser().parse_args(["--workloads", "hullo"])
        assert "'hullo' is not one of hello, browser" in capsys.readouterr().err

    def test_several_twistserves_are_told_apart_by_name(self, tmp_path: Path) -> None:
        """The bin directory has to hold the command."""
        (tmp_path / "twistd").touch()
        arguments = command_line.parser().parse_args(
            [
                "--twistserve",
                f"old={tmp_path}",
                "--twistserve",
                f"new={tmp_path}",
                "--servers",
                "",
                "--workloads",
                "hello",
            ]
        )
        assert [server.name for server in arguments.twistserve] == ["old", "new"]
        assert [server.name for server in command_line.line_up(arguments, tmp_path)] == ["new", "old"]

    def test_a_twistserve_has_options_of_its_own(self, tmp_path: Path) -> None:
        """They stand in the place of the benchmarks' own, and workers come from the layout."""
        (tmp_path / "twistd").touch()
        text = f"few={tmp_path},--threads=4,--forwarded-allow-ips=10.0.0.1,10.0.0.2"
        arguments = command_line.parser().parse_args(
            ["--twistserve", text, "--layout", "two-workers", "--servers", "", "--workloads", "hello"]
        )
        (server,) = command_line.line_up(arguments, tmp_path)
        words = server.words(8123, None, tmp_path)
        assert server.name == "few"
        assert [word for word in words if word.startswith(("--threads", "--workers"))] == ["--workers=2", "--threads=4"]
        assert words[-1] == "--forwarded-allow-ips=10.0.0.1,10.0.0.2"

    def test_an_environment_without_psycopg_is_refused_where_postgresql_is_asked(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """In time, and with what to do."""
        (tmp_path / "twistd").touch()
        monkeypatch.setattr(staging, "packages", lambda _: {"django": "5.2"})
        arguments = command_line.parser().parse_args(["--twistserve", str(tmp_path), "--workloads", "pgpage"])
        with pytest.raises(InstallError, match=r"pip install 'psycopg\[binary\]"):
            command_line.line_up(arguments, tmp_path)

    def test_an_environment_without_wagtail_is_refused_where_it_is_served(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """By name, not by a traceback of the project."""
        (tmp_path / "twistd").touch()
        monkeypatch.setattr(staging, "packages", lambda _: {"django": "5.2", "psycopg": "3.2"})
        arguments = wagtail.options().parse_args(["--twistserve", str(tmp_path)])
        with pytest.raises(InstallError, match=r"has no wagtail: .* install 'wagtail~="):
            command_line.line_up(arguments, tmp_path)

    def test_wagtail_is_served_when_asked_for(self) -> None:
        """`make bench` takes an hour without it."""
        default = command_line.asked(command_line.parser().parse_args([]))
        assert {one.project for one in default} == {BENCH}
        assert {one.project for one in command_line.asked(wagtail.options().parse_args([]))} == {WAGTAIL}

    def test_two_twistserves_of_one_name_are_refused(self, tmp_path: Path) -> None:
        """The samples of one would be taken for those of the other."""
        (tmp_path / "twistd").touch()
        words = ["--twistserve", str(tmp_path)] * 2
        arguments = command_line.parser().parse_args([*words, "--workloads", "hello", "--servers", ""])
        with pytest.raises(InstallError, match="the same name"):
            command_line.line_up(arguments, tmp_path)

    def test_an_unknown_layout_is_refused(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            command_line.parser().parse_args(["--layout", "three-cores"])
        assert "'three-cores' is not one of one-core, two-cores, two-workers" in capsys.readouterr().err

    def test_a_directory_without_twistserve_is_refused(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit):
            command_line.parser().parse_args(["--twistserve", str(tmp_path)])
        assert "there is no twistd in" in capsys.readouterr().err


class TestWorkloads:
    def test_a_browser_sends_sixteen_header_fields(self) -> None:
        """Host is wrk's; quotes in values are quoted for Lua."""
        (browser,) = (workload for workload in WORKLOADS if workload.name == "browser")
        script = browser.lua()
        assert 1 + script.count("wrk.headers[") == 16
        assert r'wrk.headers["sec-ch-ua-platform"] = "\"Linux\""' in script
        assert browser.scripted
        assert not HELLO.scripted


class TestLayouts:
    def test_the_server_has_a_core_of_its_own_or_shares_both(self) -> None:
        """PostgreSQL is where wrk is."""
        assert (ONE_CORE.server_cores([4, 6, 7]), ONE_CORE.load_cores([4, 6, 7])) == ((4,), (6,))
        assert (TWO_CORES.server_cores([4, 6, 7]), TWO_CORES.load_cores([4, 6, 7])) == ((4, 6), (4, 6))

    def test_a_pinned_server_has_the_first_of_the_cores(self, tmp_path: Path) -> None:
        stage = Stage(tmp_path, tmp_path, (0, 1), (0, 1), connections=1, seconds=1, rounds=1)
        server = Server("granian-8", granian, tmp_path)
        assert (stage.cores_of(server), stage.cores_of(replace(server, pinned=True))) == ("0,1", "0")

    @pytest.mark.parametrize(
        ("layout", "servers"),
        [
            ("one-core", {"granian-1", "granian-8"}),
            ("two-cores", {"granian-1", "granian-8", "granian-8-pinned"}),
            ("two-workers", {"granian-2x1", "granian-2x4"}),
        ],
    )
    def test_who_takes_part(self, layout: str, servers: set[str]) -> None:
        """uWSGI and gunicorn everywhere, Granian by the number of its workers and threads."""
        found = {peer.name for peer in PEERS if LAYOUTS[layout] in peer.layouts}
        assert {name for name in found if name.startswith("granian")} == servers
        assert found >= {"uwsgi", "gunicorn"}

    def test_workers_and_threads_are_those_of_the_layout(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of a server whose name says nothing else."""
        monkeypatch.setattr("benchmarks.servers.ensure", lambda directory, requirements: directory / "bin")
        peers = {peer.name: peer for peer in PEERS}

        def numbers(name: str, layout: str) -> list[str]:
            words = peers[name].install(tmp_path, tmp_path, LAYOUTS[layout]).words(8123, None, tmp_path)
            return [word.partition("=")[2] for word in words if word.partition("=")[0].endswith(NUMBERS)]

        assert numbers("granian-2x4", "two-workers") == ["2", "4"]
        assert numbers("granian-2x1", "two-workers") == ["2", "1"]
        assert numbers("gunicorn", "two-workers") == ["2", "4"]
        assert numbers("uwsgi", "two-workers") == ["2", "4"]
        assert numbers("uwsgi", "two-cores") == ["1", "8"]


class TestProjects:
    def test_each_has_environments_of_its_own(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """With what it needs; the others stay as they are."""
        monkeypatch.setattr("benchmarks.servers.ensure", lambda directory, requirements: directory / requirements[-1])
        gunicorn = next(peer for peer in PEERS if peer.name == "gunicorn")
        needed = staging.needed([one for one in WORKLOADS if one.project is WAGTAIL])
        assert (
            gunicorn.install(tmp_path, tmp_path, ONE_CORE, needed).bin == tmp_path / "gunicorn-with-wagtail" / needed[0]
        )
        assert gunicorn.install(tmp_path, tmp_path).bin.parent == tmp_path / "gunicorn"

    def test_a_servers_variables_are_those_of_the_project(self, tmp_path: Path) -> None:
        stage = Stage(tmp_path, tmp_path, (0, 1), (0, 1), connections=1, seconds=1, rounds=1)
        variables = stage.environ(Server("gunicorn", granian, tmp_path), WAGTAIL, postgresql=False)
        assert variables["PYTHONPATH"] == str(tmp_path / "wagtail")
        assert variables["DJANGO_SETTINGS_MODULE"] == "bench.settings.production"

    def test_what_varies_is_no_wrong_answer(self) -> None:
        """Anything else is."""
        check_answer((200, b"<a token=12>"), b"<a token=34>", r"token=\d+")
        for answer in ((200, b"<b token=12>"), (500, b"<a token=34>")):
            with pytest.raises(RefusedError):
                check_answer(answer, b"<a token=34>", r"token=\d+")

    def test_all_that_is_measured_in_one_row(self) -> None:
        """What took no part in something has no figure there."""
        [page] = (one for one in WORKLOADS if one.name == "wagtail-page")
        runs = [Measured(page, {"twistserve": [sample(rate=220.0)], "gunicorn": [sample(rate=200.0)]})]
        ours, theirs = wagtail.short_table(runs, {"twistserve": [wagtail.Start(0.8, 109.4)]}, "twistserve").rows
        assert ours == ("twistserve", "220", "", "2", "0.80", "109")
        assert theirs == ("gunicorn", "200", "1.10", "2", "", "")

    def test_starts_are_compared_with_the_subjects_in_the_same_rounds(self) -> None:
        starts = {
            "twistserve": [wagtail.Start(1.0, 100.0), wagtail.Start(2.0, 100.0), wagtail.Start(3.0, 110.0)],
            "gunicorn": [wagtail.Start(0.9, 125.0), wagtail.Start(2.1, 125.0), wagtail.Start(3.3, 110.0)],
        }
        ours, theirs = wagtail.starts_table(starts, "twistserve").rows
        assert ours == ("twistserve", "2.00", "", "100", "")
        assert theirs == ("gunicorn", "2.10", "+0.10", "125", "0.80")


class TestServers:
    @pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
    def test_every_server_listens_on_loopback_only(self, peer: Peer, tmp_path: Path) -> None:
        """Scripts of our own say so inside."""
        words = peer.command(Launch(bin=Path("bin"), port=8123, static=None, scratch=tmp_path))
        scripts = [Path(word).read_text() for word in words if word.endswith((".py", ".conf"))]
        assert "127.0.0.1" in " ".join([*words, *scripts])
        assert "8123" in " ".join([*words, *scripts])

    def test_static_files_are_of_the_right_size_and_the_same_each_time(self, tmp_path: Path) -> None:
        write_static_files(tmp_path)
        first = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
        write_static_files(tmp_path)
        assert {name: len(data) for name, data in first.items()} == {"10k.css": 10 * 1024, "10m.bin": 10 * 1024 * 1024}
        assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == first


class TestMemory:
    def test_what_a_process_and_its_children_take(self) -> None:
        """Ours is among them, and takes more than a megabyte."""
        assert next(descendants(os.getpid())) == os.getpid()
        assert pss(os.getpid()) > 1

    def test_figures_are_compared_with_the_first_way(self) -> None:
        """By the medians of all rounds; one process has nobody that could be replaced."""
        rounds = {
            "one process": [(50.0, 60.0, math.nan), (50.0, 60.0, math.nan)],
            "2 workers": [(100.0, 90.0, 0.2), (150.0, 150.0, 0.4)],
        }
        *_, one, two = memory.table(rounds).splitlines()
        assert one == "| one process | 50 | 1.00 | 60 | 1.00 |  |"
        assert two == "| 2 workers | 125 | 2.50 | 120 | 2.00 | 0.30 |"
