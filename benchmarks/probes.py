"""``python -m benchmarks.probes [SECONDS]``: how long probes and metrics take while the server is loaded, as Markdown.

The server has one core and eight request threads (Hurricane its default number), and 64 connections of wrk from the
other core. Readiness checks a database and runs three Django checks, liveness runs none. A server without a probe port,
such as gunicorn, is probed at two views of the application, one of which asks the database. Like a kubelet, the prober
opens a new connection for each request, and waits for the response before the next. It shares wrk's core, with a higher
priority if the system allows that; its own delay is in the second table, and included in all times. With `--container`
twistserve runs in a container with half of its core.
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
from benchmarks.arguments import add_twistserve, chosen, file, positive
from benchmarks.container import CPUS, check_container
from benchmarks.environments import ROOT, InstallError, packages
from benchmarks.machine import describe
from benchmarks.probe_plot import Row, dots
from benchmarks.probed import LOADS, SERVER_CORE, probed
from benchmarks.processes import Tree, busy_seconds
from benchmarks.report import facts_list, plain_table
from benchmarks.servers import PEERS, Server, checkout

LOAD_CORE = 1
CONNECTIONS = 64
PATIENCE = 10.0
"""Seconds after which a response counts as missing."""
WARM_UP = 4.0
"""Seconds of load before the first request."""
TICK = 0.01
"""Seconds of a sleep that measures how late the prober is."""
PREFERENCE = -10
"""Added to the prober's niceness."""
COMPARED = ("hurricane", "gunicorn", "granian-8")
"""Servers that twistserve is compared with."""
QUEUE = "--req-queue-len=10000"
"""The queue is long on purpose: readiness must not fail because of it."""


@dataclass(frozen=True)
class Probe:
    """A path, and how fast its response should be."""

    path: str
    wanted: float
    """Maximum p95 in seconds."""
    wanted_in_container: float
    """The same with half a CPU."""
    every: float = 0.5
    """Seconds between two requests."""
    headers: str = ""


PROBES = (
    Probe("/alive", 0.06, 0.15),
    Probe("/ready", 0.12, 0.25, every=1.05),  # results of checks are valid for a second: none is reused
    Probe("/metrics", 0.12, 0.25, headers="Accept-Encoding: gzip\r\n"),  # as Prometheus asks
)


@dataclass(frozen=True)
class Answer:
    """The outcome of a request."""

    seconds: float
    """Until the last byte of the response, or until the prober gave up."""
    status: int | None
    """None without a response."""


@dataclass(frozen=True)
class Loaded:
    """The measurements of a server under a load."""

    load: str
    server: str
    answers: dict[Probe, list[Answer]]
    late: list[float]
    """Seconds by which each sleep of the prober took too long."""
    result: wrk.Result
    used: float
    """CPU time of the server, as a share of one core."""
    others: float
    """CPU time that other processes took on both cores, as a share of one."""
    container: bool = False

    def wanted(self, probe: Probe) -> float:
        """Maximum p95 of a probe, in seconds."""
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
    made.add_argument(
        "--servers",
        type=lambda text: chosen(text, COMPARED),
        default=COMPARED,
        metavar="A,B",
        help=f"some of {', '.join(COMPARED)}, beside twistserve (default: all)",
    )
    made.add_argument("--plot", type=file, metavar="FILE.svg", help="file for a plot of the times of /alive and /ready")
    add_twistserve(made)
    return made


def line_up(arguments: argparse.Namespace) -> list[Server]:
    """All servers, twistserve first. Raises `InstallError`."""
    environments = ROOT / "build" / "benchmarks" / "environments"
    servers: list[Server] = arguments.twistserve or [checkout(environments)]
    servers = [replace(server, options=(QUEUE, *server.options)) for server in servers]
    if arguments.container:
        return servers
    peers = {peer.name: peer for peer in PEERS}
    others = [peers[name].install(environments, servers[0].bin) for name in arguments.servers]
    return [*servers, *(replace(one, options=(QUEUE,)) if one.name == "hurricane" else one for one in others)]


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
        measure(server, load, arguments.seconds, container=arguments.container)
        for load in arguments.loads
        for server in servers
    ]
    if arguments.plot:
        arguments.plot.write_text(plot(measured))
    sys.stdout.write(answers_table(measured) + "\n" + circumstances_table(measured) + "\n")
    sys.stdout.write(facts_list(facts))
    sys.stdout.writelines(f"- versions of {server.name}: {versions(server)}\n" for server in servers)


