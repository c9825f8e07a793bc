"""Adds up the files in which prometheus-client keeps what each worker counts.

Its own `MultiProcessCollector` reads every name and label again at each scrape: 95 ms for two workers and 200 routes.
But such a file only grows, and only at its end: where a number is and what it is called need be read once. The format
is that of prometheus-client's `MmapedDict`. Only counters and histograms have many series, so only they are added here.
"""

from __future__ import annotations

import json
import os
import re
import struct
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import accumulate, starmap
from math import inf
from threading import Lock
from typing import Protocol

from prometheus_client import Metric
from prometheus_client.samples import Sample
from prometheus_client.utils import floatToGoString

from twistserve.metrics.exposition import Family, escape, line_template

_USED = struct.Struct("=i")
"""How a file begins: with the bytes in use. An entry begins alike, with those of its key."""
_FIRST = 8
"""Where the first entry is."""
_NUMBER = 16
"""Bytes of an entry's number and of a time after it, which counters and histograms have no use for."""

_PLAIN_NAME, _PLAIN_LABEL = re.compile("[a-zA-Z_:][a-zA-Z0-9_:]*"), re.compile("[a-zA-Z_][a-zA-Z0-9_]*")
"""Names that are written as they are. prometheus-client takes any and has rules for how to write the others."""

Labels = dict[str, str]
Key = tuple[tuple[str, str], ...]
"""Labels in their order."""
Names = list[tuple[str, Labels]]
"""A series' samples in the order of their lines."""


class _Series(Protocol):
    """A series, and which of the sums are its samples'."""

    def put(self, name: str, bound: float | None, place: int) -> None:
        """Take up a sample by its name and, if it is a bucket, its upper bound."""

    def names(self, labels: Labels) -> Names:
        """The samples that there are, in a series of these labels."""

    def numbers(self, sums: list[float]) -> tuple[float, ...]:
        """Their numbers."""


class _Count:
    """A counter's."""

    _name, _place = "", 0

    def put(self, name: str, bound: float | None, place: int) -> None:
        self._name, self._place = name, place

    def names(self, labels: Labels) -> Names:
        return [(self._name, labels)]

    def numbers(self, sums: list[float]) -> tuple[float, ...]:
        return (sums[self._place],)


class _Buckets:
    """A histogram's, whose buckets do not hold the lower ones yet; empty while a worker has only begun to make it."""

    _name, _sum = "", 0

    def __init__(self) -> None:
        self._buckets: dict[float, int] = {}

    def put(self, name: str, bound: float | None, place: int) -> None:
        if bound is None:
            self._name, self._sum = name.removesuffix("_sum"), place
            return
        greatest = next(reversed(self._buckets), -inf)
        self._buckets[bound] = place
        if bound < greatest:
            self._buckets = dict(sorted(self._buckets.items()))

    def names(self, labels: Labels) -> Names:
        if inf not in self._buckets:
            return []
        name = f"{self._name}_bucket"
        buckets = [(name, {**labels, "le": floatToGoString(bound)}) for bound in self._buckets]
        return [*buckets, (f"{self._name}_count", labels), (f"{self._name}_sum", labels)]

    def numbers(self, sums: list[float]) -> tuple[float, ...]:
        if inf not in self._buckets:
            return ()
        buckets = [*accumulate([sums[place] for place in self._buckets.values()])]
        return (*buckets, buckets[-1], sums[self._sum])


KINDS: dict[str, Callable[[], _Series]] = {"counter": _Count, "histogram": _Buckets}
"""What is added up here."""


def kind_of(path: str) -> str:
    """The kind of the metrics in a file, which its name begins with."""
    return os.path.basename(path).partition("_")[0]


