"""How descriptors are divided, and the part of them that only the probe port may take."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator

import pytest

from twistserve.net import open_files


@pytest.fixture
def limit() -> Iterator[Callable[[int], None]]:
    """Set the soft limit; it is as before afterwards."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield lambda soft: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, before[1]))
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize(
    ("usable", "threads", "connections"),
    [(1008, 8, 568), (240, 8, 102), (56, 8, 7), (56, 100, 7), (4, 8, 1), (1 << 20, 8, 698946)],
)
def test_what_is_left_for_connections(usable: int, threads: int, connections: int) -> None:
    """Two thirds of what the others leave, and some however few there are."""
    assert open_files.connections_of(usable, 16, min(100, usable // 8), threads) == connections


def test_nothing_is_said_where_all_fit(caplog: pytest.LogCaptureFixture) -> None:
    """What is wanted is what there is."""
    assert open_files.bound_connections(10, 1) == 10
    assert not caplog.records


def test_what_does_not_fit_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """The limit, what was wanted, what there is, and what to do."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    possible = open_files.bound_connections(hard, 1)
    assert 0 < possible < hard
    (record,) = caplog.records
    text = record.getMessage()
    assert f"the limit of open files is {hard}: at most {possible} connections" in text
    assert f"not the {hard} of --max-connections" in text
    assert "LimitNOFILE" in text


def test_the_soft_limit_stays_below_the_hard_one(limit: Callable[[int], None]) -> None:
    """By the probe port's headroom, from wherever it comes."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for soft in (hard // 2, hard):
        limit(soft)
        assert open_files.raise_limit() == hard - open_files.headroom(hard)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard - open_files.headroom(hard), hard)


def test_headroom(limit: Callable[[int], None]) -> None:
    """A descriptor that cannot be had outside the block can within it, and is known by its number."""
    lowest = os.dup(0)
    os.close(lowest)
    limit(lowest)
    with pytest.raises(OSError, match="Too many open files"):
        os.dup(0)
    with open_files.Headroom():
        descriptor = os.dup(0)
    assert open_files.is_scarce(descriptor)
    assert not open_files.is_scarce(0)
    os.close(descriptor)
    with pytest.raises(OSError, match="Too many open files"):
        os.dup(0)
