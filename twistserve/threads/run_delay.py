"""How long a thread has waited for a processor, as Linux tells: `/proc/self/task/TID/schedstat`, see proc(5)."""

from __future__ import annotations

import os
import threading

from twistserve.net import syscalls


class RunDelay:
    """Reads it for the thread that made it; from any thread. Reading takes two microseconds."""

    def __init__(self) -> None:
        self._descriptor = -1
        self._last = self._last_ran = 0
        self.ran = 0.0
        """Seconds that the thread ran between the last two times that `since_last` was asked."""
        try:
            path = f"/proc/self/task/{threading.get_native_id()}/schedstat"
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # some container runtimes have no such file
            return

    def since_last(self) -> float:
        """Seconds that the thread was ready to run, and did not, since this was asked last; 0 if nobody knows."""
        try:
            ran, delay = map(int, syscalls.pread(self._descriptor).split()[:2])
        except (OSError, ValueError):
            return 0.0
        self.ran, self._last_ran = (ran - self._last_ran) / 1e9, ran
        passed, self._last = delay - self._last, delay
        return passed / 1e9

    def close(self) -> None:
        """Look no more."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
