"""What the workers have counted together is what prometheus-client makes of the same files, which it wrote itself."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, values
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.parser import text_string_to_metric_families as parse

from tests.support.exposition import HOSTILE, samples
from twistserve.metrics.exposition import OPENMETRICS, TEXT, expose
from twistserve.workers.metric_files import Sums

BUCKETS = (0.001, 0.5, 60)


class Files:
    """A directory of files, and what is read of them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.sums = Sums()

    def collect(self) -> list[Any]:
        return self.sums.collect([*map(str, self.directory.glob("*.db"))])

    def ours(self) -> Any:
        """The samples as a scraper reads them, which are those that the families tell of too."""
        families = self.collect()
        text = expose(type("Source", (), {"collect": lambda self: families})(), TEXT).decode()
        found = samples(parse(text))
        assert found == samples(families)
        return found

    def theirs(self) -> Any:
        return samples(MultiProcessCollector.merge([*map(str, self.directory.glob("*.db"))]))


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


class Worker:
    """Metrics as a worker process has them, which lie in files with its number."""

    def __init__(self, files: Files, number: int, buckets: tuple[float, ...] = BUCKETS, text: str = "Calls.") -> None:
        with pytest.MonkeyPatch.context() as patched:
            patched.setenv("PROMETHEUS_MULTIPROC_DIR", str(files.directory))
            patched.setattr(values, "ValueClass", values.MultiProcessValue(lambda: str(number)))
            registry = CollectorRegistry()
            self.calls = Counter("calls", text, ["who", "how"], registry=registry)
            self.plain = Counter("plain", "All of them.", registry=registry)
            self.took = Histogram("took_seconds", "Time.", ["who"], buckets=buckets, registry=registry)
            self.size = Histogram("size_bytes", "Bytes.", buckets=(1, 10), registry=registry)
        self._make = values.MultiProcessValue(lambda: str(number))
        self._directory = files.directory

    def work(self, who: str, times: int = 1) -> None:
        with pytest.MonkeyPatch.context() as patched:
            # A series is made when its labels are first used.
            patched.setenv("PROMETHEUS_MULTIPROC_DIR", str(self._directory))
            patched.setattr(values, "ValueClass", self._make)
            for time in range(times):
                self.calls.labels(who, "x").inc(0.5)
                self.took.labels(who).observe(time / 4)
                self.size.observe(time)


def test_nothing(files: Files) -> None:
    """There are no metrics where there are no files."""
    assert files.collect() == []


def test_the_sums_of_several_workers(files: Files) -> None:
    """At each scrape, while series come and numbers rise, whatever the labels are."""
    first, second = Worker(files, 1), Worker(files, 2)
    assert files.ours() == files.theirs()
    for who in HOSTILE:
        first.work(who, 3)
        second.work(who + "!", 2)
        second.work(HOSTILE[0])
        assert files.ours() == files.theirs()
    third = Worker(files, 3)
    third.work(HOSTILE[0], 5)
    found = files.ours()
    assert found == files.theirs()
    assert found["calls_total", frozenset({("who", HOSTILE[0]), ("how", "x")})] == (3 + len(HOSTILE) + 5) / 2


def test_the_headings_are_prometheus_clients(files: Files) -> None:
    """Name, help text and type of each metric."""
    Worker(files, 1, text="Don't \\ worry.\nThere is more.").work("me")
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(files.directory))
    text = expose(type("Source", (), {"collect": lambda self: files.collect()})(), TEXT).decode()
    headings = {line for line in generate_latest(registry).decode().splitlines() if line.startswith("#")}
    assert {line for line in text.splitlines() if line.startswith("#")} == headings


