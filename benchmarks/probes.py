"""``python -m benchmarks.probes [SECONDS]``: how long probes and metrics take while the server is loaded, as Markdown.

The server has one core and eight request threads (Hurricane its default number), and 64 connections of wrk from the
other core. Readiness has a database and three checks of Django's, liveness has none. Each question is a new connection,
as a kubelet's is, and as a kubelet does we ask again only when there is an answer. Who asks shares wrk's core, with a
higher priority where the system allows that; how late it is itself is in the second table, and part of all times.
With `--container` twistserve runs in a container that has half of its core.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import resource
import shlex
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import wrk
from benchmarks.arguments import add_twistserve, chosen, positive
from benchmarks.container import CPUS, check_container
from benchmarks.environments import ROOT, InstallError, packages
from benchmarks.machine import describe
from benchmarks.probed import LOADS, SERVER_CORE, probed
from benchmarks.processes import Tree, busy_seconds
from benchmarks.servers import PEERS, Server, checkout

LOAD_CORE = 1
CONNECTIONS = 64
PATIENCE = 10.0
"""Seconds after which an answer is missing."""
WARM_UP = 4.0
"""Seconds of load before the first question."""
TICK = 0.01
"""Seconds that we sleep to see how much longer it takes."""
PREFERENCE = -10
"""What is added to our niceness while we ask."""
QUEUE = "--req-queue-len=10000"
"""The queue is long on purpose; readiness shall not fail because of it."""


@dataclass(frozen=True)
class Probe:
    """What is asked, and how soon the answer is wanted."""

    path: str
    wanted: float
    """Most seconds at p95."""
    wanted_in_container: float
    """The same where the server has half a CPU."""
    every: float = 0.5
    headers: str = ""


PROBES = (
    Probe("/alive", 0.06, 0.15),
    Probe("/ready", 0.12, 0.25, every=1.05),  # results of checks are good for a second: so none is from before
    Probe("/metrics", 0.12, 0.25, headers="Accept-Encoding: gzip\r\n"),  # as Prometheus asks
)


@dataclass(frozen=True)
class Answer:
    """What became of a question."""

    seconds: float
    """Until the answer's last byte, or until we gave up."""
    status: int | None
    """None where none came."""


@dataclass(frozen=True)
class Loaded:
    """What was measured of a server under a load."""

    load: str
    server: str
    answers: dict[Probe, list[Answer]]
    late: list[float]
    """Seconds by which we woke later than we wanted."""
    result: wrk.Result
    used: float
    """CPU time of the server, as a share of one core."""
    others: float
    """CPU time that other processes took on both cores, as a share of one."""
    container: bool = False

    def wanted(self, probe: Probe) -> float:
        """Most seconds at p95."""
        return probe.wanted_in_container if self.container else probe.wanted


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m benchmarks.probes", description="Probes under load, as Markdown.")
    made.add_argument("seconds", nargs="?", type=positive, default=20, help="under each load (default: 20)")
    made.add_argument("--container", action="store_true", help="in a container with half a CPU; twistserve alone")
    made.add_argument(
        "--loads",
        type=lambda text: chosen(text, tuple(LOADS)),
        default=tuple(LOADS),
        metavar="A,B",
        help=f"some of {', '.join(LOADS)} (default: all)",
    )
    add_twistserve(made)
    return made


def line_up(arguments: argparse.Namespace) -> list[Server]:
    """All servers, ours first. Raises `InstallError`."""
    environments = ROOT / "build" / "benchmarks" / "environments"
    peer = next(peer for peer in PEERS if peer.name == "hurricane")
    servers: list[Server] = arguments.twistserve or [checkout(environments)]
    if not arguments.container:
        servers = [*servers, peer.install(environments, servers[0].bin)]
    return [replace(server, options=(QUEUE, *server.options)) for server in servers]


def main(argv: Sequence[str]) -> None:
    """Measure under each load, and print."""
    arguments = parser().parse_args(argv)
    if arguments.container:
        check_container()
    try:
        servers = line_up(arguments)
    except InstallError as error:
        raise SystemExit(f"benchmarks: {error}") from error
    with tempfile.TemporaryDirectory() as scratch:
        facts = describe(shlex.join(("python", "-m", "benchmarks.probes", *argv)), servers, Path(scratch))
    if arguments.container:
        facts.append(("container", f"runc, {CPUS:g} CPU"))
    os.sched_setaffinity(0, {LOAD_CORE})
    measured = [
        replace(measure(server, load, arguments.seconds, arguments.container), container=arguments.container)
        for load in arguments.loads
        for server in servers
    ]
    sys.stdout.write(answers_table(measured) + "\n" + circumstances_table(measured) + "\n")
    sys.stdout.writelines(f"- {word}: `{fact}`\n" for word, fact in facts if not word.startswith("packages"))
    sys.stdout.writelines(f"- versions of {server.name}: {versions(server)}\n" for server in servers)


def measure(server: Server, load: str, seconds: float, container: bool) -> Loaded:
    """Start the server and ask it for that long."""
    with probed(server, container=container) as (tree, port, probe_port):
        return asyncio.run(_measure(server, tree, f"http://127.0.0.1:{port}/{load}", probe_port, seconds))


