"""What is counted before the workers are forked, with --preload: each of them goes on from it.

A metric that is declared while the application is imported has its numbers in files of the process that declares it.
These would be those of no worker; so until the fork they are kept in memory, and in a worker they move to its files,
as if it had imported the application itself: counters go on from what is there, gauges are set.

prometheus-client opens the files of all numbers anew when the process identifier changes (`MultiProcessValue`), which
it has for forks. `KeptNumbers` takes the place of its `MmapedDict`, as `AllocatedDict` does in a worker.
"""

from __future__ import annotations

import os
from typing import Any

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, Summary, values

from twistserve.workers.allocated_files import AllocatedDict, number_of

Numbers = dict[str, tuple[float, float]]
"""Values and their times by the keys of one file."""


class _Kept:
    """The numbers of this process by the kind of file, and whose number it counts by."""

    def __init__(self) -> None:
        self.numbers: dict[str, Numbers] = {}
        self.identifier = "preloaded"


_kept = _Kept()


class KeptNumbers:
    """A file of numbers that is none."""

    def __init__(self, filename: str) -> None:
        self._numbers = _kept.numbers.setdefault(_kind(filename), {})

    def read_value(self, key: str) -> tuple[float, float]:
        """The number and its time."""
        return self._numbers.setdefault(key, (0.0, 0.0))

    def write_value(self, key: str, value: float, timestamp: float) -> None:
        """Keep a number."""
        self._numbers[key] = value, timestamp

    def close(self) -> None:
        """Nothing is open."""


class ContinuedDict(AllocatedDict):
    """A worker's file of numbers, which begins with what was kept."""

    def __init__(self, filename: str) -> None:
        self._kept = _kept.numbers.get(_kind(filename), {})
        self._is_gauge = os.path.basename(filename).startswith("gauge")
        super().__init__(filename)

    def read_value(self, key: str) -> tuple[float, float]:
        """The number and its time; for the first time with what was kept of it."""
        value, timestamp = super().read_value(key)
        kept, at = self._kept.pop(key, (0.0, 0.0))
        if kept or at:
            value, timestamp = (kept, at) if self._is_gauge else (value + kept, timestamp)
            self.write_value(key, value, timestamp)
        return value, timestamp


def keep() -> None:
    """Have prometheus-client keep in memory what is counted. Before a metric is declared."""
    module: Any = values
    module.MmapedDict = KeptNumbers
    # prometheus-client makes paths of it, which are those of no file until the parent says where the workers' are.
    os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", "")
    values.ValueClass = values.MultiProcessValue(lambda: _kept.identifier)


def keep_what_is_declared() -> None:
    """The same for metrics that were declared in the process that this one was forked from."""
    keep()
    for declared in list(REGISTRY._collector_to_names):
        if isinstance(declared, Counter | Gauge | Histogram | Summary):
            for each in (declared, *getattr(declared, "_metrics", {}).values()):
                before = _values_of(each)
                if before:
                    each._metric_init()
                for new, old in zip(_values_of(each), before, strict=True):
                    if old.get():
                        new.set(old.get())


def _values_of(metric: Any) -> list[Any]:
    """The numbers of a metric that has no labels, or has those that it needs."""
    return [
        *(vars(metric)[name] for name in ("_value", "_count", "_sum") if name in vars(metric)),
        *vars(metric).get("_buckets", ()),
    ]


def go_on_as(name: str) -> None:
    """Count in files from now on, as the worker of this name: once, in the forked process."""
    module: Any = values
    module.MmapedDict = ContinuedDict
    _kept.identifier = number_of(name)
    # Any number has all of them move; this one is nobody's.
    Counter("twistserve_forked_workers", "Not exposed.", registry=None)


def _kind(filename: str) -> str:
    return os.path.basename(filename).rpartition("_")[0]