@pytest.mark.parametrize("content_type", [TEXT, OPENMETRICS])
def test_names_that_are_not_written_as_they_are(files: Files, content_type: str) -> None:
    """prometheus-client takes any name, also one with a percent sign, and knows how to write it."""
    kinds = {kind: MmapedDict(str(files.directory / f"{kind}_1.db")) for kind in ("counter", "histogram")}

    def write(kind: str, metric: str, suffix: str, **labels: str) -> None:
        key = mmap_key(metric, metric + suffix, [*labels], [*labels.values()], "Help.")
        kinds[kind].write_value(key, 2.0, 0.0)

    write("counter", "http.calls", "_total", who="me")
    write("counter", "share_%", "_total")
    write("counter", "calls", "_total", **{"http.route": "/100%/"})
    write("histogram", "took.seconds", "_sum", **{"%s": "x"})
    write("histogram", "took.seconds", "_bucket", **{"%s": "x", "le": "+Inf"})
    for file in kinds.values():
        file.close()

    def lines(families: Any) -> list[str]:
        return sorted(
            expose(type("Source", (), {"collect": lambda self: families})(), content_type).decode().split("\n")
        )

    assert lines(files.collect()) == lines(MultiProcessCollector.merge([*map(str, files.directory.glob("*.db"))]))


def test_workers_of_different_code(files: Files) -> None:
    """New code may describe a metric in other words and have other buckets."""
    Worker(files, 1).work("me", 3)
    assert files.ours() == files.theirs()
    Worker(files, 2, buckets=(0.1, 0.5, 10), text="Calls, counted.").work("me", 4)
    assert files.ours() == files.theirs()


def test_a_histogram_that_is_only_being_made(files: Files) -> None:
    """It is not there before it is whole: Prometheus could make nothing of its buckets."""
    file = MmapedDict(str(files.directory / "histogram_1.db"))

    def write(name: str, number: float, **labels: str) -> None:
        file.write_value(mmap_key("took", name, [*labels], [*labels.values()], "Time."), number, 0.0)

    write("took_sum", 2.0)
    write("took_bucket", 1.0, le="1.0")
    assert files.ours() == {}
    write("took_bucket", 1.0, le="+Inf")
    assert files.ours() == files.theirs()
    assert files.ours()["took_count", frozenset()] == 2
    file.close()


@pytest.mark.parametrize("change", ["gone", "renewed", "empty"])
def test_a_file_that_is_another_one(files: Files, change: str) -> None:
    """Nothing of what was known is taken for what is there now."""
    Worker(files, 1).work("me", 3)
    Worker(files, 2).work("you")
    assert files.ours() == files.theirs()
    kept = []
    for path in files.directory.glob("*_1.db"):
        # Open, so that the next file is another inode.
        kept.append(path.open("rb"))
        path.unlink()
        if change == "empty":
            path.touch()
    if change == "renewed":
        Worker(files, 1).work("else", 4)
    found = files.ours()
    if change == "empty":
        for path in files.directory.glob("*_1.db"):
            path.unlink()
    assert found == files.theirs()
    for file in kept:
        file.close()


def test_an_entry_that_could_not_be_read(files: Files) -> None:
    """A processor may show that there is one before the entry itself: the scrape fails, the next one does not."""
    Worker(files, 1).work("me", 3)
    assert files.ours() == files.theirs()
    path = files.directory / "counter_1.db"
    before = path.read_bytes()
    Worker(files, 1).work("you", 2)
    Worker(files, 1).work("them", 2)
    after = path.read_bytes()
    torn = bytearray(after)
    last = after.rindex(b'["calls"')
    torn[last:] = bytes(len(torn) - last)
    for wrong in (bytes(torn), before[:4] + bytes(len(before) - 4)):
        path.write_bytes(wrong)
        with pytest.raises((ValueError, struct.error)):
            files.collect()
        path.write_bytes(after)
        assert files.ours() == files.theirs()


def test_a_file_that_is_gone_when_it_is_read(files: Files) -> None:
    """The directory is removed when the service ends."""
    assert files.sums.collect([str(files.directory / "counter_1.db")]) == []


Steps = st.lists(st.tuples(st.integers(1, 3), st.text(max_size=5), st.integers(0, 3), st.booleans()), max_size=20)


@given(steps=Steps)
@settings(max_examples=30, deadline=None)
def test_whatever_is_counted(tmp_path_factory: pytest.TempPathFactory, steps: Any) -> None:
    """Series that come in any order in any worker, looked at at any time."""
    files = Files(tmp_path_factory.mktemp("files"))
    workers: dict[int, Worker] = {}
    for number, who, times, look in steps:
        if number not in workers:
            workers[number] = Worker(files, number)
        workers[number].work(who, times)
        if look:
            assert files.ours() == files.theirs()
    assert files.ours() == files.theirs()
