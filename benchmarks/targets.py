"""The goals, as data, beside what was measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from benchmarks.layouts import LAYOUTS, ONE_CORE, TWO_CORES, TWO_WORKERS, Layout
from benchmarks.ratios import Paired, paired
from benchmarks.rounds import Measured, Sample

GRANIAN = ("granian-1", "granian-8")
GRANIAN_TWICE = ("granian-2x1", "granian-2x4")
COMPARED = (*GRANIAN, "granian-8-pinned", *GRANIAN_TWICE, "gunicorn", "uwsgi")
"""Servers whose p99 is compared. Not uwsgi-keepalive, which hides the time that connections wait for a thread."""
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
    layout: Layout = ONE_CORE
    best: bool = False
    """Whether only the best of the others counts, instead of each."""

    def reached(self, ratio: float) -> bool:
        """Whether a ratio is within the bound; NaN never is."""
        return ratio >= self.bound if self.at_least else ratio <= self.bound


QUIET = "quiet"
"""Stands for the variant of twistserve without access log and metrics."""

EVERYWHERE = ("hello", "browser", "page", "pgpage", "pgquery", "db", "body100k", "hash")
"""Workloads with goals in every layout."""

TARGETS = (
    # One core
    Target(("pgpage", "pgquery"), "requests/s", ("granian-8", "gunicorn", "uwsgi"), 1.0),
    Target(("page", "db", "hash"), "requests/s", ("granian-8",), 1.0),
    Target(("hello", "browser", "body100k"), "requests/s", ("granian-8",), 0.9),
    # Two cores, one process
    Target(("pgpage",), "requests/s", ("granian-8",), 1.3, layout=TWO_CORES),
    Target(("pgquery",), "requests/s", ("granian-8",), 1.45, layout=TWO_CORES),
    Target(("page",), "requests/s", ("granian-8",), 2.0, layout=TWO_CORES),
    Target(("db",), "requests/s", ("granian-8",), 1.5, layout=TWO_CORES),
    Target(("hello", "browser"), "requests/s", ("granian-8",), 0.95, layout=TWO_CORES),
    Target(("body100k",), "requests/s", ("granian-8",), 0.9, layout=TWO_CORES),
    Target(("hash",), "requests/s", ("granian-8",), 1.0, layout=TWO_CORES),
    # Two workers on two cores
    Target(("pgpage", "page", "db"), "requests/s", GRANIAN_TWICE, 1.05, layout=TWO_WORKERS, best=True),
    Target(("pgquery",), "requests/s", GRANIAN_TWICE, 1.1, layout=TWO_WORKERS, best=True),
    Target(("hello", "browser"), "requests/s", GRANIAN_TWICE, 0.95, layout=TWO_WORKERS, best=True),
    Target(("hash",), "requests/s", GRANIAN_TWICE, 1.0, layout=TWO_WORKERS, best=True),
    # Every layout
    *(
        Target(EVERYWHERE, "p99", COMPARED, 1.0, at_least=False, layout=layout, best=True)
        for layout in LAYOUTS.values()
    ),
    # One core, against other servers and for other workloads
    Target(("hello", "db"), "requests/s", ("granian-1", *WSGI), 1.1),
    Target(("hello", "db"), "requests/s", ("hurricane",), 4.0),
    Target(("hello", "db"), "requests/s", ("twisted",), 2.0),
    Target(("page",), "requests/s", ("granian-1",), 1.2),
    Target(("page",), "requests/s", (*WSGI, "hurricane", "twisted"), 1.1),
    Target(("body100k",), "requests/s", ("granian-1",), 1.0),
    Target(("hello",), ADDED_CPU, GRANIAN, 1.0, at_least=False),
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

    @property
    def shown(self) -> str:
        """The other server, as a report shows it."""
        return f"{self.against} (the best)" if self.target.best else self.against


def compare(runs: Iterable[Measured], subject: str, layout: Layout = ONE_CORE) -> list[Compared]:
    """All targets of the layout whose workload and servers were measured."""
    targets = [target for target in TARGETS if target.layout is layout]
    return [found for measured in runs for target in targets for found in _compare(measured, target, subject)]


def _compare(measured: Measured, target: Target, subject: str) -> list[Compared]:
    workload = measured.workload.name
    if workload not in target.workloads or subject not in measured.samples:
        return []
    found = []
    for other in target.against:
        name = f"{subject}-{QUIET}" if other == QUIET else other
        ours, theirs = (_values(measured, server, target.quantity) for server in (subject, name))
        if ours and theirs:
            found.append(Compared(workload, target.quantity, name, target, paired(ours, theirs)))
    return _hardest(found, target) if target.best else found


def _hardest(found: list[Compared], target: Target) -> list[Compared]:
    """The comparison with the best of the others, which has the worst ratio; unknown ratios come last."""
    known = [one for one in found if not math.isnan(one.measured.median)] or found
    choose = min if target.at_least else max
    return [choose(known, key=lambda one: one.measured.median)] if known else []


def _values(measured: Measured, server: str, quantity: str) -> list[float]:
    """The quantity in each round; empty when it was not measured."""
    if quantity == ADDED_CPU:
        return measured.added_cpu(server)
    return [QUANTITIES[quantity](sample) for sample in measured.samples.get(server, [])]
