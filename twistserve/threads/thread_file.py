"""A file that Linux keeps for a thread of this process: `/proc/self/task/TID/NAME`, see proc(5)."""

from __future__ import annotations

import os
import threading

from twistserve.net import syscalls


class ThreadFile:
    """Held open, so that reading takes two microseconds; any thread."""

    def __init__(self, name: str, native_id: int | None = None) -> None:
        """Of the thread with this number in the kernel, or the calling one."""
        self._descriptor = -1
        try:
            path = f"/proc/self/task/{native_id or threading.get_native_id()}/{name}"
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # some container runtimes have no such file
            return

    def read(self) -> bytes:
        """What is in it now. Raises OSError where there is none, and after `close`."""
        return syscalls.pread(self._descriptor)

    def close(self) -> None:
        """Close it."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
