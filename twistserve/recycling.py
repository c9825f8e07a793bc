"""Ending by itself, gracefully, after many requests, with age or with much memory; what started it starts another."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Any

from twistserve.lifecycle import Lifecycle, State
from twistserve.periodic import PeriodicService

LOOK_EVERY = 1.0
"""Seconds."""
JITTER = 10
"""The share of the requests or of the age, one in this many, that a process may serve longer than another."""

_PAGE = os.sysconf("SC_PAGE_SIZE")


def resident_memory() -> int:
    """Bytes of memory that the process has in use (proc(5), statm)."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * _PAGE


class RecyclingService(PeriodicService):
    """Has the process end when one of its bounds is reached, whichever comes first; 0 is none.

    `max_requests` are answered and `max_age` is in seconds since READY, both give or take; `max_memory` is in bytes.
    `recycle` is called with "lifetime", "age" or "memory", and the reason in words; again each second until it ends.
    """

    name = "recycling"

    def __init__(
        self,
        max_requests: int,
        max_age: float,
        max_memory: int,
        answered: Callable[[], int],
        lifecycle: Lifecycle,
        recycle: Callable[[str, str], None],
        reactor: Any,
        memory: Callable[[], int] = resident_memory,
        counted: str = "requests answered",
    ) -> None:
        # Reading the memory takes a descriptor: where there is none, there may be again at the next look.
        super().__init__(LOOK_EVERY, self.look, reactor)
        self._max_requests = max_requests and max_requests + random.randint(0, max_requests // JITTER)
        self._max_age = max_age and max_age + random.uniform(0, max_age / JITTER)
        self._max_memory = max_memory
        self._answered = answered
        self._lifecycle = lifecycle
        self._recycle = recycle
        self._memory = memory
        self._counted = counted

    def look(self) -> None:
        """Have it end if it is time."""
        if self._lifecycle.state is not State.READY:
            return
        if self._max_requests and (answered := self._answered()) >= self._max_requests:
            self._recycle("lifetime", f"{answered} {self._counted}, at most {self._max_requests} were wanted")
        elif self._max_age and (age := self._lifecycle.age) >= self._max_age:
            self._recycle("age", f"ready for {age:.0f} s, at most {self._max_age:.0f} s were wanted")
        elif self._max_memory and (memory := self._memory()) > self._max_memory:
            self._recycle("memory", f"{memory >> 20} MB resident, at most {self._max_memory >> 20} were wanted")
