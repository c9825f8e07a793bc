"""``python -m benchmarks.threads``: rate and p99 by the number of request threads, as Markdown and as a plot.

twistserve and Granian run a process for each number of threads, and all of them are driven in interleaved rounds, in
one of the layouts of `python -m benchmarks`. Repeat `--twistserve NAME=BIN` to compare several twistserves, such as two
with different rules for threads; ratios are those of the last.
"""

from __future__ import annotations

import argparse
import logging
import math
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

from benchmarks.arguments import add_measures, file, numbers
from benchmarks.environments import ROOT, InstallError
from benchmarks.machine import describe
from benchmarks.plot import DASHES, Chart, svg
from benchmarks.postgresql import PostgresqlError
from benchmarks.ratios import middle, paired
from benchmarks.report import facts_list, number_cell, plain_table
from benchmarks.rounds import Measured, Sample, measure
from benchmarks.servers import PEERS, Server
from benchmarks.serving import RefusedError
from benchmarks.staging import check_machine, needed, our_servers, staged
from benchmarks.workloads import WORKLOADS

THREADS = "1,2,4,8,16,32"
PLOT = ROOT / "docs" / "threads.svg"
GRANIAN = "Granian"

Quantity = Callable[[Sample], float]


def rate(sample: Sample) -> float:
    """Responses a second."""
    return sample.rate


def p99(sample: Sample) -> float:
    """Milliseconds."""
    return sample.p99 * 1e3


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m benchmarks.threads",
        description="Rate and p99 by the number of request threads. Tables go to standard output, as Markdown.",
    )
    add_measures(made, workloads=("page", "pgpage"))
    made.add_argument(
        "--threads", type=numbers, default=THREADS, metavar="N,M", help="numbers of threads (default: %(default)s)"
    )
    made.add_argument(
        "--plot", type=file, default=PLOT, metavar="FILE.svg", help="file for the plot (default: docs/threads.svg)"
    )
    return made


def line_up(arguments: argparse.Namespace) -> list[Server]:
    """Each twistserve, the subject of the comparison first, then Granian. Raises `InstallError`."""
    environments = arguments.cache.absolute() / "environments"
    workloads = [one for one in WORKLOADS if one.name in arguments.workloads]
    *others, subject = our_servers(arguments, environments, workloads)
    if len(others) + 2 > len(DASHES):
        raise InstallError(f"the plot shows {len(DASHES)} servers at most: give fewer of --twistserve")
    if any(option.startswith("--threads") for server in (subject, *others) for option in server.options):
        raise InstallError("--threads of a twistserve would hold for every number of threads: leave it out")
    peer = next(peer for peer in PEERS if peer.name == "granian-8")
    granian = replace(peer.install(environments, subject.bin, arguments.layout, needed(workloads)), name=GRANIAN)
    return [subject, *others, granian]


def with_threads(server: Server, threads: int) -> Server:
    """The same server with so many threads."""
    return replace(server, name=f"{server.name} x {threads}", threads=threads)


def median(measured: Measured, name: str, number: int, quantity: Quantity) -> float:
    """The median of a quantity of the server with so many threads; NaN if it took no part."""
    samples = measured.samples.get(f"{name} x {number}")
    return middle([quantity(sample) for sample in samples]) if samples else math.nan


def threads_table(measured: Measured, names: Sequence[str], threads: Sequence[int]) -> str:
    """A row for each number of threads: rates, ratios of the first server's to the others', and p99."""
    subject, *others = names
    rows = []
    for number in threads:
        rows.append(
            (
                str(number),
                *(number_cell(median(measured, name, number, rate), ",.0f") for name in names),
                *(_ratio(measured, f"{subject} x {number}", f"{name} x {number}") for name in others),
                *(number_cell(median(measured, name, number, p99), ",.1f") for name in names),
            )
        )
    columns = (
        *("threads", *(f"{name}, requests/s" for name in names)),
        *(f"{subject} / {name}" for name in others),
        *(f"{name}, p99 ms" for name in names),
    )
    return plain_table(columns, rows)


def _ratio(measured: Measured, ours: str, theirs: str) -> str:
    if ours not in measured.samples or theirs not in measured.samples:
        return "-"
    rates = ([rate(sample) for sample in measured.samples[name]] for name in (ours, theirs))
    return f"{paired(*rates).median:.2f}"


def charts(runs: Sequence[Measured], names: Sequence[str], threads: Sequence[int]) -> list[Chart]:
    """Rate and p99 of each workload."""
    shown: tuple[tuple[str, Quantity], ...] = (("requests/s", rate), ("p99, ms", p99))
    return [
        Chart(
            title=f"{measured.workload.title.partition(':')[0]}: {word}",
            x_title="threads",
            y_title=word,
            labels=[str(number) for number in threads],
            series={name: [median(measured, name, number, quantity) for number in threads] for name in names},
        )
        for measured in runs
        for word, quantity in shown
    ]


def main(argv: Sequence[str]) -> None:
    """Measure, print and plot."""
    arguments = parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("benchmarks: terminated"))
    workloads = [one for one in WORKLOADS if one.name in arguments.workloads]
    check_machine(workloads)
    try:
        servers = line_up(arguments)
        each = [with_threads(server, number) for server in servers for number in arguments.threads]
        with staged(arguments, servers[0], workloads) as stage:
            command = shlex.join(("python", "-m", "benchmarks.threads", *argv))
            noted = [replace(server, note="and with each other number of threads") for server in servers]
            facts = describe(command, noted, stage.scratch, postgresql=stage.postgresql is not None)
            runs = [measure(stage, workload, each, floor=False) for workload in workloads]
    except (InstallError, RefusedError, PostgresqlError) as error:
        raise SystemExit(f"benchmarks: {error}") from error
    names = [server.name for server in servers]
    sys.stdout.write(f"{arguments.layout.description}\n\n")
    for measured in runs:
        sys.stdout.write(f"{measured.workload.title}\n\n{threads_table(measured, names, arguments.threads)}\n")
        sys.stdout.writelines(f"{name} took no part: {why}\n\n" for name, why in measured.absent.items())
    sys.stdout.write(facts_list(facts))
    arguments.plot.write_text(svg(charts(runs, names, arguments.threads)))


if __name__ == "__main__":
    main(sys.argv[1:])
