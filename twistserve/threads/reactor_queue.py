"""The way back from the request threads to the reactor."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twistserve.logs import get_logger

logger = get_logger(__name__)


class ReactorQueue:
    """Calls for the reactor thread, which is woken once for all of them, and only if it does not look by itself."""

    napping = False
    """Whether the reactor looks here within milliseconds, so that it need not be woken."""
    _attending = False
    """Whether the reactor is at work, and looks here before it waits."""

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
        """Wake the reactor thread from a nap, for a thread that waits for it."""
        if self.napping:
            self.wake()

    def after_waiting(self) -> None:
        """Called when the reactor is at work again; it calls `before_waiting` when that is done. Reactor thread."""
        self._attending, self.napping = True, False

    def before_waiting(self) -> None:
        """Make the waiting calls; later ones have to wake the reactor. Reactor thread."""
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
