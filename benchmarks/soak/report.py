"""The figures of a soak, as Markdown and as a plot."""

from __future__ import annotations

import math
import os
import platform
import shlex
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from statistics import median

from benchmarks.environments import ROOT
from benchmarks.machine import commit, cpu_model, memory
from benchmarks.plot import Chart, svg
from benchmarks.report import between, facts_list, plain_table
from benchmarks.soak.phase import Phase
from benchmarks.soak.samples import PROBES, Sample
from benchmarks.soak.service import OPTIONS, RECYCLING
from benchmarks.soak.tally import CROSSED, RIGHT
from benchmarks.soak.verdict import MEBIBYTE, named

FAULTS, LONGEST = 10, 300
"""Lines of the log that are shown, and characters of each."""
LINES = 4
"""Of a chart, at most."""
POINTS = 120
"""Of a line of the plot."""
BEGINS, ENDS = "<!-- figures -->", "<!-- end of figures -->"
"""What figures stand between in a document."""
DESCRIPTION = "Memory, descriptors and threads of each process, and the slowest probe of each second"
"""What the plot shows."""
TITLES = {"replaced": "workers are replaced", "staying": "workers stay"}


def markdown(phases: Sequence[Phase], argv: Sequence[str]) -> str:
    """All tables."""
    parts = [facts_list(facts(argv))]
    for phase in phases:
        parts.append(f"#### {TITLES[phase.name].capitalize()}, {phase.seconds:g} s\n\n{summary(phase)}\n")
        parts += [
            requests_line(phase),
            faults_table(phase),
            hostile_table(phase),
            judged_table(phase),
            probes_table(phase),
        ]
        faults = (fault[:LONGEST] for fault in phase.faults[:FAULTS])
        parts.append("".join(f"- {text}\n" for text in (*phase.complaints, *phase.tally.examples, *faults)))
    return "\n".join(part for part in parts if part)


def inserted(document: str, text: str) -> str:
    """A document with other figures. Raises ValueError where it has no place for them."""
    return between(document, BEGINS, ENDS, f"\n{text}")


