"""The WebSockets of this process by group, and the texts that are on their way to them.

It imports nothing of twisted.web: views use it in processes that have no WebSockets too.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from threading import RLock
from typing import NamedTuple, Protocol

from twisted.internet.defer import Deferred

from twistserve.logs import get_logger
from twistserve.logs.containment import contain
from twistserve.metrics import catalogue as metrics

logger = get_logger(__name__)

LONGEST = 1 << 20
"""Bytes of a text: as much as may wait for one client."""
MOST_QUEUED = 16 << 20
"""Bytes of texts that wait for the reactor."""
TURN = 200
"""WebSockets that a text is sent to in one turn of the reactor: some 5 ms."""


class Member(Protocol):
    """The transport of a WebSocket (twisted.web.websocket.WebSocketTransport), as far as groups use it."""

    def sendTextMessage(self, text: str) -> None:
        """Send a text; raises what it likes if the WebSocket is closed."""


class Text(NamedTuple):
    """A text on its way; `size` in bytes. `done` fires when one of another process was delivered."""

    group: str
    text: str
    size: int
    here: bool
    done: Deferred[None] | None = None


class Groups:
    """The groups; the reactor thread's, but for `send`.

    Texts are delivered one after another, `TURN` WebSockets at a time. `publish` is told of each as its turn comes: it
    has other processes deliver it.
    """

    def __init__(self) -> None:
        self.publish: Callable[[str, str], None] = lambda group, text: None
        self._members: dict[str, dict[int, Member]] = {}
        """By their identity: Twisted's have no hash."""
        self._call_from_thread: Callable[[Callable[[], None]], object] | None = None
        self._queue: deque[Text] = deque()
        self._queued = 0
        self._busy = False
        """Whether the reactor is at it, or will be."""
        self._now: Text | None = None
        self._left: list[Member] = []
        """The text that is being delivered, and to whom still."""
        # A thread that is interrupted here by a signal or by garbage may send again.
        self._lock = RLock()
        self._full = False

    def begin(self, call_from_thread: Callable[[Callable[[], None]], object]) -> None:
        """Have texts delivered from now on: by the reactor of this process, which a forked child has not."""
        self._call_from_thread = call_from_thread
        os.register_at_fork(after_in_child=self._end)

    def _end(self) -> None:
        # Another thread may have held the lock.
        self._lock, self._call_from_thread = RLock(), None

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
            if not dropped:
                self._put(Text(group, text, size, here), call)
            tells, self._full = dropped and not self._full, dropped
        if dropped:
            contain(metrics.websocket_texts_dropped.inc)
        if tells:
            logger.warning(
                "texts for WebSockets are dropped: %d bytes wait for the reactor, which is busy", MOST_QUEUED
            )

    def join(self, group: str, member: Member) -> None:
        """A WebSocket gets what is sent to the group from now on."""
        self._members.setdefault(group, {})[id(member)] = member

    def leave(self, group: str, member: Member) -> None:
        """It gets that no more; no effect if it has not joined."""
        if (members := self._members.get(group)) is not None:
            members.pop(id(member), None)
            if not members:
                del self._members[group]

    def deliver(self, group: str, text: str) -> Deferred[None]:
        """Send a text of another process to the members in this one; fires when that is done."""
        done: Deferred[None] = Deferred()
        if self._call_from_thread is None:
            done.callback(None)
        else:
            with self._lock:
                self._put(Text(group, text, 0, True, done), self._call_from_thread)
        return done

    def _put(self, text: Text, call: Callable[[Callable[[], None]], object]) -> None:
        self._queue.append(text)
        self._queued += text.size
        if not self._busy:
            self._busy = True
            call(self._deliver_some)

    def _deliver_some(self) -> None:
        """Deliver for one turn of the reactor."""
        for _ in range(TURN):
            if not self._left and not self._take_next():
                return
            if self._left:
                self._send_one(self._left.pop())
        assert self._call_from_thread is not None
        self._call_from_thread(self._deliver_some)

    def _take_next(self) -> bool:
        """Begin with the next text, when the one before is delivered; False if there is none."""
        before, self._now = self._now, None
        if before is not None and before.done is not None:
            before.done.callback(None)
        with self._lock:
            self._queued -= before.size if before is not None else 0
            if not self._queue:
                self._busy = False
                return False
            self._now = text = self._queue.popleft()
        self._left = list(self._members.get(text.group, {}).values())
        if not text.here:
            contain(self.publish, text.group, text.text)
        return True

    def _send_one(self, member: Member) -> None:
        assert self._now is not None
        group, text = self._now[:2]
        try:
            member.sendTextMessage(text)
        except Exception as error:
            logger.debug("a WebSocket of %r has not got a text, for it is about to end: %r", group, error)


groups = Groups()
"""Those of this process."""
