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
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.__main__ import asked, line_up, minutes, parser, run_workloads
from benchmarks.environments import InstallError
from benchmarks.machine import describe
from benchmarks.postgresql import PostgresqlError
from benchmarks.processes import pss
from benchmarks.projects import WAGTAIL
from benchmarks.ratios import middle, paired
from benchmarks.report import Report, Table
from benchmarks.rounds import drive, in_turn
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
            tables = run_workloads(arguments, stage, servers)
            tables.append(starts_table(measure_starts(stage, servers, workloads[0]), servers[0].name))
    except (InstallError, RefusedError, PostgresqlError) as error:
        raise SystemExit(f"benchmarks: {error}") from error
    report = Report(facts, tables, arguments.layout)
    sys.stdout.write(report.text())
    if arguments.output:
        arguments.output.write_text(report.markdown())


if __name__ == "__main__":
    main(sys.argv[1:])
