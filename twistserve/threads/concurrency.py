"""How many request threads should be at work: as many as keep the processor busy, and no more.

Threads that compute at the same time gain nothing in Python, and lose much on several cores: the GIL moves between
them, and a thread that loses it while holding a lock, such as those of Django's translations and time zones, makes all
others queue up at that lock from then on (a lock convoy). A template page took 7 ms of CPU time with eight threads on
two cores, and 2.2 alone. Threads that wait for a database use no processor, so others should run meanwhile. CPU time
tells the two cases apart, without a look into the interpreter.
"""

from __future__ import annotations

from dataclasses import dataclass

WINDOW = 0.01
"""Seconds over which CPU time is measured."""
IDLE = 0.5
"""Share of one core up to which each request gets a thread at once, unless one had to wait."""
BUSY_ALONE, FULL_ALONE = 0.96, 0.99
"""Shares of the only core: below the first another thread may help, if requests wait; from the second on threads get in
each other's way."""
BUSY, FULL = 0.9, 0.95
"""The same with several cores, where a surplus thread costs more because the GIL moves between cores."""
WITHOUT_GIL = 0.75
"""Least share of a core that each of several threads uses if they compute without the GIL (hashing, compression).
Threads that need it share one core, but their contention costs extra: up to 1.4 cores for two or more."""
READY = 0.9
"""Share of the time for which each of two such threads is ready to run; at most 0.8 for two that need the GIL."""
CERTAIN = (0.975, 3)
"""The same share, and windows in a row, for threads that are on one core or were a moment ago: there, two that need the
GIL come close to it."""
UP, DOWN = 1.5, 0.9
"""Factors by which the number of threads changes after a window."""
EXPLORE = (10, 80)
"""Windows at full use before a second thread is tried, to see whether it computes without the GIL: at first, and at
most after repeated failures."""
EXPLORING = 2
"""Windows that such a trial takes."""


@dataclass(frozen=True)
class Use:
    """What the process used of its processors in a window, as shares of one core."""

    used: float
    """CPU time of all its threads."""
    delayed: float = 0.0
    """Time for which its request threads were ready to run, but other threads had the processor."""
    gil_free: bool = True
    """Whether the reactor always got the GIL at once."""


class Concurrency:
    """The number of threads that may be at work, from 1 to `size`, adapted to their use of `cores` cores."""

    def __init__(self, size: int, cores: int) -> None:
        self.limit = size
        self._size = size
        self._cores = cores
        self._level = float(size)
        self._full = 0
        """Windows at full use since the last exploration; negative during one."""
        self._explore_after = EXPLORE[0]
        self._certain = 0
        """Windows in a row in which two threads were ready all the time."""

    @property
    def exploring(self) -> bool:
        """Whether threads are being tried out for computing without the GIL, or are doing so."""
        return self._full < 0

    @property
    def counts_delays(self) -> bool:
        """Whether `adapt` looks at `Use.delayed`: not where several threads share the only core."""
        return self.limit == 1 or self._cores > 1

    def adapt(self, use: Use, kept: bool = False) -> None:
        """Called after a window in which requests waited for a thread.

        With `kept`, threads are on one core, or were a moment ago.
        """
        alone = kept or self._cores == 1
        # While threads wait for a processor, another one would only wait too; on one core they wait for each other.
        used = use.used + use.delayed if self.limit == 1 or not alone else use.used
        busy, full = (BUSY_ALONE, FULL_ALONE) if alone else (BUSY, FULL)
        parallel = min(self.limit, self._cores)
        if used < busy:
            self._full = 0
            self._set(self._level * UP)
        elif parallel > 1 and self._without_gil(use, parallel, kept):
            # Do not give this up because another process has the processor for a moment.
            self._full, self._explore_after = -EXPLORE[0], EXPLORE[0]
            if use.used < BUSY * self._cores:
                self._set(self._level * UP)
            elif self._level > parallel:
                self._set(max(self._level * DOWN, float(parallel)))
        elif used >= full:
            self._at_full_use(use)

    def relax(self) -> None:
        """Called when the process has little to do: each request gets a thread."""
        self._full, self._explore_after = 0, EXPLORE[0]
        self._set(self._size)

    def _without_gil(self, use: Use, parallel: int, kept: bool) -> bool:
        # Two such threads are always ready, even if the kernel put both on one core, or another process has the second.
        ready = (use.used + use.delayed) / 2 if self.limit == 2 else 0.0
        self._certain = self._certain + 1 if ready >= CERTAIN[0] else 0
        return use.used >= WITHOUT_GIL * parallel or (self._certain >= CERTAIN[1] if kept else ready >= READY)

    def _at_full_use(self, use: Use) -> None:
        self._full += 1
        if self._full > self._explore_after and use.gil_free and self._cores > 1 and self._level < 2:
            self._full, self._explore_after = -EXPLORING, min(2 * self._explore_after, EXPLORE[1])
            self._set(2.0)
        elif self._full >= 0 or self._level > self._cores:
            self._set(self._level * DOWN)

    def _set(self, level: float) -> None:
        self._level = min(max(level, 1.0), float(self._size))
        self.limit = int(self._level)
