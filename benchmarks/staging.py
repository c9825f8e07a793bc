"""Preparation before a server is driven: twistserve installed, programs found, databases filled, cores shared out."""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks.environments import InstallError, packages
from benchmarks.postgresql import installed, postgresql
from benchmarks.processes import cpu_list
from benchmarks.projects import BENCH, package_name, requirements
from benchmarks.servers import PSYCOPG, Server, checkout
from benchmarks.serving import Stage
from benchmarks.workloads import Workload

PROGRAMS = {"wrk": "wrk", "nginx": "nginx-light", "taskset": "util-linux", "setpriv": "util-linux"}


def our_servers(arguments: argparse.Namespace, environments: Path, workloads: Sequence[Workload]) -> list[Server]:
    """Each twistserve; the last one is the subject of the comparison. Raises `InstallError`."""
    more = needed(workloads)
    ours: list[Server] = arguments.twistserve or [checkout(environments, more)]
    if len({server.name for server in ours}) < len(ours):
        raise InstallError("two of --twistserve have the same name: tell them apart, as NAME=BIN")
    wanted = [*([PSYCOPG] if any(workload.postgresql for workload in workloads) else []), *more]
    for server in ours if wanted else []:
        present = packages(server.bin)
        for one in wanted:
            if package_name(one) not in present:
                raise InstallError(f"{server.bin} has no {package_name(one)}: {server.bin / 'pip'} install '{one}'")
    return [replace(server, workers=arguments.layout.workers) for server in ours]


def needed(workloads: Sequence[Workload]) -> tuple[str, ...]:
    """What the projects of these workloads need beside Django and a server."""
    return requirements(workload.project for workload in workloads)


@contextmanager
def staged(arguments: argparse.Namespace, server: Server, workloads: Sequence[Workload]) -> Iterator[Stage]:
    """A stage with the databases for these workloads, filled by this server's Django. Raises `RefusedError`.

    Moves this process to wrk's cores. Raises `PostgresqlError` too.
    """
    stage = make_stage(arguments)
    os.sched_setaffinity(0, stage.load_cores)
    with ExitStack() as stack:
        if any(workload.postgresql for workload in workloads):
            cache = arguments.cache.absolute()
            stage = replace(stage, postgresql=stack.enter_context(postgresql(cache, cpu_list(stage.load_cores))))
        stage.prepare(server, dict.fromkeys((BENCH, *(workload.project for workload in workloads))))
        yield stage


def check_machine(workloads: Sequence[Workload]) -> None:
    """Raise SystemExit, with the remedy, if these workloads cannot be measured here."""
    if len(os.sched_getaffinity(0)) < 2:
        raise SystemExit("benchmarks: two cores are needed, one for the servers and one for wrk")
    missing = {
        PROGRAMS[program] for program in PROGRAMS if not shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")
    }
    if any(workload.postgresql for workload in workloads) and not installed("postgres"):
        missing.add("postgresql")
    if missing:
        raise SystemExit(f"benchmarks: programs are missing: apt-get install {' '.join(sorted(missing))}")


def make_stage(arguments: argparse.Namespace) -> Stage:
    cores = sorted(os.sched_getaffinity(0))
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
