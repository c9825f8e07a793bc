"""The goals, as data, beside what was measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from benchmarks.ratios import Paired, paired
from benchmarks.rounds import Measured, Sample

GRANIAN = ("granian-1", "granian-8")
WSGI = ("uwsgi", "uwsgi-keepalive", "gunicorn", "waitress")

QUANTITIES: dict[str, Callable[[Sample], float]] = {
    "requests/s": lambda sample: sample.rate,
    "CPU": lambda sample: sample.cpu,
    "p99": lambda sample: sample.p99,
}
ADDED_CPU = "server-added CPU"
"""CPU of a request less that of Django alone."""


@dataclass(frozen=True)
class Target:
    """A bound on the median of paired ratios, twistserve's quantity divided by the other's."""

    workloads: tuple[str, ...]
    quantity: str
    against: tuple[str, ...]
    bound: float
    at_least: bool = True
    """Otherwise: at most."""

    def reached(self, ratio: float) -> bool:
        """Whether a ratio is within the bound; NaN never is."""
        return ratio >= self.bound if self.at_least else ratio <= self.bound


QUIET = "quiet"
"""Stands for the variant of twistserve without access log and metrics."""

TARGETS = (
    Target(("hello", "db"), "requests/s", (*GRANIAN, *WSGI), 1.1),
    Target(("hello", "db"), "requests/s", ("hurricane",), 4.0),
    Target(("hello", "db"), "requests/s", ("twisted",), 2.0),
    Target(("page",), "requests/s", GRANIAN, 1.2),
    Target(("page",), "requests/s", (*WSGI, "hurricane", "twisted"), 1.1),
    Target(("body100k",), "requests/s", GRANIAN, 1.0),
    Target(("hello",), ADDED_CPU, GRANIAN, 1.0, at_least=False),
    Target(("hello", "page", "body100k", "db"), "p99", GRANIAN, 1.0, at_least=False),
    Target(("static10k",), "requests/s", GRANIAN, 2.2),
    Target(("static10k",), "requests/s", ("nginx",), 0.55),
    Target(("static10m",), "requests/s", ("nginx",), 0.8),
    Target(("static10m",), "CPU", ("nginx",), 2.0, at_least=False),
    Target(("hello",), "requests/s", (QUIET,), 0.93),
)

IDLE_BYTES = 12 * 1024
"""Most memory of an idle connection."""
IDLE_RATE = 0.9
"""Least share of the hello rate beside 5,000 idle connections."""


@dataclass(frozen=True)
class Compared:
    """A target that the run says something about."""

    workload: str
    quantity: str
    against: str
    target: Target
    measured: Paired

    @property
    def reached(self) -> bool:
        return self.target.reached(self.measured.median)


def compare(runs: Iterable[Measured], subject: str) -> list[Compared]:
    """All targets whose workload and servers were measured."""
    return [found for measured in runs for target in TARGETS for found in _compare(measured, target, subject)]


def _compare(measured: Measured, target: Target, subject: str) -> Iterable[Compared]:
    workload = measured.workload.name
    if workload not in target.workloads or subject not in measured.samples:
        return
    for other in target.against:
        name = f"{subject}-{QUIET}" if other == QUIET else other
        ours, theirs = (_values(measured, server, target.quantity) for server in (subject, name))
        if ours and theirs:
            yield Compared(workload, target.quantity, name, target, paired(ours, theirs))


def _values(measured: Measured, server: str, quantity: str) -> list[float]:
    """The quantity in each round; empty when it was not measured."""
    if quantity == ADDED_CPU:
        return measured.added_cpu(server)
    return [QUANTITIES[quantity](sample) for sample in measured.samples.get(server, [])]
