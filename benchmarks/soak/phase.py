"""One phase of a soak: the server started, driven, watched, looked at once its clients have left, and ended."""

from __future__ import annotations

import json
import multiprocessing
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from benchmarks.soak import driver, hostile
from benchmarks.soak.samples import Sample, Watch, processes
from benchmarks.soak.service import serving
from benchmarks.soak.tally import LostError, Tally
from benchmarks.soak.verdict import Judged, judgements

REST = 30.0
"""Seconds in which a server whose clients have left must be at rest."""
RELOADS = 5
"""SIGHUPs in a phase, at most; and no more than one in so many seconds:"""
RELOAD_EVERY = 60.0
AT_REST = ("twistserve_http_connections", "twistserve_http_requests_in_progress", "twistserve_threads_stuck")
"""Metrics that are 0 then."""
ON_PURPOSE = ("/fail", "/hang", f"blocks={hostile.TOO_MUCH}")
"""What is in the records of errors that are made on purpose: views that fail, and streams that nobody reads."""


@dataclass(frozen=True)
class Phase:
    """A phase and all that was found."""

    name: str
    seconds: float
    workers: int
    recycling: bool
    samples: list[Sample]
    first: int
    tally: Tally
    unrest: dict[str, float]
    """What was not 0 at rest, by metric."""
    restarts: Counter[str]
    """Workers replaced, by reason."""
    faults: list[str]
    """Lines of the log that should not be there."""
    status: int | None
    """The exit status."""
    left: int
    """Processes that were there after the end."""

    @property
    def judged(self) -> list[Judged]:
        """All series."""
        return list(judgements(self.samples, self.seconds, self.first, self.recycling))

    @property
    def failed_probes(self) -> int:
        """Probes without status 200."""
        return sum(probe.status != 200 for sample in self.samples for probe in sample.probes)

    def slowest(self, path: str) -> list[float]:
        """Seconds of each probe of this path."""
        return [probe.seconds for sample in self.samples for probe in sample.probes if probe.path == path]

    @property
    def complaints(self) -> list[str]:
        """What has to be explained, in words; empty for a phase that is well."""
        found = []
        if failures := self.tally.failures():
            found.append(f"{failures} requests were lost, wrong, or met what they should not")
        found += [f"{each.what} is not flat" for each in self.judged if not each.flat]
        if self.failed_probes:
            found.append(f"{self.failed_probes} probes failed")
        found += [f"{name} is {value:g} at rest" for name, value in self.unrest.items()]
        if self.faults:
            found.append(f"{len(self.faults)} faults in the log")
        if self.status != 0:
            found.append(f"the server ended with {self.status}")
        if self.left:
            found.append(f"{self.left} processes are left")
        return found


def run(name: str, programs: Path, seconds: float, workers: int, recycling: bool, rate: float, scratch: Path) -> Phase:
    """Run a phase. Raises `StartError`."""
    log = scratch / f"{name}.log"
    with serving(programs, workers, recycling, scratch / "data", log) as service:
        plan = driver.Plan(service.port, service.tls_port, seconds, rate, recycling, service.sockets)
        watch = Watch(service.tree.pid, service.probe_port)
        reloads = iter(_reloads(seconds) if workers > 1 and recycling else ())
        upcoming = next(reloads, None)

        def on_sample(at: float) -> None:
            nonlocal upcoming
            if upcoming is not None and at >= upcoming:
                service.reload()
                upcoming = next(reloads, None)

        with driving(plan) as clients:
            watch.watch(time.monotonic() + seconds, on_sample)
            tally = clients.tally()
        unrest = _rest(watch)
        last = watch.look()
        pids = set(dict(processes(service.tree.pid)))
    left = sum(Path(f"/proc/{pid}").exists() for pid in pids)
    restarts = Counter(
        {
            key.partition('reason="')[2].rstrip('"}'): int(value)
            for key, value in last.metrics.items()
            if key.startswith("twistserve_worker_restarts_total{") and value
        }
    )
    return Phase(
        name,
        seconds,
        workers,
        recycling,
        watch.samples,
        watch.first,
        tally,
        unrest,
        restarts,
        faults(log),
        service.tree.status,
        left,
    )


class driving:
    """The clients' process, ended with the block."""

    def __init__(self, plan: driver.Plan) -> None:
        spawning = multiprocessing.get_context("spawn")
        self._results, theirs = spawning.Pipe(duplex=False)
        self._process = spawning.Process(target=driver.run, args=(plan, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def __enter__(self) -> driving:
        return self

    def __exit__(self, *raised: object) -> None:
        self._process.terminate()
        self._process.join()
        self._results.close()

    def tally(self) -> Tally:
        """What they have found, once they have ended."""
        if not self._results.poll(driver.PATIENCE + 2 * REST):
            return _missing("the clients do not end")
        try:
            tally: Tally = self._results.recv()
        except EOFError:
            return _missing("the clients have failed: see their traceback above")
        return tally


def _missing(why: str) -> Tally:
    tally = Tally()
    tally.note("clients", LostError(why))
    return tally


def _reloads(seconds: float) -> list[float]:
    """When workers are replaced by a signal."""
    number = min(RELOADS, int(seconds // RELOAD_EVERY))
    return [seconds * (each + 1) / (number + 1) for each in range(number)]


def _rest(watch: Watch) -> dict[str, float]:
    """What is not 0 though the clients have left, once it should be."""
    deadline = time.monotonic() + REST
    while True:
        sample = watch.look()
        found = {name: value for name in AT_REST if (value := sample.sum(name))}
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.5)


def faults(log: Path) -> list[str]:
    """Records at level ERROR, and lines that are no records; without what views do on purpose."""
    with log.open(errors="replace") as lines:
        return [line.rstrip() for line in lines if is_fault(line)]


def is_fault(line: str) -> bool:
    """Whether a line of the log should not be there."""
    try:
        record = json.loads(line)
    except ValueError:
        return True
    # The access log has the path in a field, too.
    return record["level"] in ("ERROR", "CRITICAL") and not any(part in record["message"] for part in ON_PURPOSE)