async def _measure(server: Server, tree: Tree, url: str, probe_port: int, seconds: float) -> Loaded:
    def clocks() -> tuple[float, float, float]:
        """CPU time of anybody on both cores, of the server, and of wrk and ourselves."""
        load = resource.getrusage(resource.RUSAGE_CHILDREN)
        busy = busy_seconds(Path("/proc/stat").read_text(), (SERVER_CORE, LOAD_CORE))
        return busy, tree.cpu_seconds(), load.ru_utime + load.ru_stime + time.process_time()

    began, before = time.monotonic(), clocks()
    duration = math.ceil(WARM_UP + seconds + PATIENCE)
    load = asyncio.create_task(
        asyncio.to_thread(wrk.run, url, core=LOAD_CORE, connections=CONNECTIONS, seconds=duration)
    )
    await asyncio.sleep(WARM_UP)
    with preferred():
        until = time.monotonic() + seconds
        lateness = asyncio.create_task(_lateness(until))
        answers = await asyncio.gather(*(_ask_again(probe_port, probe, until) for probe in PROBES))
        late = await lateness
    result = await load
    took = time.monotonic() - began
    busy, used, ours = (now - then for now, then in zip(clocks(), before, strict=True))
    others = max(0.0, busy - used - ours)
    name = url.rpartition("/")[2]
    asked = dict(zip(PROBES, answers, strict=True))
    return Loaded(name, server.name, asked, late, result, used / took, others / took)


@contextmanager
def preferred() -> Iterator[None]:
    """Run this thread, and not the one that has started wrk, with a higher priority, if the system allows that."""
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    try:
        os.setpriority(os.PRIO_PROCESS, 0, usual + PREFERENCE)
    except PermissionError:
        sys.stderr.write("no higher priority for who asks: see how late it is\n")
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, usual)


async def _ask_again(port: int, probe: Probe, until: float) -> list[Answer]:
    """Ask until then."""
    answers = []
    due = time.monotonic() + probe.every * PROBES.index(probe) / len(PROBES)  # not all at the same moment
    while due < until:
        await asyncio.sleep(due - time.monotonic())
        answers.append(await ask(port, probe))
        due = max(due + probe.every, time.monotonic())
    return answers


async def _lateness(until: float) -> list[float]:
    late = []
    while (began := time.monotonic()) < until:
        await asyncio.sleep(TICK)
        late.append(time.monotonic() - began - TICK)
    return late


async def ask(port: int, probe: Probe) -> Answer:
    """Ask once, over a new connection."""
    began = time.monotonic()
    status = None
    try:
        async with asyncio.timeout(PATIENCE):
            status = await _status(port, probe)
    except (OSError, EOFError, ValueError):
        pass
    return Answer(time.monotonic() - began, status)


async def _status(port: int, probe: Probe) -> int:
    """The status of a complete answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        host = f"Host: 127.0.0.1:{port}\r\nConnection: close\r\n"
        writer.write(f"GET {probe.path} HTTP/1.1\r\n{host}{probe.headers}\r\n".encode())
        first, *fields = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().splitlines()
        (length,) = (int(field.partition(":")[2]) for field in fields if field.startswith("content-length:"))
        await reader.readexactly(length)
        return int(first.split()[1])
    finally:
        writer.close()


def answers_table(measured: Sequence[Loaded]) -> str:
    """A row for each load, server and probe."""
    rows = []
    for one in measured:
        for probe, answers in one.answers.items():
            took = [answer.seconds for answer in answers]
            failed = Counter(str(answer.status or "none") for answer in answers if answer.status != 200)
            good = ", ".join(f"no: {count} {status}" for status, count in failed.items()) or "yes"
            reached = not failed and percentile(took, 0.95) <= one.wanted(probe)
            rows.append(
                (
                    *(LOADS[one.load], one.server, probe.path, str(len(answers))),
                    *(milliseconds(percentile(took, share)) for share in (0.5, 0.95, 1.0)),
                    *(good, milliseconds(one.wanted(probe)), "yes" if reached else "**no**"),
                )
            )
    columns = ("load", "server", "probe", "asked", "p50 ms", "p95 ms", "longest ms", "all 200", "wanted p95", "reached")
    return markdown(columns, rows)


def circumstances_table(measured: Sequence[Loaded]) -> str:
    """A row for each load and server: was the load what it should be, and were we in time."""
    rows = [
        (
            *(LOADS[one.load], one.server, f"{one.result.rate:,.1f}"),
            *(str(one.result.bad_statuses), str(one.result.socket_errors)),
            *(f"{percentile(one.late, share) * 1000:.1f}" for share in (0.95, 1.0)),
            *(f"{one.used:.0%}", f"{one.others:.0%}"),
        )
        for one in measured
    ]
    columns = (
        *("load", "server", "requests/s", "bad statuses", "socket errors and timeouts"),
        *("asker late p95 ms", "longest ms", "core used", "others"),
    )
    return markdown(columns, rows)


def versions(server: Server) -> str:
    """Those that matter here."""
    found = packages(server.bin)
    wanted = ("python", "django", "twisted", "tornado", "django-hurricane", "prometheus-client", "prometheus_client")
    return ", ".join(f"{name} {found[name]}" for name in wanted if name in found)


def percentile(values: Sequence[float], share: float) -> float:
    """The least of the values that so large a share of them does not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:,.0f}"


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    rule = ["---"] * len(columns)
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (columns, rule, *rows))


if __name__ == "__main__":
    main(sys.argv[1:])
