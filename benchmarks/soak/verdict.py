"""What is flat, and what is a fault.

The slope of a series over the second half of a phase is the median of the slopes between all pairs of its points
(Theil and Sen): a quarter of the points may be wild without moving it far. The slope times the length of that half is
what the series has grown by.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median

from benchmarks.soak.samples import Process, Sample

SHORTEST = 120.0
"""Seconds of a phase below which nothing is judged: the first minutes are warm-up."""
MOST_POINTS = 240
"""Of a series: with more, medians of neighbours are taken, since the pairs are many."""
MEMORY = (3 << 20, 0.03)
DESCRIPTORS = (6, 0.1)
THREADS = (2, 0.1)
"""What a series may grow by, in its unit and as a share of its median, whichever is more."""
MEBIBYTE = 1 << 20

Series = list[tuple[float, float]]
"""Points of seconds and a value."""


@dataclass(frozen=True)
class Judged:
    """A series and what it has grown by."""

    what: str
    unit: int
    """What it is shown in."""
    median: float
    highest: float
    growth: float
    bound: float
    too_short: bool = False

    @property
    def flat(self) -> bool:
        """Whether it has grown by no more than it may; what is too short to be judged is."""
        return self.too_short or self.growth <= self.bound


def slope(points: Series) -> float:
    """The median of the slopes of all pairs; 0 for fewer than two points."""
    slopes = [(y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in combinations(thinned(points), 2) if x2 > x1]
    return median(slopes) if slopes else 0.0


def thinned(points: Series) -> Series:
    """At most so many points, medians of their neighbours."""
    size = -(-len(points) // MOST_POINTS) or 1
    groups = (points[at : at + size] for at in range(0, len(points), size))
    return [(median(x for x, _ in group), median(y for _, y in group)) for group in groups]


def judge(what: str, points: Series, bound: tuple[float, float], seconds: float, unit: int = 1) -> Judged:
    """A series of a phase that took so many seconds, by its second half."""
    late = [point for point in points if point[0] >= seconds / 2]
    values = [value for _, value in late]
    middle = median(values) if values else 0.0
    growth = slope(late) * (late[-1][0] - late[0][0]) if late else 0.0
    least, share = bound
    return Judged(what, unit, middle, max(values, default=0.0), growth, max(least, share * middle), seconds < SHORTEST)


def judgements(samples: Sequence[Sample], seconds: float, first: int, recycling: bool) -> Iterator[Judged]:
    """All that has to be flat.

    Workers that are replaced begin anew, so that all processes together are judged. Those that stay are judged one by
    one.
    """
    judged = {first} if recycling else set(samples[-1].processes)
    for number, pid in enumerate(sorted(judged)):
        name = named(samples[-1].processes[pid].title) if pid in samples[-1].processes else str(number)
        yield judge(f"{name}: memory, MiB", _of(samples, pid, "memory"), MEMORY, seconds, MEBIBYTE)
        yield judge(f"{name}: descriptors", _of(samples, pid, "descriptors"), DESCRIPTORS, seconds)
        yield judge(f"{name}: threads", _of(samples, pid, "threads"), THREADS, seconds)
    if recycling:
        yield judge("all: memory, MiB", _of_all(samples, "memory"), (20 << 20, 0.1), seconds, MEBIBYTE)
        yield judge("all: descriptors", _of_all(samples, "descriptors"), DESCRIPTORS, seconds)
        yield judge("all: threads", _of_all(samples, "threads"), THREADS, seconds)
    yield judge("processes", [(sample.at, len(sample.processes)) for sample in samples], (0.5, 0), seconds)


def named(title: str) -> str:
    """A process as it is called in tables."""
    return title.removeprefix("twistserve: ") if title.startswith("twistserve: ") else "process"


def _of(samples: Sequence[Sample], pid: int, attribute: str) -> Series:
    return [
        (sample.at, float(getattr(sample.processes[pid], attribute))) for sample in samples if pid in sample.processes
    ]


def _of_all(samples: Sequence[Sample], attribute: str) -> Series:
    def total(processes: dict[int, Process]) -> float:
        return float(sum(getattr(process, attribute) for process in processes.values()))

    return [(sample.at, total(sample.processes)) for sample in samples]
