"""The files of the workers' metrics, allocated on the disk before they are used.

prometheus-client makes such a file sparse and maps it into memory. If the file system is full when a number is written,
the kernel kills the process with SIGBUS. So files are allocated here before prometheus-client opens them, and before
they grow; numbers that there is no room for are not counted.

`AllocatedDict` replaces prometheus-client's `MmapedDict`. It uses private fields of that, which
tests/workers/test_allocated_files.py pins. Nothing here raises when there is no room: this runs within `counter.inc()`,
in the project's views too. Nor does it log: prometheus-client holds its one lock meanwhile, and the project's log
handlers may count.
"""

from __future__ import annotations

import errno
import mmap
import os
import time
from collections.abc import Callable
from contextlib import suppress
from math import inf
from typing import Any

from prometheus_client import values
from prometheus_client.mmap_dict import MmapedDict

LEAST = 64 * 1024
"""The least bytes of a file, and by which it grows if there is no room for more. A histogram's series takes 8 KB."""
SIZES = {"histogram": 512 * 1024, "counter": 256 * 1024}
"""The first bytes of a file of each kind, and by which it grows: our own series, except those of routes, fit."""
RETRY = 30.0
"""Seconds until allocation is tried again after it has failed."""

_ENTRY = 4 + 8 + 16
"""Bytes that an entry takes besides its key: its size, the padding, and two doubles."""


class Shortage:
    """Why numbers are not counted: noted under prometheus-client's lock, and logged later (`child.Parent`)."""

    def __init__(self) -> None:
        self.reason = ""

    def note(self, path: str, error: Exception) -> None:
        """Remember the first reason."""
        if not self.reason:
            self.reason = f"{os.path.dirname(path)}: {getattr(error, 'strerror', None) or error}"


shortage = Shortage()


def install() -> None:
    """Have prometheus-client use such files in this process. Call it before a metric is declared."""
    module: Any = values
    module.MmapedDict = AllocatedDict


def count_as(name: str) -> None:
    """The same in a worker, whose files are named by its number, not its pid: its replacement goes on from them."""
    install()
    number = number_of(name)
    values.ValueClass = values.MultiProcessValue(lambda: number)


def number_of(name: str) -> str:
    """The number of a worker with a name such as worker-2, or the name of the service of a process."""
    return name.partition("-")[2]


class AllocatedDict(MmapedDict):
    """A file of numbers by name. Numbers that it has no room for stay 0."""

    clock = staticmethod(time.monotonic)

    def __init__(self, filename: str) -> None:
        self._fname = filename
        self._opened = False
        self._positions: dict[str, int] = {}
        self._capacity = self._used = 0
        self._step = SIZES.get(os.path.basename(filename).partition("_")[0], LEAST)
        self._not_before = 0.0
        self._open()

    def read_value(self, key: str) -> tuple[float, float]:
        """The number and its time, both 0 if there is no room for it."""
        found: tuple[float, float] = super().read_value(key) if self._has(key) else (0.0, 0.0)
        return found

    def write_value(self, key: str, value: float, timestamp: float) -> None:
        """Write a number, if there is room for it."""
        if self._has(key):
            super().write_value(key, value, timestamp)

    def close(self) -> None:
        """Close the file for good: at the end of a process, or in a forked one that must not count in it."""
        if self._opened:
            super().close()
        self._opened = False
        self._positions = {}
        self._not_before = inf

    def _has(self, key: str) -> bool:
        """Whether the number has a place in the file; it is made if there is room."""
        if key in self._positions:
            return True
        if self.clock() < self._not_before or not (self._opened or self._open()):
            return False
        return self._make_room(_ENTRY + len(key.encode()))

    def _open(self) -> bool:
        """Open the file, and allocate a new one; whether that has succeeded."""
        existed = False
        try:
            existed = _has_content(self._fname)
            if not existed:
                _create(self._fname, (self._step, LEAST))
            super().__init__(self._fname)
        except Exception as error:
            self._close_what_is_open()
            # The numbers of a file that cannot be read are unknown, and counting on from 0 would lose them.
            self._give_up(error, for_good=existed)
            return False
        self._opened = True
        return True

    def _close_what_is_open(self) -> None:
        """Close what prometheus-client had opened."""
        self._positions = {}
        for each in (self.__dict__.pop("_m", None), self.__dict__.pop("_f", None)):
            if each is not None:
                each.close()

    def _make_room(self, size: int) -> bool:
        """Make room for an entry of so many bytes; whether that has succeeded."""
        missing = self._used + size - self._capacity
        if missing <= 0:
            return True
        for step in (self._step, LEAST):
            grown = self._capacity + max(step, -(-missing // LEAST) * LEAST)
            try:
                _allocate(self._f.fileno(), self._capacity, grown)
                self._m = mmap.mmap(self._f.fileno(), grown)
            except (OSError, ValueError) as error:
                failure = error
            else:
                self._capacity = grown
                return True
        self._give_up(failure)
        return False

    def _give_up(self, error: Exception, for_good: bool = False) -> None:
        """Try no more allocation for `RETRY` seconds, or ever, and note why."""
        self._not_before = inf if for_good else self.clock() + RETRY
        shortage.note(self._fname, error)


def _has_content(path: str) -> bool:
    """Whether there is a file that is not empty, as one is that a killed process has left. Raises OSError."""
    try:
        return os.stat(path).st_size > 0
    except FileNotFoundError:
        return False


def _create(path: str, sizes: tuple[int, ...]) -> None:
    """Create a file of the first of these sizes that there is room for. Raises OSError, and leaves no file then."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        for size in sizes[:-1]:
            with suppress(OSError):
                return _allocate(descriptor, 0, size)
        return _allocate(descriptor, 0, sizes[-1])
    except BaseException:
        os.unlink(path)
        raise
    finally:
        os.close(descriptor)


def _allocate(
    descriptor: int, before: int, size: int, fallocate: Callable[[int, int, int], None] = os.posix_fallocate
) -> None:
    """Grow a file from one size to another, allocated. Raises OSError, and leaves the file as it was then."""
    try:
        try:
            fallocate(descriptor, before, size - before)
        except OSError as error:
            # Where a file system cannot allocate, glibc writes zeros by itself and musl does not.
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                raise
            written = before
            while written < size:
                written += os.pwrite(descriptor, bytes(size - written), written)
    except OSError:
        with suppress(OSError):
            os.ftruncate(descriptor, before)
        raise
