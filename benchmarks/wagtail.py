"""Wagtail's start project behind each server: rate, p99, time of a start, memory.

    python -m benchmarks.wagtail --output build/benchmarks/wagtail.md
    python -m benchmarks.wagtail --layout two-workers

The project is what `wagtail start` makes, with the settings of its template for production: cached templates, static
files with hashes in their names, and here PostgreSQL with connections that stay. Ten pages are added. The options are
those of `python -m benchmarks`. After the rounds each server is started alone, driven, and its memory read.
"""

from __future__ import annotations

import argparse
import logging
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.__main__ import able, asked, line_up, minutes, parser
from benchmarks.environments import InstallError
from benchmarks.machine import describe
from benchmarks.postgresql import PostgresqlError
from benchmarks.processes import pss
from benchmarks.projects import WAGTAIL
from benchmarks.ratios import middle, paired
from benchmarks.report import Report, Table, number_cell, workload_table
from benchmarks.rounds import Measured, drive, in_turn, measure
from benchmarks.servers import Server
from benchmarks.serving import RefusedError, Stage, serving
from benchmarks.staging import check_machine, staged
from benchmarks.workloads import WORKLOADS, Workload

NAMES = tuple(workload.name for workload in WORKLOADS if workload.project is WAGTAIL)
COMPARED = (
    *("granian-8", "granian-1", "granian-2x4", "granian-2x1", "gunicorn", "uwsgi", "uwsgi-keepalive"),
    *("waitress", "hurricane", "twisted"),
)

logger = logging.getLogger("benchmarks")


@dataclass(frozen=True)
class Start:
    """One start of a server that had the machine to itself."""

    seconds: float
    """From its command to the first page."""
    memory: float
    """MiB of its processes after it was driven, by their proportional set size (PSS)."""


def start(stage: Stage, server: Server, workload: Workload, reference: Server) -> Start:
    """Start a server, drive it, and end it. Raises `RefusedError`."""
    with serving(stage, server, workload, reference=reference) as running:
        drive(stage, running, workload)
        return Start(running.seconds, pss(running.tree.pid))


def measure_starts(stage: Stage, servers: Sequence[Server], workload: Workload) -> dict[str, list[Start]]:
    """All starts by server, in the order of the rounds; those of a server that refuses once are left out."""
    found: dict[str, list[Start]] = {server.name: [] for server in servers}
    for number in range(stage.rounds):
        for server in in_turn([server for server in servers if server.name in found], number):
            try:
                one = start(stage, server, workload, servers[0])
            except RefusedError as error:
                logger.warning("%s takes no part in starts: %s", server.name, error)
                del found[server.name]
            else:
                found[server.name].append(one)
                logger.info("start %d of %d, %s: %.2f s", number + 1, stage.rounds, server.name, one.seconds)
    return found


def starts_table(found: dict[str, list[Start]], subject: str) -> Table:
    """A row for each server: medians, and the differences and ratios to the subject in the same rounds."""
    ours = found.get(subject)
    rows = []
    for name, starts in found.items():
        later = ratio = ""
        if ours is not None and name != subject:
            later = f"{middle([one.seconds - own.seconds for one, own in zip(starts, ours, strict=True)]):+.2f}"
            ratio = f"{paired([own.memory for own in ours], [one.memory for one in starts]).median:.2f}"
        seconds, memory = middle([one.seconds for one in starts]), middle([one.memory for one in starts])
        rows.append((name, f"{seconds:.2f}", later, f"{memory:.0f}", ratio))
    return Table(
        "Starts and memory",
        ("server", "to the first page, s", f"later than {subject}, s", "MiB after load", f"{subject} / server"),
        rows,
        ("Each server started alone. Memory is the proportional set size (PSS) of all its processes together.",),
    )


def short_table(runs: Sequence[Measured], found: dict[str, list[Start]], subject: str) -> Table:
    """A row for each server: rate and p99 on each workload, start and memory; rates beside the subject's."""

    def cells(name: str) -> Iterator[str]:
        for one in runs:
            samples, ours = one.samples.get(name, []), one.samples.get(subject, [])
            rates = [sample.rate for sample in samples]
            compared = samples and ours and name != subject
            yield number_cell(middle(rates), ",.0f") if samples else ""
            yield f"{paired([sample.rate for sample in ours], rates).median:.2f}" if compared else ""
            yield number_cell(middle([sample.p99 * 1e3 for sample in samples]), ",.0f") if samples else ""
        starts = found.get(name)
        yield f"{middle([one.seconds for one in starts]):.2f}" if starts else ""
        yield f"{middle([one.memory for one in starts]):.0f}" if starts else ""

    names = dict.fromkeys([subject, *(name for one in runs for name in one.samples)])
    columns = [
        column for one in runs for column in (f"{one.workload.name}, requests/s", f"{subject} / server", "p99 ms")
    ]
    return Table(
        "In short",
        ("server", *columns, "to the first page, s", "MiB after load"),
        [(name, *cells(name)) for name in names],
    )


def options() -> argparse.ArgumentParser:
    """Those of `python -m benchmarks`, with other defaults."""
    made = parser()
    made.prog = "python -m benchmarks.wagtail"
    made.description = "Compare twistserve with other servers on Wagtail's start project; twelve minutes."
    made.set_defaults(workloads=NAMES, servers=COMPARED, rounds=3, seconds=2)
    return made


def main(argv: Sequence[str]) -> None:
    """Measure, and print tables."""
    arguments = options().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("benchmarks: terminated"))
    workloads = asked(arguments)
    check_machine(workloads)
    command = shlex.join(("python", "-m", "benchmarks.wagtail", *argv))
    try:
        servers = line_up(arguments, arguments.cache.absolute() / "environments")
        with staged(arguments, servers[0], workloads) as stage:
            facts = describe(command, servers, stage.scratch, postgresql=stage.postgresql is not None)
            starting = len(servers) * stage.rounds * (stage.seconds + 5) // 60
            logger.info("about %d minutes", minutes(arguments, servers) + starting)
            runs = [measure(stage, one, able(servers, one), floor=arguments.floor) for one in workloads]
            starts = measure_starts(stage, servers, workloads[0])
    except (InstallError, RefusedError, PostgresqlError) as error:
        raise SystemExit(f"benchmarks: {error}") from error
    subject = servers[0].name
    tables = [short_table(runs, starts, subject), *(workload_table(one, subject) for one in runs)]
    report = Report(facts, [*tables, starts_table(starts, subject)], arguments.layout)
    sys.stdout.write(report.text())
    if arguments.output:
        arguments.output.write_text(report.markdown())


if __name__ == "__main__":
    main(sys.argv[1:])
