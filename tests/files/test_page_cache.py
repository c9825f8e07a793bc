"""What the kernel has of a file, and what is read of it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from twistserve.files import page_cache
from twistserve.files.page_cache import STEP, Unknown


class Kernel:
    """preadv2(2): which places of a file are not in memory, or that it does not tell."""

    def __init__(self) -> None:
        self.missing: set[int] = set()
        self.failure = 0
        self.looked: list[int] = []

    def preadv(self, descriptor: int, buffers: list[bytearray], offset: int, flags: int = 0) -> int:
        if flags:
            self.looked.append(offset)
            if self.failure:
                raise OSError(self.failure, os.strerror(self.failure))
            if offset in self.missing:
                raise BlockingIOError(errno.EAGAIN, "not now")
        data = os.pread(descriptor, len(buffers[0]), offset)
        buffers[0][: len(data)] = data
        return len(data)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = Kernel()
    monkeypatch.setattr(os, "preadv", kernel.preadv)
    return kernel


@pytest.fixture
def descriptor(tmp_path: Path) -> Iterator[int]:
    """A file of four steps and a byte."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * (4 * STEP + 1))
    descriptor = os.open(path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def test_what_is_in_memory(kernel: Kernel, descriptor: int) -> None:
    """All, if each place that is looked at is there; else as much as is sure to be."""
    length = 3 * STEP + 10
    assert page_cache.cached(descriptor, 5, length) == length
    assert kernel.looked == [5, 5 + STEP, 5 + 2 * STEP, 5 + 3 * STEP, 5 + length - 1]
    for missing, known in [(5, 0), (5 + STEP, 0), (5 + 2 * STEP, STEP), (5 + length - 1, 3 * STEP)]:
        kernel.missing = {missing}
        assert page_cache.cached(descriptor, 5, length) == known


def test_what_is_read_now(kernel: Kernel, descriptor: int) -> None:
    """Bytes, none at the end of the file, and None where the reactor would wait."""
    assert page_cache.read_now(descriptor, 4 * STEP, 100) == b"x"
    assert page_cache.read_now(descriptor, 5 * STEP, 100) == b""
    kernel.missing = {7}
    assert page_cache.read_now(descriptor, 7, 100) is None


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_that_does_not_tell(kernel: Kernel, descriptor: int, number: int) -> None:
    """It is known by that, and a file is read through that is to be sent without asking."""
    kernel.failure = number
    with pytest.raises(Unknown):
        page_cache.cached(descriptor, 0, 10)
    assert page_cache.warm(descriptor, 4 * STEP + 1)
    kernel.failure = 0
    assert not page_cache.warm(descriptor, 4 * STEP + 1)


def test_a_file_that_cannot_be_read(kernel: Kernel, descriptor: int) -> None:
    """That is an error like any other."""
    kernel.failure = errno.EIO
    with pytest.raises(OSError, match="Input/output"):
        page_cache.read_now(descriptor, 0, 10)


def test_what_is_fetched(kernel: Kernel, descriptor: int) -> None:
    """As much as there is."""
    assert page_cache.fetch(descriptor, STEP, 2 * STEP) == 2 * STEP
    assert page_cache.fetch(descriptor, 0, 9 * STEP) == 4 * STEP + 1
    assert page_cache.fetch(descriptor, 9 * STEP, 10) == 0


def test_a_file_that_became_shorter(descriptor: int) -> None:
    """A body of its former length cannot be made."""
    assert page_cache.read(descriptor, 4 * STEP - 2, 3) == b"xxx"
    with pytest.raises(OSError, match="shorter"):
        page_cache.read(descriptor, 4 * STEP - 2, 4)
