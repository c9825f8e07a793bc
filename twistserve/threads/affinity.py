"""When a process should keep its threads on one core: while they contend for the GIL, and no other process needs it.

Python runs one thread at a time. On several cores each hand-over of the GIL wakes a thread on another core, which may
be asleep and has none of the data in its caches; on one core it is a context switch. But keeping to one core slows down
threads that compute without the GIL (hashing, compression, images), and other processes on that core.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from twistserve.threads.concurrency import IDLE, Use

BUSY, USED = 0.9, 0.65
"""Shares of one core for which threads must be ready to run, and must run, in `BUSY_WINDOWS` windows in a row before
the process takes a core. The second is lower because a hand-over between cores takes time to wake a thread: eight
threads with a query each used 0.77 of one core."""
BUSY_WINDOWS = 2
TAKEN = 0.8
"""Share of its core below which the process shares it with another, if its threads are also `DELAYED`: then they wait
for the core and not for the GIL."""
DELAYED, WANTED = 0.15, 0.95
"""Least shares of a window for which threads are delayed, and for which they are delayed or run; below the second they
wait for other things."""
TAKEN_WINDOWS = 5
"""Such windows in a row before the process lets go of its core: other processes run briefly on every core."""
READY = 1.5
"""Cores' worth of threads ready to run on one core, from which on they may be computing without the GIL. Threads that
wait for a database in turn look the same: only their use of several cores tells the two apart."""
PARALLEL, ALL_READY = 1.25, 1.9
"""Cores from which on threads compute without the GIL: those they use while free, and those they are ready to use while
other processes have a part. Threads that need the GIL sleep until it is their turn, except for moments."""
LOOKING = 4
"""Windows for which threads are let go to see what they use: the kernel moves a thread to an idle core within one."""
LOOKS = (0.1, 2.0)
"""Seconds between two looks: at first, and at most after repeated looks that found nothing."""
PAUSES = (0.05, 5.0)
"""Least seconds for which the process stays free after another one needed its core: at first, and at most after
repeated conflicts. A random factor up to two keeps two processes from moving in step."""
SETTLED, LONG = 1.0, 2
"""A conflict is forgotten so many seconds after its pause, or so many times the next pause, whichever is shorter: other
processes run briefly on every core."""
IDLE_FOR = 0.05
"""Seconds for which the process uses less than `IDLE` before it lets go of its core."""


class OneCore:
    """Decides after each window whether the process keeps to one core. Reads no clock and makes no system calls."""

    def __init__(self, chance: Callable[[], float] = random.random) -> None:
        self.held = False
        """Whether it keeps to one core."""
        self._chance = chance
        self._busy_at = self._weak_at = self._next_look = self._free_until = 0.0
        self._busy = self._looking = self._taken = 0
        self._between_looks, self._pause = LOOKS[0], PAUSES[0]

    def decide(self, now: float, use: Use, exploring: bool) -> bool:
        """Called after each window: whether to be on one core in the next.

        With `exploring`, threads are being tried out for computing without the GIL, or are doing so.
        """
        if not self.held:
            self.held = self._takes(now, use, exploring)
            if self.held:
                self._busy_at = now
        else:
            self.held = self._keeps(now, use, exploring)
        return self.held

    def let_go(self) -> None:
        """The core was let go for another reason, or could not be taken."""
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
        """Leave the core to another process that needs it."""
        self._busy = self._taken = 0
        if now - self._free_until >= min(SETTLED, LONG * self._pause):
            self._pause = PAUSES[0]
        self._free_until = now + self._pause * (1 + self._chance())
        self._pause = min(2 * self._pause, PAUSES[1])

    def _may_be_parallel(self, now: float, use: Use) -> bool:
        """Whether to let threads go for a moment, to see how many cores they use."""
        if use.used + use.delayed < READY:
            return False
        last, self._weak_at = self._weak_at, now
        if now - last > LOOKS[1]:  # the load has changed
            self._between_looks, self._next_look = LOOKS[0], now
        if now < self._next_look:
            return False
        self._next_look = now + self._between_looks
        self._between_looks = min(2 * self._between_looks, LOOKS[1])
        self._looking, self._busy = LOOKING, 0
        return True
