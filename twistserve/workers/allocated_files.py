"""The files of the workers' metrics, with room that is really there.

prometheus-client makes such a file sparse and maps it into memory. Where the file system has filled up by the time that
a number is written, the kernel ends the process by SIGBUS. So files are allocated here before prometheus-client opens
them, and before they grow; what there is no room for is not counted.

`AllocatedDict` takes the place of prometheus-client's `MmapedDict`, whose private fields it uses, as
tests/workers/test_allocated_files.py pins them. Nothing here raises for want of room: it runs within
`counter.inc()`, in views of the project too. Nor does it log: prometheus-client holds its one lock meanwhile, and a
handler of the project's may count.
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
"""Bytes of a file at least, and by which it grows where more cannot be had. A histogram's series takes 8 KB."""
SIZES = {"histogram": 512 * 1024, "counter": 256 * 1024}
"""Bytes of a file of one kind at first, and by which it grows: what our own series take without those of routes."""
RETRY = 30.0
"""Seconds until room is looked for again where there was none."""

_ENTRY = 4 + 8 + 16
"""Bytes that an entry takes besides its key: its size, the padding, and two doubles."""


class Shortage:
    """Why something is not counted; written under prometheus-client's lock, told by who can log."""

    def __init__(self) -> None:
        self.reason = ""

    def note(self, path: str, error: Exception) -> None:
        """Remember the first."""
        if not self.reason:
            self.reason = f"{os.path.dirname(path)}: {getattr(error, 'strerror', None) or error}"


shortage = Shortage()


def install() -> None:
    """Have prometheus-client keep what this process counts in such files. Before a metric is declared."""
    module: Any = values
    module.MmapedDict = AllocatedDict


def count_as(name: str) -> None:
    """The same in a worker, by its number instead of its pid: its replacement goes on counting where it stopped."""
    install()
    number = number_of(name)
    values.ValueClass = values.MultiProcessValue(lambda: number)


def number_of(name: str) -> str:
    """The number of a worker with a name such as worker-2."""
    return name.split("-")[1]


class AllocatedDict(MmapedDict):
    """A file of numbers by name; those that it has no room for are 0, and are kept nowhere."""

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
        """The number and its time; 0 if there is no room for it."""
        found: tuple[float, float] = super().read_value(key) if self._has(key) else (0.0, 0.0)
        return found

    def write_value(self, key: str, value: float, timestamp: float) -> None:
        """Write a number, if there is room for it."""
        if self._has(key):
            super().write_value(key, value, timestamp)

    def close(self) -> None:
        """Close the file; for the end of a process, or of its parent's numbers in a forked one."""
        if self._opened:
            super().close()
        self._opened = False
        self._positions = {}
        self._not_before = inf

    def _has(self, key: str) -> bool:
        """Whether the number is in the file, for which room is made if there is any."""
        if key in self._positions:
            return True
        if self.clock() < self._not_before or not (self._opened or self._open()):
            return False
        return self._make_room(_ENTRY + len(key.encode()))

    def _open(self) -> bool:
        """Open the file, allocated; whether that is possible."""
        existed = False
        try:
            existed = _has_content(self._fname)
            if not existed:
                _create(self._fname, (self._step, LEAST))
            super().__init__(self._fname)
        except Exception as error:
            self._close_what_is_open()
            # Of a file that was there, what it says is not known: counting on from 0 would take from its numbers.
            self._give_up(error, for_good=existed)
            return False
        self._opened = True
        return True

    def _close_what_is_open(self) -> None:
        """Undo what prometheus-client had begun."""
        self._positions = {}
        for each in (self.__dict__.pop("_m", None), self.__dict__.pop("_f", None)):
            if each is not None:
                each.close()

    def _make_room(self, size: int) -> bool:
        """Have room for an entry; whether that is possible."""
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
        """There is no room, for now: what is asked for meanwhile is not tried."""
        self._not_before = inf if for_good else self.clock() + RETRY
        shortage.note(self._fname, error)


def _has_content(path: str) -> bool:
    """Whether there is a file, and not one that a process was killed in making. Raises OSError."""
    try:
        return os.stat(path).st_size > 0
    except FileNotFoundError:
        return False


def _create(path: str, sizes: tuple[int, ...]) -> None:
    """Make a file with the first of these sizes that there is room for. Raises OSError, and leaves none behind."""
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
    """Let a file grow from one size to another with blocks of its own. Raises OSError, and leaves it as it was."""
    try:
        try:
            fallocate(descriptor, before, size - before)
        except OSError as error:
            # musl does not write zeros by itself where a file system knows no other way, as glibc does.
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                raise
            written = before
            while written < size:
                written += os.pwrite(descriptor, bytes(size - written), written)
    except OSError:
        with suppress(OSError):
            os.ftruncate(descriptor, before)
        raise
