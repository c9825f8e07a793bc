"""The WebSockets of this process by group, and the texts that are on their way to them.

It imports nothing of twisted.web: views use it in processes that have no WebSockets too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import RLock
from typing import Protocol

from twistserve.logs import get_logger
from twistserve.logs.containment import contain
from twistserve.metrics import catalogue as metrics

logger = get_logger(__name__)

LONGEST = 1 << 20
"""Bytes of a text: as much as may wait for one client."""
MOST_QUEUED = 16 << 20
"""Bytes of texts that wait for the reactor."""


class Member(Protocol):
    """The transport of a WebSocket (twisted.web.websocket.WebSocketTransport), as far as groups use it."""

    def sendTextMessage(self, text: str) -> None:
        """Send a text; raises what it likes if the WebSocket is closed."""


class Groups:
    """The groups; the reactor thread's, but for `send`.

    `publish` is told of each text after it was delivered here: it has other processes deliver it.
    """

    def __init__(self) -> None:
        self.publish: Callable[[str, str], None] = lambda group, text: None
        self._members: dict[str, dict[int, Member]] = {}
        """By their identity: Twisted's have no hash."""
        self._call_from_thread: Callable[[Callable[[], None]], object] | None = None
        self._queue: deque[tuple[str, str, bool]] = deque()
        self._queued = 0
        # A thread that is interrupted here by a signal or by garbage may send again.
        self._lock = RLock()
        self._full = False

    def begin(self, call_from_thread: Callable[[Callable[[], None]], object]) -> None:
        """Have texts delivered from now on: by the reactor of this process."""
        self._call_from_thread = call_from_thread

    def send(self, group: str, text: str, here: bool = False) -> None:
        """Send a text to the group, in order with others of this thread; any thread, and never blocks.

        With `here` to its members in this process alone.

        Raises TypeError for what is no text, and ValueError for what cannot be sent, or has more than `LONGEST` bytes.
        """
        if not isinstance(group, str) or not isinstance(text, str):
            raise TypeError("twistserve.websocket.send() takes two texts, the group and what to send to it")
        group.encode()
        size = len(text.encode())
        if size > LONGEST:
            raise ValueError(f"a text of {size} bytes is too long for WebSockets: at most {LONGEST}; send a URL")
        call = self._call_from_thread
        if call is None:
            logger.debug("nothing was sent to the WebSockets of %r: this process has none, nor --mount", group)
            return
        with self._lock:
            dropped = self._queued + size > MOST_QUEUED
            first = not self._queue
            if not dropped:
                self._queue.append((group, text, here))
                self._queued += size
            tells, self._full = dropped and not self._full, dropped
        if dropped:
            contain(metrics.websocket_texts_dropped.inc)
        if tells:
            logger.warning(
                "texts for WebSockets are dropped: %d bytes wait for the reactor, which is busy", MOST_QUEUED
            )
        if first and not dropped:
            call(self._deliver_queued)

    def join(self, group: str, member: Member) -> None:
        """A WebSocket gets what is sent to the group from now on."""
        self._members.setdefault(group, {})[id(member)] = member

    def leave(self, group: str, member: Member) -> None:
        """It gets that no more; no effect if it has not joined."""
        if (members := self._members.get(group)) is not None:
            members.pop(id(member), None)
            if not members:
                del self._members[group]

    def deliver(self, group: str, text: str) -> None:
        """Send a text to the members in this process."""
        for member in list(self._members.get(group, {}).values()):
            try:
                member.sendTextMessage(text)
            except Exception as error:
                logger.debug("a WebSocket of %r has not got a text, for it is about to end: %r", group, error)

    def _deliver_queued(self) -> None:
        with self._lock:
            queue, self._queue, self._queued = self._queue, deque(), 0
        for group, text, here in queue:
            self.deliver(group, text)
            if not here:
                contain(self.publish, group, text)


groups = Groups()
"""Those of this process."""
