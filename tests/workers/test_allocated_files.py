"""The files of the workers' metrics: room that is there before it is written, and no error without."""

from __future__ import annotations

import errno
import inspect
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, mmap_dict, values
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.multiprocess import MultiProcessCollector

from twistserve.workers import allocated_files as allocated
from twistserve.workers.allocated_files import LEAST, RETRY, SIZES, AllocatedDict, Shortage


class Disk:
    """A file system with so much room, in place of posix_fallocate(3); `time` is the dictionaries' clock."""

    def __init__(self) -> None:
        self.room = 1 << 30
        self.time = 0.0
        self.asked = 0
        self._opened: list[AllocatedDict] = []

    def open(self, path: Path) -> AllocatedDict:
        """A dictionary that is closed after the test."""
        self._opened.append(AllocatedDict(str(path)))
        return self._opened[-1]

    def close(self) -> None:
        for each in self._opened:
            each.close()

    def fallocate(self, descriptor: int, offset: int, size: int) -> None:
        self.asked += 1
        if size > self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.room -= size
        os.posix_fallocate(descriptor, offset, size)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    disk = Disk()
    monkeypatch.setattr(allocated._allocate, "__defaults__", (disk.fallocate,))
    monkeypatch.setattr(AllocatedDict, "clock", staticmethod(lambda: disk.time))
    monkeypatch.setattr(allocated, "shortage", Shortage())
    yield disk
    disk.close()


def key(name: str, size: int = 100) -> str:
    return mmap_key(name, name, ["label"], ["x" * size], "Help.")


def read(path: Path) -> dict[str, float]:
    """What the parent reads of a file, by the label's metric."""
    return {
        found.partition('"')[2].partition('"')[0]: value
        for found, value, *_ in MmapedDict.read_all_values_from_file(str(path))
    }


def test_what_is_used_of_prometheus_client() -> None:
    """The private names that `AllocatedDict` and the workers rely on: if one moves, this fails first."""
    assert vars(values)["MmapedDict"] is MmapedDict
    assert {"_f", "_m", "_fname", "_capacity", "_used", "_positions"} <= {*MmapedDict.__init__.__code__.co_names}
    source = inspect.getsource(MmapedDict._init_value)
    for name in ("self._used + len(value) > self._capacity", "self._positions[key] = ", "self._m["):
        assert name in source
    assert list(inspect.signature(MmapedDict.__init__).parameters) == ["self", "filename", "read_mode"]
    assert "MmapedDict(filename)" in inspect.getsource(values.MultiProcessValue)
    assert mmap_dict._INITIAL_MMAP_SIZE == LEAST


@pytest.mark.parametrize("kind", ["histogram", "counter", "gauge_livesum", "summary"])
def test_a_file_has_its_room_from_the_start(disk: Disk, tmp_path: Path, kind: str) -> None:
    """As much as its kind wants, with blocks for all of it."""
    path = tmp_path / f"{kind}_1.db"
    disk.open(path)
    status = path.stat()
    assert status.st_size == SIZES.get(kind, LEAST)
    assert status.st_blocks * 512 >= status.st_size
    assert read(path) == {}


def test_less_room_is_taken_where_there_is_less(disk: Disk, tmp_path: Path) -> None:
    """The least that prometheus-client would have taken."""
    disk.room = LEAST
    path = tmp_path / "histogram_1.db"
    disk.open(path).write_value(key("a"), 1, 0)
    assert path.stat().st_size == LEAST
    assert read(path) == {"a": 1}


def test_it_grows_with_its_room(disk: Disk, tmp_path: Path) -> None:
    """Never beyond what is allocated, whatever the keys' sizes, and keeps what it has."""
    path = tmp_path / "gauge_all_1.db"
    numbers = disk.open(path)
    for number in range(300):
        numbers.write_value(key(f"m{number}", size=number * 7), number, 0)
        status = path.stat()
        assert status.st_size == numbers._capacity
        assert status.st_blocks * 512 >= status.st_size
    numbers.write_value(key("large", size=3 * LEAST), 1, 0)
    numbers.close()
    assert read(path) == {**{f"m{number}": float(number) for number in range(300)}, "large": 1.0}
    again = disk.open(path)
    assert again.read_value(key("m7", size=49)) == (7, 0)


def test_no_room_from_the_start(disk: Disk, tmp_path: Path) -> None:
    """Everything is 0, nothing is left behind, nothing is raised, and room is looked for again only after a while."""
    disk.room = 0
    path = tmp_path / "counter_1.db"
    numbers = disk.open(path)
    asked = disk.asked
    for _ in range(5):
        numbers.write_value(key("a"), 1, 0)
        assert numbers.read_value(key("a")) == (0, 0)
    assert disk.asked == asked
    assert not path.exists()
    assert allocated.shortage.reason == f"{tmp_path}: No space left on device"
    disk.room, disk.time = 1 << 20, RETRY
    numbers.write_value(key("a"), 7, 0)
    assert read(path) == {"a": 7}


