"""What a thread of this process is doing, as Linux tells: `/proc/self/task/TID/syscall`, see proc(5).

Ask while you hold the GIL: a thread that computes in Python then waits for it, and that wait differs from all others
by the futex, which lies in the interpreter's own data. Asking takes two microseconds.
"""

from __future__ import annotations

import ctypes
import platform
import sys
from enum import Enum

from twistserve.threads.thread_file import ThreadFile

_FUTEX = {"x86_64": b"202", "aarch64": b"98", "riscv64": b"98"}.get(platform.machine())
"""The number of futex(2)."""
_RUNTIME = ctypes.addressof(ctypes.c_char.in_dll(ctypes.pythonapi, "_PyRuntime"))
_RUNTIME_SIZE = 1 << 20
"""More than the runtime takes: the GIL is 500 bytes into it in Python 3.11, 77 KB in 3.12, 96 KB in 3.13."""
_HAS_GIL = getattr(sys, "_is_gil_enabled", lambda: True)()


class ThreadState(Enum):
    """What a thread is doing; a thread of another C library than glibc is never seen to wait for the GIL."""

    RUNNING = "running"
    """On a processor, or ready for one: in C code without the GIL, or about to wait for it."""
    COMPUTING = "computing"
    """In Python code: it waits for the GIL."""
    LOCKED = "waiting for another thread"
    WAITING = "waiting"
    """In another system call: for a database, a file, the time."""
    UNKNOWN = "unknown"
    """The kernel does not tell, or there is no GIL."""


class ThreadStateReader:
    """Looks at the thread that made it, or one whose number in the kernel is given; from any thread."""

    def __init__(self, native_id: int | None = None) -> None:
        self._file = ThreadFile("syscall", native_id) if _FUTEX and _HAS_GIL else None

    def read(self) -> ThreadState:
        """What the thread is doing; by a thread that holds the GIL."""
        if self._file is None:
            return ThreadState.UNKNOWN
        try:
            words = self._file.read().split(b" ", 2)
        except OSError:
            return ThreadState.UNKNOWN
        if words[0] == b"running\n":
            return ThreadState.RUNNING
        if words[0] != _FUTEX:
            return ThreadState.WAITING
        return ThreadState.COMPUTING if 0 <= int(words[1], 16) - _RUNTIME < _RUNTIME_SIZE else ThreadState.LOCKED

    def close(self) -> None:
        """Read no more."""
        if self._file is not None:
            self._file.close()
