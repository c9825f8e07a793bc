"""The body of a request while it is received."""

from __future__ import annotations

import io
import os
import sys
import tempfile
from pathlib import Path

import pytest

from twistserve.http.body import SPOOL_SIZE, Body


@pytest.mark.parametrize("size", [1, 1000, 65536, SPOOL_SIZE, SPOOL_SIZE + 1, 3 * SPOOL_SIZE])
@pytest.mark.parametrize("block", [1000, 65536, 3 * SPOOL_SIZE])
def test_what_is_written_can_be_read(size: int, block: int) -> None:
    """In memory or in a file, at its start, and of its true size."""
    data = os.urandom(size)
    body = Body(10 * SPOOL_SIZE)
    for at in range(0, size, block):
        body.write(data[at : at + block])
    assert body.size == size
    with body.open() as opened:
        assert isinstance(opened, io.BytesIO) is (size <= SPOOL_SIZE)
        assert opened.read() == data


def test_nothing_is_a_body_too() -> None:
    """Chunked, and of no chunk."""
    assert Body(10 * SPOOL_SIZE).open().read() == b""


def test_a_body_that_comes_byte_by_byte_takes_little_more_than_its_size() -> None:
    """Each block is an object of its own, until there are many."""
    body = Body(10 * SPOOL_SIZE)
    for number in range(20_000):
        body.write(bytes((number % 256,)))
    assert sum(sys.getsizeof(block) + 8 for block in body._blocks) < 2 * 20_000
    assert body.open().read() == bytes(number % 256 for number in range(20_000))


def test_a_large_body_that_nobody_wants_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither a file nor a descriptor."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = os.listdir("/proc/self/fd")
    body = Body(10 * SPOOL_SIZE)
    body.write(bytes(SPOOL_SIZE + 1))
    body.drop()
    assert os.listdir("/proc/self/fd") == before
    assert os.listdir(tmp_path) == []