def test_no_room_to_grow(disk: Disk, tmp_path: Path) -> None:
    """What is there is counted on, what comes is not; what it had counted is there when there is room again."""
    disk.room = LEAST
    path = tmp_path / "gauge_all_1.db"
    numbers = disk.open(path)
    numbers.write_value(key("first"), 1, 0)
    numbers.write_value(key("large", size=LEAST), 1, 0)
    numbers.write_value(key("large", size=LEAST), 2, 0)
    numbers.write_value(key("first"), 2, 0)
    assert numbers.read_value(key("large", size=LEAST)) == (0, 0)
    assert read(path) == {"first": 2}
    assert path.stat().st_size == LEAST
    assert "No space left" in allocated.shortage.reason
    disk.room, disk.time = 1 << 20, RETRY
    numbers.write_value(key("large", size=LEAST), 3, 0)
    assert read(path) == {"first": 2, "large": 3}


def test_a_file_that_cannot_be_opened(disk: Disk, tmp_path: Path) -> None:
    """The directory is gone, or something else is there: uncounted too."""
    for path in (tmp_path / "none" / "counter_1.db", tmp_path):
        numbers = disk.open(path)
        numbers.write_value(key("a"), 1, 0)
        assert numbers.read_value(key("a")) == (0, 0)
        numbers.close()


def test_a_file_that_makes_no_sense(disk: Disk, tmp_path: Path) -> None:
    """It is left as it is: its numbers are unknown."""
    path = tmp_path / "counter_1.db"
    path.write_bytes(b"\xff\x00\x00\x00" * 64)
    numbers = disk.open(path)
    disk.time = RETRY
    numbers.write_value(key("a"), 1, 0)
    assert path.read_bytes() == b"\xff\x00\x00\x00" * 64


def test_an_empty_file_is_made_anew(disk: Disk, tmp_path: Path) -> None:
    """A worker was killed before it had allocated it: prometheus-client would make it sparse."""
    path = tmp_path / "counter_1.db"
    path.touch()
    disk.open(path).write_value(key("a"), 1, 0)
    assert path.stat().st_blocks * 512 >= path.stat().st_size == SIZES["counter"]
    assert read(path) == {"a": 1}


def test_a_file_system_without_allocation(tmp_path: Path) -> None:
    """Zeros are written."""

    def unknown(descriptor: int, offset: int, size: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "unknown")

    path = tmp_path / "file"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    os.write(descriptor, b"x" * 10)
    allocated._allocate(descriptor, 10, 5000, unknown)
    os.close(descriptor)
    assert path.read_bytes() == b"x" * 10 + bytes(4990)


def test_nothing_is_raised_in_the_application(disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Metrics of every kind are declared, labelled and counted without any room."""
    disk.room = 0
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    monkeypatch.setattr(values, "MmapedDict", AllocatedDict)
    monkeypatch.setattr(values, "ValueClass", values.MultiProcessValue(lambda: "1"))
    monkeypatch.setattr(values, "_multi_process_cleanups", [])
    registry: Any = CollectorRegistry()
    for _ in range(2):
        Counter("calls", "Calls.", ["who"], registry=None).labels("me").inc()
        Histogram("took", "Time.", ["who"], registry=None).labels("me").observe(1)
        Gauge("size", "Size.", registry=registry, multiprocess_mode="all").set(3)
        registry = None
    assert list(tmp_path.iterdir()) == []


def test_what_the_parent_reads_of_a_file_at_any_moment(disk: Disk, tmp_path: Path) -> None:
    """Nothing of one that has only been allocated, and of one that has grown what is used of it."""
    paths = [tmp_path / "counter_1.db", tmp_path / "gauge_all_1.db", tmp_path / "histogram_1.db"]
    for path in paths:
        allocated._create(str(path), (LEAST,))
    everything = [str(path) for path in paths]
    assert [*MultiProcessCollector.merge([everything[0], everything[2]])] == []
    assert list(MultiProcessCollector.merge(everything)) == []
    numbers = disk.open(paths[0])
    for number in range(2 * LEAST // 200):
        numbers.write_value(key(f"m{number}"), number, 0)
    found = {metric.name: metric.samples for metric in MultiProcessCollector.merge(everything[:1])}
    assert len(found) == 2 * LEAST // 200
    assert found["m7"][0].value == 7
    assert read(paths[0])["m7"] == 7
