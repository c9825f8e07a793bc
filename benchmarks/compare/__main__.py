"""The command line: `python -m benchmarks.compare --help`."""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from benchmarks.arguments import add_twistserve, chosen, file, positive
from benchmarks.compare import contenders, groups
from benchmarks.compare.document import measured, replaced
from benchmarks.compare.results import Described, Results
from benchmarks.environments import ROOT, InstallError, packages
from benchmarks.idle import raise_file_limit
from benchmarks.layouts import ONE_CORE
from benchmarks.machine import describe
from benchmarks.postgresql import PostgresqlError, postgresql
from benchmarks.processes import cpu_list
from benchmarks.servers import Server, checkout
from benchmarks.serving import RefusedError, Stage
from benchmarks.staging import check_machine
from benchmarks.workloads import WORKLOADS

FACTS = ("machine", "system", "load before", "checkout", "Python", "Django", "wrk", "PostgreSQL")
"""What is said about a run beside the servers."""
OPEN_FILES = 4096
"""For the slow clients of all servers."""

logger = logging.getLogger("benchmarks")


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m benchmarks.compare",
        description="What an operator needs, tried with each server, in 15 minutes. The tables go to standard output.",
    )
    written = "; '' writes what earlier runs have found"
    for option, names, more in (("--servers", contenders.NAMES, ""), ("--rows", groups.NAMES, written)):
        made.add_argument(
            option,
            type=partial(chosen, known=names),
            default=names,
            metavar="A,B",
            help=f"some of {', '.join(names)} (default: all){more}",
        )
    made.add_argument("--rounds", type=positive, default=3, metavar="N", help="rounds of the rates (default: 3)")
    made.add_argument("--seconds", type=positive, default=2, metavar="S", help="of a server in a round (default: 2)")
    made.add_argument(
        "--output", type=file, metavar="FILE.md", help="put the tables there, in place of those between its markers"
    )
    made.add_argument(
        "--merge", action="store_true", help="keep what earlier runs have found of other rows and servers"
    )
    add_twistserve(made)
    made.add_argument("--cache", type=Path, default=ROOT / "build" / "benchmarks", metavar="DIR")
    return made


@contextmanager
def staged(arguments: argparse.Namespace, ours: Server) -> Iterator[Stage]:
    """A stage with its databases; PostgreSQL runs if rates are measured. Raises what these raise."""
    cores, cache = sorted(os.sched_getaffinity(0)), arguments.cache.absolute()
    stage = Stage(
        data=cache / "data",
        scratch=cache / "scratch",
        server_cores=ONE_CORE.server_cores(cores),
        load_cores=ONE_CORE.load_cores(cores),
        connections=32,
        seconds=arguments.seconds,
        rounds=arguments.rounds,
    )
    os.sched_setaffinity(0, stage.load_cores)
    if "rates" not in arguments.rows:
        stage.prepare(ours)
        yield stage
        return
    with postgresql(cache, cpu_list(stage.load_cores)) as database:
        stage = replace(stage, postgresql=database)
        stage.prepare(ours)
        yield stage


def run(arguments: argparse.Namespace, command: str, file: Path) -> Results:
    """Try everything that is asked for; each group is saved when it is done."""
    if not arguments.rows:
        return Results.load(file)
    ours = (arguments.twistserve or [checkout(arguments.cache.absolute() / "environments")])[-1]
    # Ratios are to twistserve.
    names = arguments.servers if "rates" not in arguments.rows else ("twistserve", *arguments.servers)
    servers = contenders.install(names, arguments.cache.absolute() / "environments", ours)
    results = Results.load(file) if arguments.merge else Results()
    order = {name: results.servers.get(name) for name in contenders.NAMES}
    with staged(arguments, ours) as stage:
        for one in servers:
            order[one.name] = Described(one.plan.title, one.version, one.shown(stage.scratch))
        results.servers = {name: server for name, server in order.items() if server is not None}
        described = dict(describe(command, [one.server for one in servers], stage.scratch, postgresql=True))
        known = {**described, **{name.title(): version for name, version in packages(ours.bin).items()}}
        results.facts = {"command": f"`{command}`", **{word: known[word] for word in FACTS if word in known}}
        for group in groups.GROUPS:
            if group.name in arguments.rows:
                began = time.monotonic()
                results.add(group.name, datetime.now(UTC).strftime("%Y-%m-%d"), group.run(stage, servers))
                results.save(file)
                logger.info("%s took %.0f s", group.name, time.monotonic() - began)
    return results


def main(argv: Sequence[str]) -> None:
    """Measure, and write."""
    arguments = parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("benchmarks: terminated"))
    check_machine([one for one in WORKLOADS if "rates" in arguments.rows and one.postgresql])
    raise_file_limit(OPEN_FILES)
    file = arguments.cache.absolute() / "compare.json"
    try:
        results = run(arguments, shlex.join(("python", "-m", "benchmarks.compare", *argv)), file)
        text = measured(results)
        if arguments.output:
            arguments.output.write_text(replaced(arguments.output.read_text(), text))
    except (InstallError, RefusedError, PostgresqlError, ValueError) as error:
        raise SystemExit(f"benchmarks: {error}") from error
    sys.stdout.write(text)


if __name__ == "__main__":
    main(sys.argv[1:])
