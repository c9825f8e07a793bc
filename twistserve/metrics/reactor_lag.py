"""How late the reactor comes to what it should do: what blocks it, or the want of CPU, shows here first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.application.service import Service

from twistserve.logs.containment import contain

INTERVAL = 0.25
"""Seconds between two measurements: sixty in a usual scrape interval, and a wake-up that costs next to nothing."""


class ReactorLagService(Service):
    """Tells `observe` how many seconds late a timer was called, every `INTERVAL`."""

    name = "reactor lag"

    def __init__(self, observe: Callable[[float], None], reactor: Any) -> None:
        self._observe = observe
        self._reactor = reactor
        self._timer: Any = None

    def startService(self) -> None:
        """Begin to measure."""
        super().startService()
        self._timer = self._reactor.callLater(INTERVAL, self._measure)

    def stopService(self) -> None:
        """Measure no more."""
        super().stopService()
        if self._timer.active():
            self._timer.cancel()

    def _measure(self) -> None:
        contain(self._observe, self._reactor.seconds() - self._timer.getTime())
        self._timer = self._reactor.callLater(INTERVAL, self._measure)
