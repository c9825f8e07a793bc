"""Wakes request threads: as many as `Concurrency` lets be at work, and others beside those that take long."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from twistserve.logs.containment import contain
from twistserve.threads.concurrency import IDLE, WINDOW, Concurrency, Use
from twistserve.threads.pool import RequestThreadPool
from twistserve.threads.reactor_queue import ReactorQueue

MOSTLY = 0.5
"""Share of a window in which jobs have waited, for it to say something about how many threads should be at work."""
AT_ONCE = 0.0005
"""Seconds in which the reactor has the GIL where no thread keeps it: half of the switch interval."""
PATIENCE = 0.05
"""Seconds for which a job keeps others waiting, for each thread at work."""
MOST_PATIENCE = 0.2
"""Seconds for which any number of them does: requests wait for what computes, but not for long."""
NAP = 0.004
"""Seconds for which sockets are left alone while threads have enough to do: to look at them, the reactor takes the GIL
from one of them. A thread wakes the reactor when it has nothing left to do."""


class CoreKeeping(Protocol):
    """What keeps the threads on one core while that is of use, and lets them go."""

    @property
    def kept(self) -> bool:
        """Whether they are there, or were a moment ago."""

    def on_window(self, now: float, use: Use, exploring: bool) -> None:
        """A window is over; `exploring` is whether threads may show that they work without the GIL."""


class Dispatcher:
    """Wakes request threads; the reactor calls `dispatch` each time before it waits."""

    cores: CoreKeeping | None = None
    """With --cpu-affinity auto."""

    def __init__(
        self,
        pool: RequestThreadPool,
        returns: ReactorQueue,
        concurrency: Concurrency,
        clock: Callable[[], float] = time.perf_counter,
        cpu_clock: Callable[[], float] = time.process_time,
    ) -> None:
        self._pool = pool
        self._returns = returns
        self._concurrency = concurrency
        self._clock, self._cpu_clock = clock, cpu_clock
        self._at, self._cpu = clock(), cpu_clock()
        """When the window has begun."""
        self._left_at = self._left_cpu = 0.0
        """When jobs were left to wait at the last dispatch, 0 if none were."""
        self._nap = 0.0
        """Seconds that the reactor was to wait for at most, if jobs were left to wait."""
        self._late = False
        """Whether it came later in this window: a thread kept the GIL."""
        self._crowded = self._crowded_cpu = 0.0
        """Seconds of this window in which jobs waited for a thread, and the CPU time that was used in them."""
        pool.dispatcher = self

    def dispatch(self) -> float:
        """Set threads to work; seconds for which the reactor need look at nothing but its waker. Reactor thread."""
        if self._left_at:
            passed = self._clock() - self._left_at
            self._crowded += passed
            self._crowded_cpu += self._cpu_clock() - self._left_cpu
            self._late = self._late or passed > self._nap + AT_ONCE
            self._left_at = 0.0
        returns, pool, nap = self._returns, self._pool, 0.0
        returns.before_waiting()
        now = self._clock()
        if now - self._at >= WINDOW:
            self._adapt(now)
        if pool.queued:
            room = self._room(now)
            if room > 0:
                pool.wake(min(room, pool.queued))
            if pool.queued:
                self._left_at, self._left_cpu = now, self._cpu_clock()
                if pool.idle:
                    nap = NAP
        self._nap = nap
        returns.napping = nap > 0
        return nap

    def should_yield(self) -> bool:
        """Whether a thread that has done a job leaves the next to others; on that thread."""
        return self._pool.awake > self._concurrency.limit and self._room(self._clock()) < 0

    def on_idle(self) -> None:
        """A thread has nothing left to do: read what has come meanwhile. On that thread."""
        self._returns.wake_reactor()

    def on_yield(self) -> None:
        """A thread sleeps though there may be jobs: look at the others from now on. On that thread."""
        if not self._returns.napping:
            self._returns.wake()

    def _adapt(self, now: float) -> None:
        cpu, seconds = self._cpu_clock(), now - self._at
        cores = self.cores
        # What those have waited that sleep by now belongs to this window too, which decides about the core.
        workers = self._pool.at_jobs() if cores is None else self._pool.workers
        delayed = sum(min(worker.run_delay(), seconds) for worker in workers) / seconds
        if self._crowded >= MOSTLY * seconds:
            use = Use(self._crowded_cpu / self._crowded, delayed, not self._late)
            self._concurrency.adapt(use, cores is not None and cores.kept)
        elif cpu - self._cpu <= IDLE * seconds:
            self._concurrency.relax()
        if cores is not None:
            contain(cores.on_window, now, Use((cpu - self._cpu) / seconds, delayed), self._concurrency.exploring)
        self._at, self._cpu, self._late = now, cpu, False
        self._crowded = self._crowded_cpu = 0.0

    def _room(self, now: float) -> int:
        """How many more threads may be at work; negative if some are too many."""
        awake = self._pool.awake
        patience = min(PATIENCE * awake, MOST_PATIENCE)
        # Those that take long don't count: nobody knows when they will be done.
        slow = sum(now - worker.since > patience for worker in self._pool.at_jobs())
        return self._concurrency.limit + slow - awake
