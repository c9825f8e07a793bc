"""``python -m benchmarks.probes [SECONDS]``: how long probes and metrics take while the server is loaded, as Markdown.

The server has one core and eight request threads (Hurricane its default number), and 64 connections of wrk from the
other core. Readiness has a database and three checks of Django's, liveness has none. Each question is a new connection,
as a kubelet's is, and as a kubelet does we ask again only when there is an answer. Who asks shares wrk's core, with a
higher priority where the system allows that; how late it is itself is in the second table, and part of all times.
"""

from __future__ import annotations

import asyncio
import math
import os
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import wrk
from benchmarks.environments import ROOT, InstallError, packages
from benchmarks.machine import describe
from benchmarks.processes import Tree, busy_seconds, free_port
from benchmarks.servers import PEERS, Server, checkout, environ

SERVER_CORE, LOAD_CORE = 0, 1
CONNECTIONS = 64
PATIENCE = 10.0
"""Seconds after which an answer is missing."""
START_PATIENCE = 60.0
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
    every: float = 0.5
    headers: str = ""


PROBES = (
    Probe("/alive", wanted=0.1),
    Probe("/ready", wanted=0.25, every=1.05),  # results of checks are good for a second: so none is from before
    Probe("/metrics", wanted=0.25, headers="Accept-Encoding: gzip\r\n"),  # as Prometheus asks
)
LOADS = {"wait": "a view that waits 2 s", "burn": "a view that computes 10 ms", "hello": "hello at full rate"}
"""Each is a path."""

SETTINGS = """
from importlib.util import find_spec

DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}}
INSTALLED_APPS = ["probed", *(["hurricane"] if find_spec("hurricane") else [])]
ROOT_URLCONF = "probed"
SECRET_KEY = "no secret: the benchmarks serve on loopback only"
ALLOWED_HOSTS = ["*"]
"""
APPLICATION = """
import time

from django.core.checks import register
from django.http import HttpResponse
from django.urls import path

for number in range(3):

    @register("readiness")
    def check(number=number, **kwargs):
        return []


def wait(request):
    time.sleep(2)
    return HttpResponse("waited")


def burn(request):
    end = time.thread_time() + 0.01
    while time.thread_time() < end:
        sum(range(2000))
    return HttpResponse("burnt")


def hello(request):
    return HttpResponse("Hello, world!")


urlpatterns = [path("wait", wait), path("burn", burn), path("hello", hello)]
"""


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
    others: float
    """CPU time that other processes took on both cores, as a share of one."""


def main(seconds: float) -> None:
    """Measure for that long under each load, and print."""
    environments = ROOT / "build" / "benchmarks" / "environments"
    peer = next(peer for peer in PEERS if peer.name == "hurricane")
    try:
        ours = replace(checkout(environments), options=(QUEUE,))
        theirs = peer.install(environments, ours.bin)
    except InstallError as error:
        raise SystemExit(str(error)) from error
    servers = (ours, replace(theirs, options=(QUEUE,)))
    with tempfile.TemporaryDirectory() as scratch:
        facts = describe(f"python -m benchmarks.probes {seconds:g}", servers, Path(scratch))
    os.sched_setaffinity(0, {LOAD_CORE})
    measured = [measure(server, load, seconds) for load in LOADS for server in servers]
    sys.stdout.write(answers_table(measured) + "\n" + circumstances_table(measured) + "\n")
    sys.stdout.writelines(f"- {word}: `{fact}`\n" for word, fact in facts if not word.startswith("packages"))
    sys.stdout.writelines(f"- versions of {server.name}: {versions(server)}\n" for server in servers)


def measure(server: Server, load: str, seconds: float) -> Loaded:
    """Start the server and ask it for that long."""
    with probed(server) as (tree, port, probe_port):
        return asyncio.run(_measure(server, tree, f"http://127.0.0.1:{port}/{load}", probe_port, seconds))


@contextmanager
def probed(
    server: Server, core: int | str = SERVER_CORE, settings: str = SETTINGS, application: str = APPLICATION
) -> Iterator[tuple[Tree, int, int]]:
    """Run a server that is ready for as long as the block runs; with its port and its probe port."""
    port = free_port()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "probed_settings.py").write_text(settings)
        (directory / "probed.py").write_text(application)
        variables = {"DJANGO_SETTINGS_MODULE": "probed_settings", "PYTHONPATH": name}
        command = server.words(port, None, directory)
        (probe_port,) = (int(word.partition("=")[2]) for word in command if word.startswith("--probe-port="))
        tree = Tree(command, core=core, cwd=directory, env={**environ(directory, server), **variables})
        try:
            deadline = time.monotonic() + START_PATIENCE
            while asyncio.run(ask(probe_port, PROBES[1])).status != 200:
                if not tree.running or time.monotonic() > deadline:
                    raise SystemExit(f"{server.name} does not become ready")
                time.sleep(0.1)
            yield tree, port, probe_port
        finally:
            tree.end()


async def _measure(server: Server, tree: Tree, url: str, probe_port: int, seconds: float) -> Loaded:
    def clocks() -> tuple[float, float]:
        """CPU time of anybody on both cores, and of those that take part."""
        load = resource.getrusage(resource.RUSAGE_CHILDREN)
        parts = tree.cpu_seconds() + load.ru_utime + load.ru_stime + time.process_time()
        return busy_seconds(Path("/proc/stat").read_text(), (SERVER_CORE, LOAD_CORE)), parts

    began, busy, parts = time.monotonic(), *clocks()
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
    took, (all_busy, all_parts) = time.monotonic() - began, clocks()
    others = max(0.0, all_busy - busy - (all_parts - parts)) / took
    name = url.rpartition("/")[2]
    return Loaded(name, server.name, dict(zip(PROBES, answers, strict=True)), late, result, others)


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
            reached = not failed and percentile(took, 0.95) <= probe.wanted
            rows.append(
                (
                    *(LOADS[one.load], one.server, probe.path, str(len(answers))),
                    *(milliseconds(percentile(took, share)) for share in (0.5, 0.95, 1.0)),
                    *(good, milliseconds(probe.wanted), "yes" if reached else "**no**"),
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
            f"{one.others:.0%}",
        )
        for one in measured
    ]
    columns = (
        *("load", "server", "requests/s", "bad statuses", "socket errors and timeouts"),
        *("asker late p95 ms", "longest ms", "others"),
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
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 20.0)
