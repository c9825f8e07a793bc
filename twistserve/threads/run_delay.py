"""How long a thread has waited for a processor, as Linux tells: `/proc/self/task/TID/schedstat`, see proc(5)."""

from __future__ import annotations

import os
import threading

from twistserve.net import syscalls


class RunDelay:
    """Reads it for the thread that made it; from any thread. Reading takes two microseconds."""

    def __init__(self) -> None:
        self._descriptor = -1
        self._last = 0
        try:
            path = f"/proc/self/task/{threading.get_native_id()}/schedstat"
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # some container runtimes have no such file
            return

    def since_last(self) -> float:
        """Seconds that the thread was ready to run, and did not, since this was asked last; 0 if nobody knows."""
        try:
            delay = int(syscalls.pread(self._descriptor).split()[1])
        except (OSError, IndexError, ValueError):
            return 0.0
        passed, self._last = delay - self._last, delay
        return passed / 1e9

    def close(self) -> None:
        """Look no more."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
