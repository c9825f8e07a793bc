"""Tables, as text for the terminal and as Markdown for the documentation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.idle import IdleRound
from benchmarks.layouts import ONE_CORE, Layout
from benchmarks.ratios import Paired, middle, paired
from benchmarks.rounds import FLOOR, Measured, Sample
from benchmarks.targets import IDLE_BYTES, IDLE_RATE, Compared

HOW_TO_READ = (
    " Servers are driven in interleaved rounds."
    " A ratio compares what two servers did in the same round; shown is the median of the rounds, with the least and"
    " the greatest. All other figures are medians of the rounds; CPU is that of the server's processes for one answer."
    " Errors are counted over all rounds. A server that left much of its cores unused was held up by wrk, by the"
    " network or by waiting: there CPU tells more than the rate. Others is the CPU time that other processes took on"
    " the two cores meanwhile, as a share of one core: above a few percent the run was disturbed."
    " Figures hold for this machine and this run only: compare ratios, and repeat the run before believing a small one."
)


def between(document: str, begin: str, end: str, text: str) -> str:
    """A document with this text between its two markers. Raises ValueError where it has not got them."""
    before, found, rest = document.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"there is no {begin} with {end} after it")
    return f"{before}{begin}{text}{end}{after}"


@dataclass(frozen=True)
class Table:
    """A heading, the cells under named columns, and remarks."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """All that a run has to say."""

    facts: list[tuple[str, str]]
    tables: list[Table]
    layout: Layout = ONE_CORE

    @property
    def _how_to_read(self) -> str:
        return self.layout.description + HOW_TO_READ

    def text(self) -> str:
        parts = ["\n".join(f"{word}: {fact}" for word, fact in self.facts), self._how_to_read]
        parts += [_text(table) for table in self.tables]
        return "\n\n".join(parts) + "\n"

    def markdown(self) -> str:
        parts = ["# Benchmarks", self._how_to_read]
        parts += [_markdown(table) for table in self.tables]
        parts += ["## Machine and versions", "\n".join(f"- {word}: `{fact}`" for word, fact in self.facts)]
        return "\n\n".join(parts) + "\n"


def facts_list(facts: Sequence[tuple[str, str]]) -> str:
    """The facts about a run as a Markdown list, without the packages of each server."""
    return "".join(f"- {word}: `{fact}`\n" for word, fact in facts if not word.startswith("packages"))


def plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table without title and remarks."""
    rule = ["---"] * len(columns)
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (columns, rule, *rows))


def workload_table(measured: Measured, subject: str) -> Table:
    """A row for each server: `subject` first, then the others, with subject's rate as a multiple of theirs."""

    def rate_ratio(name: str) -> str:
        if name in (subject, FLOOR) or subject not in measured.samples:
            return ""
        return ratio_cell(paired(*([one.rate for one in measured.samples[server]] for server in (subject, name))))

    def median(quantity: Callable[[Sample], float], form: str) -> Callable[[str], str]:
        return lambda name: number_cell(middle([quantity(sample) for sample in measured.samples[name]]), form)

    def added_cpu(name: str) -> str:
        return "" if name == FLOOR else number_cell(middle(measured.added_cpu(name)) * 1e6, ",.0f")

    columns: dict[str, Callable[[str], str]] = {
        "server": lambda name: name,
        "requests/s": median(lambda sample: sample.rate, ",.0f"),
        f"{subject} / server": rate_ratio,
        "CPU us": median(lambda sample: sample.cpu * 1e6, ",.0f"),
        **({"added CPU us": added_cpu} if FLOOR in measured.samples else {}),
        "cores used": median(lambda sample: sample.busy, ".0%"),
        "others": median(lambda sample: sample.others, ".0%"),
        "p50 ms": median(lambda sample: sample.p50 * 1e3, ",.2f"),
        "p99 ms": median(lambda sample: sample.p99 * 1e3, ",.2f"),
        "errors": lambda name: error_cell(measured.samples[name]),
    }
    names = sorted(measured.samples, key=lambda name: (name != subject, name == FLOOR))
    return Table(
        f"{measured.workload.title} ({measured.workload.name})",
        tuple(columns),
        [tuple(cell(name) for cell in columns.values()) for name in names],
        tuple(f"{name} took no part: {why}" for name, why in measured.absent.items()),
    )


