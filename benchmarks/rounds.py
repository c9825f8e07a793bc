"""Interleaved rounds: every server is started once, then each round drives every one of them for the same time."""

from __future__ import annotations

import logging
import math
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import TypeVar

from benchmarks import wrk
from benchmarks.processes import busy_seconds, cpu_list
from benchmarks.servers import Server
from benchmarks.serving import RefusedError, Running, Stage, call_directly, serving
from benchmarks.workloads import Workload

WARM_UP = 1
"""Seconds a server is driven, unmeasured, before each time it is measured."""
QUIET = 0.1
"""Seconds without CPU time after which a server has finished the requests of clients that left."""
SETTLE_PATIENCE = 20.0
"""Seconds to wait for that."""
FLOOR = "Django alone"
"""The name of the samples without a server."""

logger = logging.getLogger("benchmarks")
T = TypeVar("T")


@dataclass(frozen=True)
class Sample:
    """One server in one round. Times are in seconds; NaN where nothing was answered."""

    rate: float
    """Good answers a second."""
    cpu: float
    """CPU time of the server's processes for each good answer."""
    p50: float
    p99: float
    errors: int
    others: float = 0.0
    """CPU time a second that other processes took on the two cores: disturbance."""

    @property
    def busy(self) -> float:
        """The cores that the server used."""
        return self.rate * self.cpu


@dataclass(frozen=True)
class Measured:
    """All rounds of a workload."""

    workload: Workload
    samples: dict[str, list[Sample]]
    """By name of the server, one sample a round; under `FLOOR` Django without a server, if asked for."""
    absent: dict[str, str] = field(default_factory=dict)
    """Servers that could not take part, and why."""

    def added_cpu(self, server: str) -> list[float]:
        """CPU seconds of an answer less those of Django alone, round by round; empty where either was not measured."""
        samples, alone = self.samples.get(server), self.samples.get(FLOOR)
        if samples is None or alone is None:
            return []
        return [sample.cpu - floor.cpu for sample, floor in zip(samples, alone, strict=True)]


def measure(stage: Stage, workload: Workload, servers: Sequence[Server], *, floor: bool) -> Measured:
    """Start these servers, check their answers, and run all rounds. The first one's environment gives the floor."""
    absent: dict[str, str] = {}
    drives: dict[str, Callable[[], Sample]] = {}
    with ExitStack() as stack:
        for server in servers:
            try:
                running = stack.enter_context(serving(stage, server, workload, reference=servers[0]))
            except RefusedError as error:
                logger.warning("%s takes no part in %s: %s", server.name, workload.name, error)
                absent[server.name] = str(error)
            else:
                drives[server.name] = _driver(stage, running, workload)
        if floor:
            drives[FLOOR] = _floor_driver(stage, servers[0], workload)
        return Measured(workload, interleave(drives, stage.rounds, workload.name), absent)


def interleave(drives: Mapping[str, Callable[[], Sample]], rounds: int, title: str) -> dict[str, list[Sample]]:
    """Call every drive once in each round; the samples by name, in the order of the rounds."""
    samples: dict[str, list[Sample]] = {name: [] for name in drives}
    for number in range(rounds):
        for name in in_turn(list(drives), number):
            sample = drives[name]()
            samples[name].append(sample)
            logger.info(
                "%s, round %d of %d, %s: %.0f/s, %d errors", title, number + 1, rounds, name, sample.rate, sample.errors
            )
    return samples


def in_turn(things: Sequence[T], number: int) -> Sequence[T]:
    """The order in a round: forwards in even rounds, backwards in odd ones, so that a drift favours none."""
    return things[::-1] if number % 2 else things


def drive(stage: Stage, running: Running, workload: Workload) -> Sample:
    """Warm the server up, then measure it. One that does not answer any more gives a sample of errors."""
    try:
        _wrk(stage, running, workload, WARM_UP)
        settle(running)
        before = Clocks.read(stage, running)
        result = _wrk(stage, running, workload, stage.seconds * workload.longer)
        sample = sample_of(result, Clocks.read(stage, running) - before)
        settle(running)
        return sample
    except wrk.WrkError as error:
        logger.warning("%s, %s: %s", running.server.name, workload.name, error)
        return Sample(rate=0.0, cpu=math.nan, p50=math.nan, p99=math.nan, errors=stage.connections)


def settle(running: Running) -> None:
    """Wait until the server has finished requests whose clients have left, so that it does not disturb the next one."""
    deadline = time.monotonic() + SETTLE_PATIENCE
    used = running.tree.cpu_seconds()
    while time.monotonic() < deadline:
        time.sleep(QUIET)
        before, used = used, running.tree.cpu_seconds()
        if used - before < QUIET / 5:
            return


@dataclass(frozen=True)
class Clocks:
    """Clocks that run while a server is driven, in seconds."""

    wall: float
    server: float
    """CPU time of the server."""
    load: float
    """CPU time of wrk."""
    cores: float
    """CPU time of all processes on the two cores."""
    database: float = 0.0
    """CPU time of PostgreSQL."""

    @classmethod
    def read(cls, stage: Stage, running: Running) -> Clocks:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return cls(
            wall=time.monotonic(),
            server=running.tree.cpu_seconds(),
            load=children.ru_utime + children.ru_stime,
            cores=busy_seconds(Path("/proc/stat").read_text(), {*stage.server_cores, *stage.load_cores}),
            database=stage.postgresql.tree.cpu_seconds() if stage.postgresql else 0.0,
        )

    def __sub__(self, earlier: Clocks) -> Clocks:
        return Clocks(*(now - then for now, then in zip(astuple(self), astuple(earlier), strict=True)))


def sample_of(result: wrk.Result, took: Clocks) -> Sample:
    """A sample from the result of wrk and the time it took; not a single good response counts as an error."""
    others = max(0.0, took.cores - took.server - took.load - took.database) / took.wall
    if not result.answers:
        return Sample(0.0, math.nan, math.nan, math.nan, max(result.errors, 1), others)
    return Sample(result.rate, took.server / result.answers, result.p50, result.p99, result.errors, others)


def _driver(stage: Stage, running: Running, workload: Workload) -> Callable[[], Sample]:
    return lambda: drive(stage, running, workload)


def _floor_driver(stage: Stage, server: Server, workload: Workload) -> Callable[[], Sample]:
    def call() -> Sample:
        cpu = float(call_directly(stage, server, "time", workload, str(stage.seconds)))
        return Sample(rate=1 / cpu, cpu=cpu, p50=math.nan, p99=math.nan, errors=0, others=math.nan)

    return call


def _wrk(stage: Stage, running: Running, workload: Workload, seconds: int) -> wrk.Result:
    script = None
    if workload.scripted:
        script = stage.scratch / f"{workload.name}.lua"
        script.write_text(workload.lua())
    cores = cpu_list(stage.load_cores)
    return wrk.run(running.url, core=cores, connections=stage.connections, seconds=seconds, script=script)
