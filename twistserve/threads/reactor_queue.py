"""The way back from the request threads to the reactor."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twistserve.logs import get_logger

logger = get_logger(__name__)


class ReactorQueue:
    """The way back to the reactor thread: one wake-up for all that was put while it was on its way."""

    held = False
    """Whether the reactor comes for what was put, in milliseconds at most, without being woken."""

    def __init__(self, call_from_thread: Callable[..., Any]) -> None:
        self._call_from_thread = call_from_thread
        self._waiting: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._called = False

    def put(self, function: Callable[..., None], *arguments: Any) -> None:
        """Have `function(*arguments)` called on the reactor thread, after what was put before."""
        self._waiting.append((function, arguments))
        if not self.held:
            self.wake()

    def wake(self) -> None:
        """Have the reactor thread come now, whether anything was put or not."""
        if not self._called:
            self._called = True
            self._call_from_thread(self.deliver)

    def wake_reactor(self) -> None:
        """Have the reactor thread come now if it would come later: somebody waits for it."""
        if self.held:
            self.wake()

    def deliver(self) -> None:
        """Call what was put. Reactor thread."""
        # First: what is put from here on either finds the loop still running or calls again.
        self._called = False
        waiting = self._waiting
        while waiting:
            function, arguments = waiting.popleft()
            try:
                function(*arguments)
            except Exception:
                logger.exception("an answer could not be sent")