class _Metric:
    """A metric's series, and what their lines look like."""

    def __init__(self, name: str, documentation: str, kind: str) -> None:
        self._heading = Metric(name, documentation, kind)
        self._make = KINDS[kind]
        self._plain = True
        self._series: dict[Key, _Series] = {}
        self._described: dict[Key, tuple[Names, str]] = {}

    def put(self, name: str, labels: Labels, place: int) -> None:
        """Take up a sample, and which of the sums it is."""
        bound = float(labels.pop("le")) if self._make is _Buckets and "le" in labels else None
        key = tuple(sorted(labels.items()))
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = self._make()
        series.put(name, bound, place)
        self._plain &= bool(_PLAIN_NAME.fullmatch(name)) and all(map(_PLAIN_LABEL.fullmatch, labels))
        self._described.pop(key, None)

    def at(self, sums: list[float]) -> Metric:
        """The metric with these sums; one that writes its lines itself, if its names are plain."""
        found = [
            (*(self._described.get(key) or self._describe(key, series)), series.numbers(sums))
            for key, series in self._series.items()
        ]
        if not self._plain:
            return self._sampled(found)
        return Family(
            self._heading,
            lambda: "".join([template % numbers for _, template, numbers in found]),
            lambda: [self._sampled(found)],
        )

    def _describe(self, key: Key, series: _Series) -> tuple[Names, str]:
        written = series.names({label: escape(value) for label, value in key})
        self._described[key] = described = series.names(dict(key)), "".join(starmap(line_template, written))
        return described

    def _sampled(self, found: list[tuple[Names, str, tuple[float, ...]]]) -> Metric:
        metric = Metric(self._heading.name, self._heading.documentation, self._heading.type)
        for names, _, numbers in found:
            metric.samples += [Sample(*name, number) for name, number in zip(names, numbers, strict=True)]
        return metric


class _File:
    """What is known of a file."""

    def __init__(self, inode: int) -> None:
        self.inode = inode
        self.places: list[int] = []
        """Which of the sums each number belongs to."""
        self._used = _FIRST
        self._layout = f"={_FIRST}x"
        self._numbers = struct.Struct(self._layout)

    def read(self, data: bytes, place: Callable[[bytes], int]) -> tuple[float, ...]:
        """The numbers; `place` is asked about each key that is new."""
        at, layout = self._used, [self._layout]
        while at < len(data):
            (length,) = _USED.unpack_from(data, at)
            key = at + _USED.size
            number = key + length + 8 - (length + _USED.size) % 8
            self.places.append(place(data[key : key + length]))
            layout.append(f"{number - at}xd{_NUMBER - 8}x")
            at = number + _NUMBER
        if at > self._used:
            self._used, self._layout = at, "".join(layout)
            self._numbers = struct.Struct(self._layout)
        return self._numbers.unpack_from(data)


class Sums:
    """The counters and histograms of all workers."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._forget()

    def _forget(self) -> None:
        self._files: dict[str, _File] = {}
        self._places: dict[bytes, int] = {}
        self._samples: dict[tuple[str, str, Key], int] = {}
        self._metrics: dict[tuple[str, str], _Metric] = {}

    def collect(self, paths: Iterable[str]) -> list[Metric]:
        """What is in the files, all of one of the `KINDS`; callable from any thread.

        A file that is gone, or has been made anew, ends what is known of all; so does one that cannot be read, of which
        only a part may be known by then.
        """
        with self._lock:
            try:
                return self._add_up(paths)
            except BaseException:
                self._forget()
                raise

    def _add_up(self, paths: Iterable[str]) -> list[Metric]:
        found = {path: read for path in paths if (read := _read(path)) is not None}
        if any(path not in found or found[path][0] != file.inode for path, file in self._files.items()):
            self._forget()
        numbers = [self._take(path, inode, data) for path, (inode, data) in found.items()]
        sums = [0.0] * len(self._samples)
        for places, values in numbers:
            for place, value in zip(places, values, strict=True):
                sums[place] += value
        return [metric.at(sums) for metric in self._metrics.values()]

    def _take(self, path: str, inode: int, data: bytes) -> tuple[list[int], tuple[float, ...]]:
        file = self._files.setdefault(path, _File(inode))
        kind = kind_of(path)
        return file.places, file.read(data, lambda key: self._place(kind, key))

    def _place(self, kind: str, key: bytes) -> int:
        """Which of the sums a key's number belongs to; the help text, which is part of it, does not matter."""
        place = self._places.get(key)
        if place is None:
            metric, name, labels, documentation = json.loads(key.decode())
            sample = kind, name, tuple(sorted(labels.items()))
            place = self._samples.get(sample)
            if place is None:
                place = self._samples[sample] = len(self._samples)
                if (kind, metric) not in self._metrics:
                    self._metrics[kind, metric] = _Metric(metric, documentation, kind)
                self._metrics[kind, metric].put(name, labels, place)
            self._places[key] = place
        return place


def _read(path: str) -> tuple[int, bytes] | None:
    """A file's inode, and what of it is in use; None if it is gone, or has only just been made."""
    with suppress(FileNotFoundError), open(path, "rb") as file:
        data = file.read(_FIRST)
        if len(data) == _FIRST:
            (used,) = _USED.unpack_from(data)
            return os.fstat(file.fileno()).st_ino, data + file.read(max(used - _FIRST, 0))
    return None
