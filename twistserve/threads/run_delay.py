"""How long a thread has waited for a processor, as Linux tells: schedstat, see proc(5)."""

from __future__ import annotations

from twistserve.threads.thread_file import ThreadFile


class RunDelay:
    """Reads it for the thread that made it; from any thread."""

    def __init__(self) -> None:
        self._file = ThreadFile("schedstat")
        self._last = self._last_ran = 0
        self.ran = 0.0
        """Seconds that the thread ran between the last two times that `since_last` was asked."""

    def since_last(self) -> float:
        """Seconds that the thread was ready to run, and did not, since this was asked last; 0 if it is not known."""
        try:
            ran, delay = map(int, self._file.read().split()[:2])
        except (OSError, ValueError):
            return 0.0
        self.ran, self._last_ran = (ran - self._last_ran) / 1e9, ran
        passed, self._last = delay - self._last, delay
        return passed / 1e9

    def close(self) -> None:
        """Read no more."""
        self._file.close()
