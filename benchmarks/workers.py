"""``python -m benchmarks.workers [ROUNDS]``: what a second worker brings, as Markdown.

Each server runs with one worker and with two; all of them, and wrk, on the same two cores, one driven after the other.
So a single process has both cores too, as in a pod without pinning, and wrk takes its share from everyone alike.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

from benchmarks.environments import ROOT, InstallError
from benchmarks.machine import describe
from benchmarks.ratios import middle, paired
from benchmarks.report import facts_list, plain_table
from benchmarks.rounds import drive
from benchmarks.servers import PEERS, Server, checkout
from benchmarks.serving import RefusedError, Running, Stage, serving
from benchmarks.workloads import WORKLOADS

CORES = (0, 1)
COMPARED = ("granian-1", "granian-8", "gunicorn", "uwsgi-keepalive")
MEBIBYTE = 1 << 20
CACHE = ROOT / "build" / "benchmarks"
NAMES = ("hello", "page")
"""The workloads."""


def two_workers(server: Server) -> Server:
    """The same server with two workers."""
    return replace(server, name=f"{server.name} x 2", workers=2)


def line_up() -> list[Server]:
    """Each with one worker and then with two, twistserve first. Raises `InstallError`."""
    environments = CACHE / "environments"
    ours = checkout(environments)
    theirs = [peer.install(environments, ours.bin) for peer in PEERS if peer.name in COMPARED]
    quiet = replace(ours, name="twistserve --no-metrics", options=("--no-metrics",))
    return [variant for server in (ours, quiet, *theirs) for variant in (server, two_workers(server))]


def rates_table(rates: dict[str, list[float]]) -> str:
    """Of each server: its rate, what its second worker brings, and how twistserve compares with as many workers."""
    rows = []
    for name, measured in rates.items():
        one, two = name.removesuffix(" x 2"), name.endswith(" x 2")
        ours = rates["twistserve x 2" if two else "twistserve"]
        rows.append(
            (
                *(name, f"{middle(measured):,.0f}"),
                f"{paired(measured, rates[one]).median:.2f}" if two else "",
                f"{paired(ours, measured).median:.2f}" if measured is not ours else "",
            )
        )
    return plain_table(("server", "requests/s", "two workers / one", "twistserve / server"), rows)


def memory_table(running: Sequence[Running]) -> str:
    """Of each process, the first one first."""
    rows = [
        (
            server.server.name,
            ", ".join(f"{private / MEBIBYTE:.0f} + {shared / MEBIBYTE:.0f}" for private, shared in found),
        )
        for server in running
        if (found := server.tree.memory())
    ]
    return plain_table(("server", "MiB of each process, its own (USS) + shared"), rows)


def main(rounds: int) -> None:
    """Measure so many rounds, and print."""
    stage = Stage(CACHE / "data", CACHE / "scratch", CORES, CORES, connections=32, seconds=2, rounds=rounds)
    try:
        servers = line_up()
        stage.prepare(servers[0])
        facts = describe(f"python -m benchmarks.workers {rounds}", servers, stage.scratch)
        for workload in (each for each in WORKLOADS if each.name in NAMES):
            with ExitStack() as stack:
                running = [stack.enter_context(serving(stage, one, workload, reference=servers[0])) for one in servers]
                rates: dict[str, list[float]] = {one.name: [] for one in servers}
                for _ in range(rounds):
                    for one in running:
                        rates[one.server.name].append(drive(stage, one, workload).rate)
                sys.stdout.write(f"{workload.title}\n\n{rates_table(rates)}\n{memory_table(running)}\n")
    except (InstallError, RefusedError) as error:
        raise SystemExit(f"benchmarks: {error}") from error
    sys.stdout.write(facts_list(facts))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