def measure(server: Server, load: str, seconds: float, *, container: bool) -> Loaded:
    """Start the server, and probe it under the load for so many seconds."""
    with probed(server, container=container) as (tree, port, probe_port):
        loaded = asyncio.run(_measure(server, tree, load, port, probe_port, seconds))
    return replace(loaded, container=container)


async def _measure(server: Server, tree: Tree, load: str, port: int, probe_port: int, seconds: float) -> Loaded:
    def clocks() -> tuple[float, float, float]:
        """CPU time of all processes on both cores, of the server, and of wrk and the prober."""
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        busy = busy_seconds(Path("/proc/stat").read_text(), (SERVER_CORE, LOAD_CORE))
        return busy, tree.cpu_seconds(), children.ru_utime + children.ru_stime + time.process_time()

    began, before = time.monotonic(), clocks()
    url, duration = f"http://127.0.0.1:{port}/{load}", math.ceil(WARM_UP + seconds + PATIENCE)
    driving = asyncio.create_task(
        asyncio.to_thread(wrk.run, url, core=LOAD_CORE, connections=CONNECTIONS, seconds=duration)
    )
    await asyncio.sleep(WARM_UP)
    with preferred():
        until = time.monotonic() + seconds
        lateness = asyncio.create_task(_lateness(until))
        probes = PROBES if probe_port != port else [probe for probe in PROBES if probe.path != "/metrics"]
        answers = await asyncio.gather(*(_ask_again(probe_port, probe, until) for probe in probes))
        late = await lateness
    result = await driving
    took = time.monotonic() - began
    busy, used, ours = (now - then for now, then in zip(clocks(), before, strict=True))
    others = max(0.0, busy - used - ours)
    asked = dict(zip(probes, answers, strict=True))
    return Loaded(load, server.name, asked, late, result, used / took, others / took)


@contextmanager
def preferred() -> Iterator[None]:
    """Raise the priority of this thread, but not of the one that has started wrk, if the system allows that."""
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    try:
        os.setpriority(os.PRIO_PROCESS, 0, usual + PREFERENCE)
    except PermissionError:
        sys.stderr.write("the prober has no higher priority: see how late it is\n")
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, usual)


async def _ask_again(port: int, probe: Probe, until: float) -> list[Answer]:
    """Ask repeatedly until this monotonic time."""
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
    """The status of a complete response."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        host = f"Host: 127.0.0.1:{port}\r\nConnection: close\r\n"
        writer.write(f"GET {probe.path} HTTP/1.1\r\n{host}{probe.headers}\r\n".encode())
        first, *fields = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().splitlines()
        lengths = [int(field.partition(":")[2]) for field in fields if field.startswith("content-length:")]
        if lengths:
            await reader.readexactly(lengths[0])
        elif not (await reader.read()).endswith(b"0\r\n\r\n"):
            raise EOFError("the last chunk is missing")
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
    return plain_table(columns, rows)


def circumstances_table(measured: Sequence[Loaded]) -> str:
    """A row for each load and server: whether the load was as planned, and the prober in time."""
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
    return plain_table(columns, rows)


def plot(measured: Sequence[Loaded]) -> str:
    """The time of each response of `/alive` and `/ready`, by load and server."""
    groups: dict[str, list[Row]] = {}
    for one in measured:
        times = [answer.seconds if answer.status == 200 else None for answer in _shown(one)]
        groups.setdefault(LOADS[one.load], []).append(Row(one.server, times))
    return dots(groups, patience=PATIENCE)


def _shown(one: Loaded) -> Iterator[Answer]:
    return (answer for probe, answers in one.answers.items() if probe.path != "/metrics" for answer in answers)


def versions(server: Server) -> str:
    """The versions of the packages that matter here."""
    found = packages(server.bin)
    wanted = (
        "python",
        "django",
        "twisted",
        "tornado",
        "django-hurricane",
        "gunicorn",
        "granian",
        "prometheus-client",
        "prometheus_client",
    )
    return ", ".join(f"{name} {found[name]}" for name in wanted if name in found)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that is not exceeded by this share of the values."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:,.0f}"


if __name__ == "__main__":
    main(sys.argv[1:])
