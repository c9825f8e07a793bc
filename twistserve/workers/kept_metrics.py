"""Metrics that are counted before the workers are forked (--preload): each worker goes on from them.

prometheus-client keeps the numbers of a metric in files of the process that declares it. Those of the preloaded process
would belong to no worker. So until the fork numbers are kept in memory, and in a worker they move to its files, as if
it had imported the application itself: counters go on from what is in the file, gauges are set.

When the process identifier changes, prometheus-client opens the files of all numbers anew (`MultiProcessValue`): that
is how numbers move. `KeptNumbers` replaces its `MmapedDict`, as `AllocatedDict` does in a worker.
"""

from __future__ import annotations

import os
from typing import Any

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, Summary, values

from twistserve.workers.allocated_files import AllocatedDict, number_of

Numbers = dict[str, tuple[float, float]]
"""Values and their times by the keys of one file."""


class _Kept:
    """The numbers of this process by the kind of file, and the identifier in the names of files."""

    def __init__(self) -> None:
        self.numbers: dict[str, Numbers] = {}
        self.identifier = "preloaded"


_kept = _Kept()


class KeptNumbers:
    """Numbers in memory, in place of a file."""

    def __init__(self, filename: str) -> None:
        self._numbers = _kept.numbers.setdefault(_kind(filename), {})

    def read_value(self, key: str) -> tuple[float, float]:
        """The number and its time."""
        return self._numbers.setdefault(key, (0.0, 0.0))

    def write_value(self, key: str, value: float, timestamp: float) -> None:
        """Keep a number."""
        self._numbers[key] = value, timestamp

    def close(self) -> None:
        """No effect: there is no file."""


class ContinuedDict(AllocatedDict):
    """A worker's file of numbers, to which the kept numbers are added."""

    def __init__(self, filename: str) -> None:
        self._kept = _kept.numbers.get(_kind(filename), {})
        self._is_gauge = os.path.basename(filename).startswith("gauge")
        super().__init__(filename)

    def read_value(self, key: str) -> tuple[float, float]:
        """The number and its time. The first call for a key adds the kept number."""
        value, timestamp = super().read_value(key)
        kept, kept_at = self._kept.pop(key, (0.0, 0.0))
        if kept or kept_at:
            value, timestamp = (kept, kept_at) if self._is_gauge else (value + kept, timestamp)
            self.write_value(key, value, timestamp)
        return value, timestamp


def keep() -> None:
    """Have prometheus-client keep numbers in memory. Call it before a metric is declared."""
    module: Any = values
    module.MmapedDict = KeptNumbers
    # prometheus-client makes paths from it; they are not used before the parent names the directory.
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
    """The numbers of a metric without labels, or of one with values for them; none of a metric that needs values."""
    return [
        *(vars(metric)[name] for name in ("_value", "_count", "_sum") if name in vars(metric)),
        *vars(metric).get("_buckets", ()),
    ]


def go_on_as(name: str) -> None:
    """Count in files from now on, as the worker of this name. Call it once, in the forked process."""
    module: Any = values
    module.MmapedDict = ContinuedDict
    _kept.identifier = number_of(name)
    # Declaring any metric makes prometheus-client notice the new identifier; this one serves nothing else.
    Counter("twistserve_forked_workers", "Not exposed.", registry=None)


def _kind(filename: str) -> str:
    return os.path.basename(filename).rpartition("_")[0]
