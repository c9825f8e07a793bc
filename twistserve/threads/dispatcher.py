"""How many request threads are let at the queue: as many as can use the GIL.

Threads that compute at the same time gain nothing, and lose much where there are several cores: the GIL goes to and
fro between them, and a thread that loses it while holding a lock, such as those of Django's translations and time
zones, makes all others queue up at that lock from then on (a lock convoy). With eight threads on two cores a template
page took 7 ms of CPU time so, and 2.2 alone. So while the process is busy, another thread is woken only if none of
those at work computes, which `doing` tells. Those that wait for a database cost nothing and don't count.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from twistserve.threads.pool import RequestThreadPool, Worker
from twistserve.threads.reactor_queue import ReactorQueue
from twistserve.threads.thread_state import ThreadState

BUSY = 0.5
"""Share of one processor used by the process, from which on it matters how many threads compute."""
MEMORY = 0.005
"""Seconds over which that share is averaged."""
PATIENCE = 0.05
"""Seconds for which a job that computes keeps others waiting, for each that does."""
MOST_PATIENCE = 0.2
"""Seconds for which any number of them does: threads wait for what computes, but not for long."""
LOOK = 0.001
"""Seconds between two looks at the threads."""
NAP = 0.004
"""Seconds for which sockets are left alone while one thread does the work of all: to look at them, the reactor takes
the GIL from it. It wakes the reactor when it has nothing left to do."""


class Dispatcher:
    """Wakes request threads; the reactor calls `dispatch` each time before it waits."""

    def __init__(
        self,
        pool: RequestThreadPool,
        returns: ReactorQueue,
        clock: Callable[[], float] = time.perf_counter,
        cpu_clock: Callable[[], float] = time.process_time,
    ) -> None:
        self._pool = pool
        self._returns = returns
        self._clock, self._cpu_clock = clock, cpu_clock
        self._at, self._cpu = clock(), cpu_clock()
        self._share = 0.0
        self._looked_at = 0.0
        self._crowded = False
        """Whether another thread at work could be one too many."""
        self._alone = False
        """Whether one thread was at work at the last look, and computed."""
        pool.dispatcher = self

    def dispatch(self) -> float:
        """Set threads to work; seconds for which the reactor need look at nothing but its waker. Reactor thread."""
        self._returns.held = False
        self._returns.deliver()
        pool, nap = self._pool, 0.0
        if pool.queued:
            now = self._clock()
            self._measure(now)
            if not self._crowded:
                # Those awake may be about to take them, or about to run something else for long: that cannot be told.
                pool.wake(pool.queued)
            elif pool.idle:
                nap = self._relieve(now)
        # Those who answer need not wake the reactor, which comes by itself.
        self._returns.held = nap > 0
        return nap

    def should_yield(self, worker: Worker) -> bool:
        """Whether a thread that has done a job leaves the next to others; on that thread."""
        return self._crowded and self._pool.awake > 1 and not self._room(self._clock(), worker)

    def on_idle(self) -> None:
        """A thread has nothing left to do: read what has come meanwhile. On that thread."""
        self._returns.wake_reactor()

    def on_yield(self) -> None:
        """A thread sleeps though there may be jobs: look at the others from now on. On that thread."""
        if not self._returns.held:
            self._returns.wake()

    def _measure(self, now: float) -> None:
        passed = now - self._at
        if passed >= LOOK:
            cpu = self._cpu_clock()
            self._share += ((cpu - self._cpu) / passed - self._share) * passed / (passed + MEMORY)
            self._at, self._cpu = now, cpu
            self._crowded = self._share >= BUSY

    def _relieve(self, now: float) -> float:
        """Wake another thread if there is room for it; seconds until the next look."""
        if not self._pool.awake:
            self._pool.wake(1)
            self._looked_at = now
        elif now - self._looked_at >= LOOK:
            self._looked_at = now
            if self._room(now):
                self._alone = False
                self._pool.wake(1)
            else:
                self._alone = self._pool.awake == 1
        return NAP if self._alone and self._pool.awake == 1 else LOOK

    def _room(self, now: float, but: Worker | None = None) -> bool:
        """Whether another thread could use the GIL; the caller has it, so all that compute wait for it."""
        computing = waiting = 0
        youngest = float("inf")
        for worker in self._pool.at_jobs():
            if worker is but:
                continue
            state = worker.read_state()
            if state is ThreadState.UNKNOWN:
                return True
            if state is ThreadState.WAITING:
                waiting += 1
            elif state is ThreadState.COMPUTING or (state is ThreadState.RUNNING and (but or not worker.ran_before())):
                computing += 1
                youngest = min(youngest, now - worker.since)
        # A thread that computes between waits will wait again: one that is ready meanwhile keeps the GIL in use.
        return computing <= (1 if waiting else 0) or youngest > min(PATIENCE * computing, MOST_PATIENCE)
