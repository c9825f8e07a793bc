"""A clock that can be stopped, as a reactor is."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ReactorNotRunning
from twisted.internet.task import Clock


class Reactor(Clock):
    """A Clock that can be stopped."""

    running = True
    stops = 0

    def stop(self) -> None:
        if not self.running:
            raise ReactorNotRunning
        self.running = False
        self.stops += 1

    def callWhenRunning(self, function: Any, *args: Any) -> None:
        self.callLater(0, function, *args)
