"""``python -m benchmarks.autoscale``: rules of an autoscaler compared by simulation, as Markdown, and plots."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.autoscale import measure, validate
from benchmarks.autoscale.arrivals import SHOWN
from benchmarks.autoscale.comparison import SEEDS, Case, Run, best, by_case, cases, runs, table
from benchmarks.autoscale.figures import charts
from benchmarks.autoscale.measured import MIXES, SLOW, THREADS
from benchmarks.autoscale.rules import CPU, RECOMMENDED, RULES
from benchmarks.autoscale.simulation import USUAL, simulate
from benchmarks.plot import svg

PLOTS = {"computing": ("PostgreSQL", "full nodes"), "waiting": ("a tenth slow", "nodes with room")}
"""The plots, and the case that each shows."""
CONDITIONS = {
    "as above": USUAL,
    "a node has to start: 60 s more until a pod serves": replace(USUAL, start=USUAL.start + 60),
    "a scrape every 30 s": replace(USUAL, scrape=30),
    "readiness does not depend on the queue": replace(USUAL, ready_queue=1_000_000),
}


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m benchmarks.autoscale",
        description="Compare rules of an autoscaler by simulation. Tables go to standard output, as Markdown.",
    )
    made.add_argument(
        "--threads", type=int, default=THREADS, metavar="N", help="request threads of a pod (default: %(default)s)"
    )
    made.add_argument("--plot", type=Path, metavar="DIR", help="only draw the plots there: autoscale-*.svg")
    made.add_argument("--measure", type=int, metavar="ROUNDS", help="only measure the constants of measured.py; root")
    made.add_argument("--validate", type=int, metavar="ROUNDS", help="only compare a simulated pod with a server")
    return made


def main(argv: Sequence[str]) -> None:
    """Simulate and print, or do what is asked instead."""
    arguments = parser().parse_args(argv)
    if arguments.measure:
        measure.main(arguments.measure)
    elif arguments.validate:
        sys.stdout.write(validate.main(arguments.validate))
    elif arguments.plot and not arguments.plot.is_dir():
        raise SystemExit(f"benchmarks: --plot: {arguments.plot} is not a directory")
    elif arguments.plot:
        plot(arguments.plot, cases(arguments.threads))
    else:
        compare(cases(arguments.threads))


def compare(found: Sequence[Case]) -> None:
    """Print the tables, and the rule that wins."""
    began = time.monotonic()
    results = {rule: runs(rule, found) for rule in RULES}
    sys.stdout.write(table({rule.name: each for rule, each in results.items()}) + "\n")
    won = best(results)
    sys.stdout.write(
        f"Of the rules that keep the goal, with the fewest pod-hours: {won.name if won else 'none does'}\n\n"
    )
    shown = {rule.name: results[rule] for rule in (CPU, RECOMMENDED)}
    sys.stdout.write(by_case(shown, lambda one: one.place) + "\n")
    computing = {rule: [one for one in each if not waits(one)] for rule, each in results.items()}
    shown = {rule.name: computing[rule] for rule in (replace(CPU, target=0.5), CPU, RECOMMENDED)}
    sys.stdout.write(
        "Requests that compute:\n\n" + by_case(shown, lambda one: f"{one.scenario}, {one.case.nodes}") + "\n"
    )
    for name, conditions in CONDITIONS.items():
        others = {rule.name: runs(rule, found, conditions, SEEDS[:1]) for rule in (CPU, RECOMMENDED)}
        sys.stdout.write(f"{name}:\n\n{table(others)}\n")
    sys.stderr.write(f"{time.monotonic() - began:.0f} s\n")


def waits(one: Run) -> bool:
    """Whether it is of requests that wait for a slow API."""
    return SLOW in MIXES[one.case.mix]


def plot(directory: Path, found: Sequence[Case]) -> None:
    """Draw each plot."""
    for name, (mix, nodes) in PLOTS.items():
        [case] = (case for case in found if (case.mix, case.nodes) == (mix, nodes))
        outcomes = {rule.name: simulate(rule, SHOWN, case.profile, case.whole) for rule in (CPU, RECOMMENDED)}
        (directory / f"autoscale-{name}.svg").write_text(svg(charts(outcomes, case)))


if __name__ == "__main__":
    main(sys.argv[1:])
