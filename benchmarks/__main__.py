"""The command line: `python -m benchmarks --help`."""

from __future__ import annotations

import argparse
import logging
import math
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.arguments import add_measures, chosen, file, positive
from benchmarks.environments import InstallError
from benchmarks.idle import measure_idle, raise_file_limit
from benchmarks.layouts import Layout
from benchmarks.machine import describe
from benchmarks.postgresql import PostgresqlError
from benchmarks.projects import BENCH
from benchmarks.report import Report, Table, idle_table, summary_table, targets_table, workload_table
from benchmarks.rounds import WARM_UP, Measured, measure
from benchmarks.servers import PEERS, VARIANTS, Server, variant
from benchmarks.serving import RefusedError, Stage
from benchmarks.staging import check_machine, needed, our_servers, staged
from benchmarks.targets import compare
from benchmarks.workloads import WORKLOADS, Workload

logger = logging.getLogger("benchmarks")

WORKLOAD_NAMES = tuple(workload.name for workload in WORKLOADS if workload.project is BENCH)
"""The workloads that are measured unless others are asked for: those of Wagtail need other environments."""
PEER_NAMES = (*VARIANTS, *(peer.name for peer in PEERS))


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Compare twistserve with other servers on this machine. The table goes to standard output.",
    )
    add_measures(made, workloads=WORKLOAD_NAMES)
    made.add_argument(
        "--servers",
        type=lambda text: chosen(text, PEER_NAMES),
        default=PEER_NAMES,
        metavar="X,Y",
        help=f"what to compare with: some of {', '.join(PEER_NAMES)} (default: all); 'granian' stands for all that"
        f" begin with it, '' for none; quiet is twistserve without access log and metrics, uncounted without metrics",
    )
    made.add_argument("--output", type=file, metavar="FILE.md", help="write the report there too, as Markdown")
    made.add_argument("--floor", action="store_true", help="measure Django called without a server too")
    made.add_argument(
        "--idle", type=positive, metavar="N", help="instead: what N idle keep-alive connections cost twistserve"
    )
    return made


def line_up(arguments: argparse.Namespace, environments: Path) -> list[Server]:
    """All servers, installed, the subject of the comparison first. Raises `InstallError` only for a twistserve."""
    chosen_layout: Layout = arguments.layout
    ours = our_servers(arguments, environments, asked(arguments))
    subject = ours[-1]
    servers = [subject, *ours[:-1]]
    if arguments.idle:
        return servers
    variants = (variant(subject, name) for name in VARIANTS if name in arguments.servers)
    servers += [made for made in variants if made is not None]
    for peer in PEERS:
        if peer.name in arguments.servers and chosen_layout in peer.layouts:
            try:
                servers.append(peer.install(environments, subject.bin, chosen_layout, needed(asked(arguments))))
            except InstallError as error:
                logger.warning("%s takes no part: it cannot be installed: %s", peer.name, error)
    return servers


def asked(arguments: argparse.Namespace) -> list[Workload]:
    """The workloads of a run."""
    return [] if arguments.idle else [one for one in WORKLOADS if one.name in arguments.workloads]


def able(servers: Sequence[Server], workload: Workload) -> list[Server]:
    """The servers that can serve this workload."""
    return [server for server in servers if (server.files if workload.static else server.django)]


def run_workloads(arguments: argparse.Namespace, stage: Stage, servers: list[Server]) -> list[Table]:
    subject = servers[0].name
    runs: list[Measured] = []
    for workload in asked(arguments):
        floor = arguments.floor and not workload.static
        runs.append(measure(stage, workload, able(servers, workload), floor=floor))
    tables = [summary_table(runs, subject), *(workload_table(measured, subject) for measured in runs)]
    compared = compare(runs, subject, arguments.layout)
    return [*tables, targets_table(compared, subject)] if compared else tables


def run_idle(arguments: argparse.Namespace, stage: Stage, servers: list[Server]) -> list[Table]:
    raise_file_limit(arguments.idle)
    return [idle_table({one.name: measure_idle(stage, one, arguments.idle) for one in servers}, arguments.idle)]


def main(argv: Sequence[str]) -> None:
    arguments = parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("benchmarks: terminated"))
    check_machine(asked(arguments))
    command = shlex.join(("python", "-m", "benchmarks", *argv))
    try:
        servers = line_up(arguments, arguments.cache.absolute() / "environments")
        with staged(arguments, servers[0], asked(arguments)) as stage:
            facts = describe(command, servers, stage.scratch, postgresql=stage.postgresql is not None)
            logger.info("about %d minutes", minutes(arguments, servers))
            tables = (run_idle if arguments.idle else run_workloads)(arguments, stage, servers)
    except (InstallError, RefusedError, PostgresqlError) as error:
        raise SystemExit(f"benchmarks: {error}") from error
    report = Report(facts, tables, arguments.layout)
    sys.stdout.write(report.text())
    if arguments.output:
        arguments.output.write_text(report.markdown())


def minutes(arguments: argparse.Namespace, servers: Sequence[Server]) -> int:
    """An estimate: the rounds, and 3 seconds for each start of a server."""
    seconds: int
    if arguments.idle:
        seconds = len(servers) * (3 + arguments.rounds * (arguments.seconds + WARM_UP) * 2)
    else:
        seconds = sum(
            len(able(servers, one)) * (3 + arguments.rounds * (arguments.seconds * one.longer + WARM_UP))
            for one in asked(arguments)
        )
    return math.ceil(seconds / 60)


if __name__ == "__main__":
    main(sys.argv[1:])
