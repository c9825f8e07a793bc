"""When a process should keep its threads on one core: while it is busy with the GIL, and nobody else needs that core.

Python runs one thread at a time. On several cores each hand-over of the GIL wakes a thread on another core, whose
caches know nothing of what the first has done, and which may be asleep; on one core it is a context switch. But threads
that compute without the GIL (to hash, to compress, with images) are held up there, and so is whoever else is on that
core.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from twistserve.threads.concurrency import IDLE, Use

BUSY, USED = 0.9, 0.65
"""Shares of one core that the process's threads are at least ready to run for, and do run for, for `BUSY_WINDOWS` in a
row, before it takes one. Where the GIL goes to and fro between cores, so much of the time passes while a thread wakes
up: eight threads with a query each used 0.77 of one."""
BUSY_WINDOWS = 2
TAKEN = 0.8
"""Share of its core below which somebody else has some of it, if the process's threads are `DELAYED` besides: they wait
for the core, though it cannot be the GIL that they wait for."""
DELAYED, WANTED = 0.15, 0.95
"""Shares of a window in which they are at least, and in which they are or run: otherwise they wait for other things."""
TAKEN_WINDOWS = 5
"""Windows in a row in which that is so before it lets go: every process has moments on any core."""
READY = 1.5
"""Cores' worth of threads that are ready to run on one core, from which on they may not need the GIL. Threads that wait
for a database in turn show that too: only a look at what they use of several cores can tell."""
PARALLEL, ALL_READY = 1.25, 1.9
"""Cores that the process uses where it is free, and that its threads are ready to use where others have some of them,
from which on they compute without the GIL. Threads that need it sleep until it is their turn, but for moments."""
LOOKING = 4
"""Windows that such a look takes: the kernel moves a thread within one, where nobody has the other core."""
LOOKS = (0.1, 2.0)
"""Seconds between two looks: at first, and at most when again and again nothing was seen."""
PAUSES = (0.05, 5.0)
"""Seconds for which the process is free at least when somebody else needs its core: at first, and at most when that
happens again and again. Up to twice as long by chance, so that two processes do not move in step."""
SETTLED, LONG = 1.0, 2
"""Seconds after such a pause, and how often the next one's, after the shorter of which it does not count any more that
there was one: others have moments on any core."""
IDLE_FOR = 0.05
"""Seconds for which the process uses less than `IDLE` before it lets go."""


class OneCore:
    """Decides window by window whether the process keeps to one core. Knows no clock and makes no system call."""

    def __init__(self, chance: Callable[[], float] = random.random) -> None:
        self.held = False
        """Whether it does."""
        self._chance = chance
        self._busy_at = self._weak_at = self._next_look = self._free_until = 0.0
        self._busy = self._looking = self._taken = 0
        self._between_looks, self._pause = LOOKS[0], PAUSES[0]

    def decide(self, now: float, use: Use, exploring: bool) -> bool:
        """A window is over: whether to be on one core in the next.

        With `exploring`, threads are let at work to show that they compute without the GIL, or do so.
        """
        if not self.held:
            self.held = self._takes(now, use, exploring)
            if self.held:
                self._busy_at = now
        else:
            self.held = self._keeps(now, use, exploring)
        return self.held

    def let_go(self) -> None:
        """It was let go for another reason, or could not be taken."""
        self.held = False
        self._busy = 0

    def _takes(self, now: float, use: Use, exploring: bool) -> bool:
        ready = use.used + use.delayed
        if use.used > PARALLEL or ready >= ALL_READY:
            self._busy, self._between_looks = 0, LOOKS[0]
        else:
            self._busy = self._busy + 1 if use.used >= USED and ready >= BUSY else 0
        self._looking = max(self._looking - 1, 0)
        return self._busy >= BUSY_WINDOWS and not (self._looking or exploring) and now >= self._free_until

    def _keeps(self, now: float, use: Use, exploring: bool) -> bool:
        taken = use.used < TAKEN and use.delayed >= DELAYED and use.used + use.delayed >= WANTED
        self._taken = self._taken + 1 if taken else 0
        if self._taken >= TAKEN_WINDOWS:
            self._make_room(now)
            return False
        if use.used > IDLE:
            self._busy_at = now
        elif now - self._busy_at >= IDLE_FOR:
            self._busy = 0
            return False
        if exploring:
            return False
        return not self._may_be_parallel(now, use)

    def _make_room(self, now: float) -> None:
        """Somebody else needs the core."""
        self._busy = self._taken = 0
        if now - self._free_until >= min(SETTLED, LONG * self._pause):
            self._pause = PAUSES[0]
        self._free_until = now + self._pause * (1 + self._chance())
        self._pause = min(2 * self._pause, PAUSES[1])

    def _may_be_parallel(self, now: float, use: Use) -> bool:
        """Whether to look what threads use of several cores."""
        if use.used + use.delayed < READY:
            return False
        last, self._weak_at = self._weak_at, now
        if now - last > LOOKS[1]:  # the load is another one
            self._between_looks, self._next_look = LOOKS[0], now
        if now < self._next_look:
            return False
        self._next_look = now + self._between_looks
        self._between_looks = min(2 * self._between_looks, LOOKS[1])
        self._looking, self._busy = LOOKING, 0
        return True
