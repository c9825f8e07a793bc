"""Wakes request threads: as many as `Concurrency` allows, and another one for each that takes long."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from twistserve.logs.containment import contain
from twistserve.threads.concurrency import IDLE, WINDOW, Concurrency, Use
from twistserve.threads.pool import RequestThreadPool
from twistserve.threads.reactor_queue import ReactorQueue

MOSTLY = 0.5
"""Share of a window for which jobs must have waited before it changes the number of threads."""
AT_ONCE = 0.0005
"""Seconds within which the reactor gets the GIL unless a thread keeps it: half of the switch interval."""
PATIENCE = 0.05
"""Seconds, times the number of threads at work, after which a job counts as slow and another thread may run."""
MOST_PATIENCE = 0.2
"""The same for any number of threads: requests wait for computing threads, but not for long."""
NAP = 0.004
"""Seconds for which the reactor ignores sockets while threads have enough to do: reading them takes the GIL from a
thread. A thread wakes the reactor when it has nothing left to do."""


class CoreKeeping(Protocol):
    """Keeps threads on one core while that helps."""

    @property
    def kept(self) -> bool:
        """Whether threads are on one core, or were a moment ago."""

    def on_window(self, now: float, use: Use, exploring: bool) -> None:
        """Called after each window; `exploring` if threads are being tried out for computing without the GIL."""


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
        """When the window began, and the CPU time used by then."""
        self._reads_delays = True
        """Whether the threads' delays were read when it began, so that they can be told of it."""
        self._left_at = self._left_cpu = 0.0
        """When the last dispatch left jobs waiting, and the CPU time used by then; 0 if it left none."""
        self._nap = 0.0
        """Seconds that the reactor was then to wait at most."""
        self._late = False
        """Whether it returned later than that in this window, because a thread kept the GIL."""
        self._crowded = self._crowded_cpu = 0.0
        """Seconds of this window in which jobs waited for a thread, and the CPU time used in them."""
        pool.dispatcher = self

    def dispatch(self) -> float:
        """Wake threads; returns the seconds for which the reactor need watch only its waker. Reactor thread."""
        left_at, self._left_at = self._left_at, 0.0
        if left_at:
            self._late = self._late or self._clock() - left_at > self._nap + AT_ONCE
        returns, pool, nap = self._returns, self._pool, 0.0
        returns.before_waiting()
        now = self._clock()
        window_is_over = now - self._at >= WINDOW
        # Once: it is a system call, even where the time of day is none.
        cpu = self._cpu_clock() if left_at or window_is_over or pool.queued else 0.0
        if left_at:
            self._crowded += now - left_at
            self._crowded_cpu += cpu - self._left_cpu
        if window_is_over:
            self._adapt(now, cpu)
        if pool.queued:
            room = self._room(now)
            if room > 0:
                pool.wake(min(room, pool.queued))
            if pool.queued:
                self._left_at, self._left_cpu = now, cpu
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

    def _adapt(self, now: float, cpu: float) -> None:
        seconds = now - self._at
        cores = self.cores
        delayed = self._delays(seconds) / seconds if self._reads_delays else 0.0
        if self._crowded >= MOSTLY * seconds:
            use = Use(self._crowded_cpu / self._crowded, delayed, not self._late)
            self._concurrency.adapt(use, cores is not None and cores.kept)
        elif cpu - self._cpu <= IDLE * seconds:
            self._concurrency.relax()
        if cores is not None:
            contain(cores.on_window, now, Use((cpu - self._cpu) / seconds, delayed), self._concurrency.exploring)
        self._at, self._cpu, self._late = now, cpu, False
        self._crowded = self._crowded_cpu = 0.0
        # Each costs a system call, twice as many as there are requests where these take milliseconds.
        reads = cores is not None or self._concurrency.counts_delays
        if reads and not self._reads_delays:
            for worker in self._pool.workers:
                worker.run_delay()
        self._reads_delays = reads

    def _delays(self, seconds: float) -> float:
        """Seconds that threads were ready but did not run, in a window of so many."""
        # The decision about the core also counts the waiting of threads that sleep by now.
        workers = self._pool.at_jobs() if self.cores is None else self._pool.workers
        return sum(min(worker.run_delay(), seconds) for worker in workers)

    def _room(self, now: float) -> int:
        """How many more threads may be at work; negative if some are too many."""
        awake = self._pool.awake
        patience = min(PATIENCE * awake, MOST_PATIENCE)
        # Slow jobs don't count: they may take any time.
        slow = sum(now - worker.since > patience for worker in self._pool.at_jobs())
        return self._concurrency.limit + slow - awake