def summary_table(runs: Sequence[Measured], subject: str) -> Table:
    """A row for each workload: the subject's rate and p99, its rate as a multiple of each other's, and their p99."""
    names = list(dict.fromkeys(name for one in runs for name in one.samples if name not in (subject, FLOOR)))

    def row(measured: Measured) -> tuple[str, ...]:
        def rates(name: str) -> list[float]:
            return [sample.rate for sample in measured.samples[name]]

        def p99(name: str) -> str:
            known = name in measured.samples
            return number_cell(middle([sample.p99 * 1e3 for sample in measured.samples[name]]), ",.1f") if known else ""

        def ratio(name: str) -> str:
            known = name in measured.samples and subject in measured.samples
            return number_cell(paired(rates(subject), rates(name)).median, ".2f") if known else ""

        ours = number_cell(middle(rates(subject)), ",.0f") if subject in measured.samples else ""
        return (measured.workload.name, ours, *map(ratio, names), *map(p99, (subject, *names)))

    columns = (
        "workload",
        "requests/s",
        *(f"of {name}" for name in names),
        "p99 ms",
        *(f"p99 of {one}" for one in names),
    )
    return Table(
        f"In short: {subject}",
        columns,
        [row(measured) for measured in runs],
        (f"Rates of {subject}, as multiples of the others' too; p99 in milliseconds. Medians of the rounds.",),
    )


def targets_table(compared: Sequence[Compared], subject: str) -> Table:
    """Each goal that this run says something about."""
    rows = [
        (
            one.workload,
            one.quantity,
            one.shown,
            f"{'at least' if one.target.at_least else 'at most'} {one.target.bound:g}",
            ratio_cell(one.measured),
            "yes" if one.reached else "no",
        )
        for one in compared
    ]
    columns = ("workload", "quantity", "against", "wanted", f"{subject} / other", "reached")
    return Table("Goals", columns, rows)


def idle_table(rounds: dict[str, list[IdleRound]], connections: int) -> Table:
    """A row for each server that was measured beside idle connections."""
    rows = []
    for name, measured in rounds.items():
        ratio = paired([one.beside.rate for one in measured], [one.without.rate for one in measured])
        rows.append(
            (
                name,
                f"{min(one.opened for one in measured):,}",
                f"{sum(one.lost for one in measured):,}",
                number_cell(middle([one.bytes_each for one in measured]), ",.0f"),
                number_cell(middle([one.without.rate for one in measured]), ",.0f"),
                number_cell(middle([one.beside.rate for one in measured]), ",.0f"),
                ratio_cell(ratio),
                error_cell([sample for one in measured for sample in (one.without, one.beside)]),
            )
        )
    return Table(
        f"{connections:,} idle keep-alive connections",
        ("server", "opened", "lost", "bytes each", "hello/s without", "hello/s beside", "beside / without", "errors"),
        rows,
        (
            "Memory is what is resident in the server's processes; the kernel's for the sockets is not counted.",
            f"Wanted: at most {IDLE_BYTES:,} bytes each, and at least {IDLE_RATE:g} of the rate.",
        ),
    )


def ratio_cell(ratio: Paired) -> str:
    """The median, then the least and the greatest of the rounds."""
    if math.isnan(ratio.median):
        return "-"
    median, lowest, highest = (number_cell(one, ".2f") for one in (ratio.median, ratio.lowest, ratio.highest))
    return f"{median} ({lowest} to {highest})"


def error_cell(samples: Sequence[Sample]) -> str:
    """All errors, and in how many rounds they were."""
    rounds = sum(sample.errors > 0 for sample in samples)
    return f"{sum(sample.errors for sample in samples):,} in {rounds} of {len(samples)} rounds" if rounds else "0"


def number_cell(value: float, form: str) -> str:
    """A figure, or a dash where it is unknown."""
    return "-" if math.isnan(value) else format(value, form)


def _text(table: Table) -> str:
    cells = [table.columns, *table.rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(table.columns))]
    lines = [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in enumerate(row)
        ).rstrip()
        for row in (list(zip(row, widths, strict=True)) for row in cells)
    ]
    return "\n".join([table.title, "", lines[0], "-" * len(lines[0]), *lines[1:], *table.remarks])


def _markdown(table: Table) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    rule = "| --- |" + " ---: |" * (len(table.columns) - 1)
    body = "\n".join([line(table.columns), rule, *(line(row) for row in table.rows)])
    remarks = "\n".join(" ".join(remark.split()) for remark in table.remarks)
    return "\n\n".join(part for part in (f"## {table.title}", body, remarks) if part)