def facts(argv: Sequence[str]) -> list[tuple[str, str]]:
    """What a reader needs to know to judge the figures."""
    return [
        ("date", datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")),
        ("command", shlex.join(("python", "-m", "benchmarks.soak", *argv))),
        ("machine", f"{cpu_model()}, {os.cpu_count()} cores, {memory()} of memory"),
        ("system", f"Python {platform.python_version()}, Linux {platform.release()}"),
        ("load before", " ".join(f"{load:.2f}" for load in os.getloadavg())),
        ("checkout", commit(ROOT)),
        ("options", " ".join(OPTIONS)),
        ("of workers that are replaced", " ".join(RECYCLING)),
    ]


def summary(phase: Phase) -> str:
    """A sentence or two."""
    tally = phase.tally
    crossed = sum(counts[CROSSED] for counts in tally.ordinary.values())
    hostile = sum(counts.total() - counts["unexpected"] for counts in tally.hostile.values())
    text = (
        f"{tally.sent:,} requests of clients that behave, {tally.sent / phase.seconds:.0f} a second, and {hostile:,}"
        f" hostile connections. Lost: {_of(phase, 'lost')}, wrong: {_of(phase, 'wrong')}, crossed by the end of an idle"
        f" connection: {crossed}."
    )
    if phase.restarts:
        reasons = ", ".join(f"{count} by {reason}" for reason, count in phase.restarts.most_common())
        text += f" Workers replaced: {phase.restarts.total()} ({reasons})."
    return text


def _of(phase: Phase, outcome: str) -> int:
    return sum(counts[outcome] for counts in phase.tally.ordinary.values())


def requests_line(phase: Phase) -> str:
    """How many requests of each kind were answered rightly."""
    counted = sorted(((counts[RIGHT], kind) for kind, counts in phase.tally.ordinary.items()), reverse=True)
    return "Right: " + ", ".join(f"{kind} {count:,}" for count, kind in counted) + ".\n"


def faults_table(phase: Phase) -> str:
    """The kinds of requests of which not all were answered rightly; empty if all were."""
    rows = [
        (kind, *(f"{counts[outcome]:,}" for outcome in (RIGHT, "wrong", "lost", CROSSED)))
        for kind, counts in sorted(phase.tally.ordinary.items())
        if counts[RIGHT] < counts.total()
    ]
    return plain_table(("request", "right", "wrong", "lost", "crossed"), rows) if rows else ""


def hostile_table(phase: Phase) -> str:
    """What hostile clients met."""
    rows = []
    for kind, counts in sorted(phase.tally.hostile.items()):
        met = ", ".join(f"{outcome}: {count:,}" for outcome, count in counts.most_common() if outcome != "unexpected")
        rows.append((kind, met, str(counts["unexpected"])))
    return plain_table(("hostile client", "what it met", "unexpected"), rows)


def judged_table(phase: Phase) -> str:
    """What has to be flat."""
    rows = []
    for each in phase.judged:
        values = (each.median, each.highest, each.growth, each.bound)
        flat = "not judged" if each.too_short else "yes" if each.flat else "**no**"
        rows.append((each.what, *(f"{value / each.unit:,.1f}" for value in values), flat))
    return plain_table(("second half of the time", "median", "highest", "growth", "bound", "flat"), rows)


def probes_table(phase: Phase) -> str:
    """How long probes took."""
    rows = []
    for path in PROBES:
        took = sorted(phase.slowest(path))
        failed = sum(probe.path == path and probe.status != 200 for one in phase.samples for probe in one.probes)
        quantiles = (took[max(0, math.ceil(share * len(took)) - 1)] * 1000 for share in (0.5, 0.99, 1))
        rows.append((path, f"{len(took):,}", str(failed), *(f"{value:,.0f}" for value in quantiles)))
    return plain_table(("probe", "asked", "failed", "p50 ms", "p99 ms", "longest ms"), rows)


def plot(phases: Sequence[Phase]) -> str:
    """Memory, descriptors and threads of the first process and of each worker, and the slowest probe, over time."""
    charts = []
    for phase in phases:
        title = TITLES[phase.name]
        for what, value in (
            ("MiB resident", lambda process: process.memory / MEBIBYTE),
            ("descriptors", lambda process: process.descriptors),
            ("threads", lambda process: process.threads),
        ):
            charts.append(_chart(phase, f"{what}, {title}", what, value))
        slowest = _thinned([max(probe.seconds for probe in sample.probes) * 1000 for sample in phase.samples], max)
        first, *others = _names(phases)
        series = {first: slowest} | {name: [math.nan] * len(slowest) for name in others}
        labels = _labels(phase, len(slowest))
        charts.append(Chart(f"slowest probe, {title}", "minutes", "ms", labels, series, dots=False))
    return svg(charts)


def _names(phases: Sequence[Phase]) -> list[str]:
    """The lines of each chart: the process that was started, and the workers by their numbers."""
    # A worker that is replaced has its successor beside it, under another number.
    workers = min(phases[0].workers + 1, LINES - 1)
    return ["process"] if phases[0].workers == 1 else ["parent", *(f"worker {number + 1}" for number in range(workers))]


def _chart(phase: Phase, title: str, unit: str, value: Callable[..., float]) -> Chart:
    series = {}
    for name in _names([phase]):
        values = [_newest(sample, name, phase.first, value) for sample in phase.samples]
        series[name] = _thinned(values, median)
    return Chart(title, "minutes", unit, _labels(phase, len(next(iter(series.values())))), series, dots=False)


def _newest(sample: Sample, name: str, first: int, value: Callable[..., float]) -> float:
    """Of the newest process of this name: a worker that ends has a successor beside it."""
    if name in ("process", "parent"):
        return value(sample.processes[first]) if first in sample.processes else math.nan
    found = [pid for pid, process in sample.processes.items() if named(process.title).startswith(name)]
    return value(sample.processes[max(found)]) if found else math.nan


def _thinned(values: Sequence[float], together: Callable[[list[float]], float]) -> list[float]:
    size = max(1, math.ceil(len(values) / POINTS))
    groups = ([value for value in values[at : at + size] if math.isfinite(value)] for at in range(0, len(values), size))
    return [together(group) if group else math.nan for group in groups]


def _labels(phase: Phase, number: int) -> list[str]:
    """Five labels, in minutes, at their places."""
    marks = {round(share * (number - 1) / 4): f"{share * phase.seconds / 240:.3g}" for share in range(5)}
    return [marks.get(each, "") for each in range(number)]
