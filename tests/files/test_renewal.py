"""Static files that are replaced while they are served: in which order, and what is done when that fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from twistserve.files.renewal import Renewal


class Bench:
    """What a renewal deals with: each notes what it is asked for. The reactor does at once what it is told."""

    def __init__(self, changing: bool = False) -> None:
        self.done: list[str] = []
        self.caches: list[object] = []
        self.changing = changing
        self.failure: Exception | None = None
        anything: Any = self
        self.renewal = Renewal(anything, anything, [anything, anything], self.note("mount"), self.call)

    def note(self, what: str) -> Callable[[], None]:
        return lambda: self.done.append(what)

    def call(self, function: Any, *arguments: Any) -> None:
        function(*arguments)

    def pause(self, idle: Callable[[], object]) -> None:
        self.done.append("pause")
        idle()

    def resume(self) -> None:
        self.done.append("resume")

    def renewed(self, storage: Any) -> Callable[[], None]:
        self.done.append(f"index for {storage}")
        if self.failure is not None:
            raise self.failure
        return self.note("in force")

    def renew(self, cache: Any) -> None:
        self.done.append("forget")
        self.caches.append(cache)

    def fail(self) -> None:
        self.done.append("replace")
        raise OSError("full")


AFTER_REPLACING = ["index for a storage", "in force", "forget", "forget", "mount", "resume"]


def test_the_order() -> None:
    """No file is opened while files are replaced; index and caches change together, and the handlers share a cache."""
    bench = Bench()
    bench.renewal.renew(bench.note("replace"), "a storage")
    assert bench.done == ["pause", "replace", *AFTER_REPLACING]
    assert bench.caches[0] is bench.caches[1]


def test_files_that_could_not_be_replaced() -> None:
    """Some of them may have been: the index tells what there is."""
    bench = Bench()
    with pytest.raises(OSError, match="full"):
        bench.renewal.renew(bench.fail, "a storage")
    assert bench.done == ["pause", "replace", *AFTER_REPLACING]


def test_an_index_that_cannot_be_made() -> None:
    """The one from before stays, and nobody waits for ever."""
    bench = Bench()
    bench.failure = OSError("gone")
    with pytest.raises(OSError, match="gone"):
        bench.renewal.renew(bench.note("replace"), "a storage")
    assert bench.done == ["pause", "replace", "index for a storage", "resume"]


def test_files_that_each_request_looks_for() -> None:
    """There is nothing to forget."""
    bench = Bench(changing=True)
    bench.renewal.renew(bench.note("replace"), "a storage")
    assert bench.done == ["pause", "replace", "index for a storage", "in force", "resume"]
