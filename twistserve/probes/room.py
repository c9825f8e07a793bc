"""Room for probes: the probe port's connections are bounded, and idle ones make way for new ones.

So neither clients that only hold connections open, nor an application that has taken every other descriptor, keep a
probe from being answered.
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
        self._channels: dict[Any, None] = {}

    def joined(self, channel: Any, descriptor: int) -> None:
        """A connection is open: close the idle ones beyond the bound, first those that were not used for longest."""
        self._channels[channel] = None
        most = FEW if self._scarce(descriptor) else self._most()
        excess = len(self._channels) - most
        if excess > 0:
            idle = [each for each in self._channels if not each.busy and each is not channel]
            for each in idle[:excess]:
                del self._channels[each]
                each.transport.abortConnection()

    def used(self, channel: Any) -> None:
        """A connection has been asked something."""
        if channel in self._channels:
            del self._channels[channel]
            self._channels[channel] = None

    def left(self, channel: Any) -> None:
        """A connection is closed."""
        self._channels.pop(channel, None)
