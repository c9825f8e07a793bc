"""How long requests may take."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol


class Deadline:
    """One request's, in its environ as ``twistserve.deadline``; callable from any thread.

    Without ``--request-timeout`` there is always infinitely much time.
    """

    __slots__ = ("_clock", "at")

    def __init__(self, clock: Callable[[], float], at: float = math.inf) -> None:
        self._clock = clock
        self.at = at

    def remaining(self) -> float:
        """Seconds until the request is given up, 0 if it was."""
        return max(self.at - self._clock(), 0.0)

    def extend(self, seconds: float) -> None:
        """Let the request take at least `seconds` from now; never less than before; no effect after the deadline."""
        now = self._clock()
        if now < self.at:
            self.at = max(self.at, now + seconds)


class Watched(Protocol):
    """What has a deadline; compared by identity."""

    deadline: Deadline

    def timed_out(self) -> None:
        """The deadline has passed. Reactor thread."""


class Deadlines:
    """Watches what is begun until it is done; one timer for all. Reactor thread, but for `done`."""

    def __init__(self, seconds: float, reactor: Any) -> None:
        self._seconds = seconds
        self._reactor = reactor
        self._watched: set[Watched] = set()
        self._timer: Any = None

    def begin(self, watched: Watched) -> None:
        """Give `watched` its deadline, counted from now."""
        clock = self._reactor.seconds
        watched.deadline = Deadline(clock, clock() + self._seconds)
        self._watched.add(watched)
        self._look_at(watched.deadline.at)

    def done(self, watched: Watched) -> None:
        """It is over; callable from any thread."""
        self._watched.discard(watched)

    def _look(self) -> None:
        self._timer = None
        now = self._reactor.seconds()
        for watched in list(self._watched):
            # It may be done by now, on another thread or because of those before it.
            if watched.deadline.at <= now and watched in self._watched:
                self._watched.discard(watched)
                watched.timed_out()
        if left := list(self._watched):
            self._look_at(min(watched.deadline.at for watched in left))

    def _look_at(self, at: float) -> None:
        """Look at this time, or before."""
        delay = max(at - self._reactor.seconds(), 0.01)
        if self._timer is None:
            self._timer = self._reactor.callLater(delay, self._look)
        elif self._timer.getTime() > at:
            self._timer.reset(delay)
