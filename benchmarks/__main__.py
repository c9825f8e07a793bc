"""The command line: `python -m benchmarks --help`."""

from __future__ import annotations

import argparse
import logging
import math
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks.arguments import chosen, existing, layout, positive
from benchmarks.environments import ROOT, InstallError, packages
from benchmarks.idle import measure_idle, raise_file_limit
from benchmarks.layouts import LAYOUTS, ONE_CORE, Layout
from benchmarks.machine import describe
from benchmarks.postgresql import PostgresqlError, postgresql
from benchmarks.processes import cpu_list
from benchmarks.report import Report, Table, idle_table, summary_table, targets_table, workload_table
from benchmarks.rounds import WARM_UP, Measured, measure
from benchmarks.servers import PEERS, VARIANTS, Server, checkout, variant
from benchmarks.serving import RefusedError, Stage
from benchmarks.targets import compare
from benchmarks.workloads import WORKLOADS, Workload

logger = logging.getLogger("benchmarks")

WORKLOAD_NAMES = tuple(workload.name for workload in WORKLOADS)
PEER_NAMES = (*VARIANTS, *(peer.name for peer in PEERS))
PROGRAMS = {"wrk": "wrk", "nginx": "nginx-light", "taskset": "util-linux", "setpriv": "util-linux"}


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Compare twistserve with other servers on this machine. The table goes to standard output.",
    )
    made.add_argument("--rounds", type=positive, default=5, metavar="N", help="interleaved rounds (default: 5)")
    made.add_argument(
        "--seconds", type=positive, default=3, metavar="S", help="seconds a server is driven in each round (default: 3)"
    )
    made.add_argument(
        "--workloads",
        type=lambda text: chosen(text, WORKLOAD_NAMES),
        default=WORKLOAD_NAMES,
        metavar="A,B",
        help=f"some of {', '.join(WORKLOAD_NAMES)} (default: all)",
    )
    made.add_argument(
        "--servers",
        type=lambda text: chosen(text, PEER_NAMES),
        default=PEER_NAMES,
        metavar="X,Y",
        help=f"what to compare with: some of {', '.join(PEER_NAMES)} (default: all); 'granian' stands for all that"
        f" begin with it, '' for none; quiet is twistserve without access log and metrics, uncounted without metrics",
    )
    made.add_argument(
        "--layout",
        type=layout,
        default=ONE_CORE,
        metavar="LAYOUT",
        help=f"which cores and how many workers: {', '.join(LAYOUTS)} (default: {ONE_CORE.name})",
    )
    made.add_argument("--connections", type=positive, default=32, metavar="N", help="of wrk (default: 32)")
    made.add_argument("--output", type=Path, metavar="FILE.md", help="write the report there too, as Markdown")
    made.add_argument(
        "--twistserve",
        type=existing,
        action="append",
        default=[],
        metavar="[NAME=]BIN[,OPTION...]",
        help="the bin directory of an environment that has twistserve (default: one made with this checkout), and"
        " options such as in NAME=BIN,--threads=4; repeat it, with names, to compare several: ratios are those of the"
        " last",
    )
    made.add_argument("--floor", action="store_true", help="measure Django called without a server too")
    made.add_argument(
        "--idle", type=positive, metavar="N", help="instead: what N idle keep-alive connections cost twistserve"
    )
    made.add_argument(
        "--cache",
        type=Path,
        default=ROOT / "build" / "benchmarks",
        metavar="DIR",
        help="environments and data, used again; delete it for newer releases (default: build/benchmarks)",
    )
    return made


def line_up(arguments: argparse.Namespace, environments: Path) -> list[Server]:
    """All servers, installed; the one that is compared comes first. Raises `InstallError` for one of ours only."""
    chosen_layout: Layout = arguments.layout
    ours = our_servers(arguments, environments, chosen_layout)
    subject = ours[-1]
    servers = [subject, *ours[:-1]]
    if arguments.idle:
        return servers
    variants = (variant(subject, name) for name in VARIANTS if name in arguments.servers)
    servers += [made for made in variants if made is not None]
    for peer in PEERS:
        if peer.name in arguments.servers and chosen_layout in peer.layouts:
            try:
                servers.append(peer.install(environments, subject.bin, chosen_layout))
            except InstallError as error:
                logger.warning("%s takes no part: it cannot be installed: %s", peer.name, error)
    return servers


def our_servers(arguments: argparse.Namespace, environments: Path, in_layout: Layout) -> list[Server]:
    """Each twistserve, the one that is compared last. Raises `InstallError`."""
    ours: list[Server] = arguments.twistserve or [checkout(environments)]
    if any(workload.postgresql for workload in asked(arguments)):
        for server in ours:
            if "psycopg" not in packages(server.bin):
                raise InstallError(f"{server.bin} has no psycopg: {server.bin / 'pip'} install 'psycopg[binary]'")
    return [replace(server, workers=in_layout.workers) for server in ours]


def asked(arguments: argparse.Namespace) -> list[Workload]:
    """The workloads of a run."""
    return [] if arguments.idle else [one for one in WORKLOADS if one.name in arguments.workloads]


def able(servers: Sequence[Server], workload: Workload) -> list[Server]:
    """Those that serve such a workload by themselves."""
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


@contextmanager
def staged(arguments: argparse.Namespace, server: Server, workloads: Sequence[Workload]) -> Iterator[Stage]:
    """A stage with the databases these workloads need, written by this server's Django; the block is on wrk's cores.

    Raises `PostgresqlError` and `RefusedError`.
    """
    stage = make_stage(arguments)
    os.sched_setaffinity(0, stage.load_cores)
    with ExitStack() as stack:
        if any(workload.postgresql for workload in workloads):
            cache = arguments.cache.absolute()
            stage = replace(stage, postgresql=stack.enter_context(postgresql(cache, cpu_list(stage.load_cores))))
        stage.prepare(server)
        yield stage


def make_stage(arguments: argparse.Namespace) -> Stage:
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("benchmarks: two cores are needed, one for the servers and one for wrk")
    missing = {
        PROGRAMS[program] for program in PROGRAMS if not shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")
    }
    if missing:
        raise SystemExit(f"benchmarks: programs are missing: apt-get install {' '.join(sorted(missing))}")
    cache = arguments.cache.absolute()
    return Stage(
        data=cache / "data",
        scratch=cache / "scratch",
        server_cores=arguments.layout.server_cores(cores),
        load_cores=arguments.layout.load_cores(cores),
        connections=arguments.connections,
        seconds=arguments.seconds,
        rounds=arguments.rounds,
    )


def main(argv: Sequence[str]) -> None:
    arguments = parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("benchmarks: terminated"))
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
    """What the rounds take, and 3 seconds for each start of a server."""
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
