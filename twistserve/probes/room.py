"""Room for probes: the probe port's connections are bounded, and idle ones make way for new ones.

So neither clients that only hold connections open, nor an application that has taken every other descriptor, keep a
probe from its response.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twistserve.net.open_files import is_scarce, most_probes

FEW = 4
"""Connections that stay while every descriptor but the probe port's own is taken."""


class ProbeRoom:
    """The open connections, that which was used longest ago first. Reactor thread."""

    def __init__(self, most: Callable[[], int] = most_probes, scarce: Callable[[int], bool] = is_scarce) -> None:
        self._most = most
        self._scarce = scarce
        self._connections: dict[Any, None] = {}

    def joined(self, connection: Any, descriptor: int) -> None:
        """A connection is open: close the idle ones beyond the bound, first those that were not used for longest."""
        self._connections[connection] = None
        most = FEW if self._scarce(descriptor) else self._most()
        excess = len(self._connections) - most
        if excess > 0:
            idle = [each for each in self._connections if not each.busy and each is not connection]
            for each in idle[:excess]:
                del self._connections[each]
                each.transport.abortConnection()

    def used(self, connection: Any) -> None:
        """A connection has been asked something."""
        if connection in self._connections:
            del self._connections[connection]
            self._connections[connection] = None

    def left(self, connection: Any) -> None:
        """A connection is closed."""
        self._connections.pop(connection, None)
