"""Rates of whole pages, in interleaved rounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.compare.contenders import Contender
from benchmarks.compare.group import Column, Found
from benchmarks.ratios import middle, paired
from benchmarks.report import error_cell, number_cell
from benchmarks.rounds import Measured, measure
from benchmarks.serving import Stage
from benchmarks.workloads import WORKLOADS, Workload

NAMES = ("hello", "page", "pgpage")
SUBJECT = "twistserve"


@dataclass(frozen=True)
class Rates:
    """A group that is measured with all servers in turn."""

    name = "rates"
    title = "Rates"
    how = """wrk with 32 connections on the second core, all servers in turn in each round. For twistserve the table
    has the requests per second, for the others the median of the ratios to it; p99 is a median too. `hello` is 13
    bytes, `page` a template of 50 rows, `pgpage` four PostgreSQL queries and a template of 20 rows. Connections to
    the database are kept, except with Daphne, because Django advises against that under ASGI. Access logs have
    their defaults: on with twistserve, uWSGI, Hurricane, Daphne and hendrix, off with gunicorn and Granian."""
    columns = tuple(
        column
        for name in NAMES
        for column in (Column(f"`{name}`", f"Rate of `{name}`, relative to twistserve"), Column("p99"))
    )

    def run(self, stage: Stage, contenders: Sequence[Contender]) -> dict[str, Found]:
        """Measure each workload that the stage has a database for."""
        workloads = [one for one in WORKLOADS if one.name in NAMES and (stage.postgresql or not one.postgresql)]
        return cells(workloads, [measured(stage, one, contenders) for one in workloads], contenders)


def measured(stage: Stage, workload: Workload, contenders: Sequence[Contender]) -> Measured:
    """All rounds of a workload."""
    return measure(stage, workload, [contender.server for contender in contenders], floor=False)


def cells(workloads: Sequence[Workload], runs: Sequence[Measured], contenders: Sequence[Contender]) -> dict[str, Found]:
    """What to show of each server."""
    by_name = {workload.name: run for workload, run in zip(workloads, runs, strict=True)}
    found = {}
    for contender in contenders:
        shown: list[str] = []
        details: list[str] = []
        for name in NAMES:
            samples = by_name[name].samples if name in by_name else {}
            ours, theirs = samples.get(SUBJECT), samples.get(contender.name)
            if theirs is None:
                shown += ["-", "-"]
                continue
            rates = [sample.rate for sample in theirs]
            ratio = f"{middle(rates):,.0f}/s"
            if contender.name != SUBJECT and ours is not None:
                ratio = number_cell(paired(rates, [sample.rate for sample in ours]).median, ".2f")
            shown += [ratio, f"{number_cell(middle([sample.p99 * 1000 for sample in theirs]), '.1f')} ms"]
            if any(sample.errors for sample in theirs):
                details.append(f"errors with {name}: {error_cell(theirs)}")
        found[contender.name] = Found(tuple(shown), tuple(details))
    return found


GROUP = Rates()
