"""Texts for the WebSockets of another process, sent as long as it takes them. Reactor thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from twistserve.logs import get_logger
from twistserve.logs.containment import contain
from twistserve.metrics import catalogue as metrics

logger = get_logger(__name__)

MOST_UNTAKEN = 8 << 20
"""Characters that may be on their way to a process: one that hangs is killed within some seconds."""


class Relay:
    """Sends each text in order by `ask`, whose Deferred fires when `name`, the other process, has taken it.

    What finds no room is dropped, and the log says so once, until there is room again.
    """

    def __init__(self, ask: Callable[[list[str]], Deferred[Any]], name: str) -> None:
        self._ask = ask
        self._name = name
        self._untaken = 0
        self._full = False

    def send(self, group: str, text: str) -> None:
        """Send a text, or drop it."""
        size = len(text)
        if self._untaken + size > MOST_UNTAKEN:
            contain(metrics.websocket_texts_dropped.inc)
            if not self._full:
                self._full = True
                logger.warning(
                    "texts for WebSockets are dropped on the way to %s, which does not take them: %d characters wait",
                    self._name,
                    self._untaken,
                )
            return
        self._full = False
        self._untaken += size
        self._ask([group, text]).addBoth(lambda result: self._taken(size))

    def _taken(self, size: int) -> None:
        self._untaken -= size
