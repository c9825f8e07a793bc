"""The way back from the request threads to the reactor."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twistserve.logs import get_logger

logger = get_logger(__name__)


class ReactorQueue:
    """The way back to the reactor thread: it is woken once for all that was put, and not where it comes by itself."""

    napping = False
    """Whether the reactor comes for what was put in milliseconds at most, and need not be woken before."""
    _attending = False
    """Whether it is at work, and looks again before it waits."""

    def __init__(self, call_from_thread: Callable[..., Any]) -> None:
        self._call_from_thread = call_from_thread
        self._waiting: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._called = False

    def put(self, function: Callable[..., None], *arguments: Any) -> None:
        """Have `function(*arguments)` called on the reactor thread, after what was put before."""
        self._waiting.append((function, arguments))
        if not self.napping and not self._attending:
            self.wake()

    def wake(self) -> None:
        """Have the reactor thread come now, whether anything was put or not."""
        if not self._called:
            self._called = True
            self._call_from_thread(self.deliver)

    def wake_reactor(self) -> None:
        """Have the reactor thread come now if it would come later: somebody waits for it."""
        if self.napping:
            self.wake()

    def after_waiting(self) -> None:
        """The reactor is at work, and calls `before_waiting` when it has nothing left to do. Reactor thread."""
        self._attending, self.napping = True, False

    def before_waiting(self) -> None:
        """Call what was put; for what comes from now on the reactor has to be woken. Reactor thread."""
        self._attending = self.napping = False
        self.deliver()

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
