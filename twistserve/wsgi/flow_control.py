"""Backpressure between a request thread and a connection."""

from __future__ import annotations

import threading
from collections.abc import Callable

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from twistserve.http.response import Consumer

HIGH_WATER = 65536
"""Bytes of a streamed response that may be on their way to the reactor before the application has to wait."""


class ClientGone(Exception):
    """The client left; raised in the request thread to end the iteration, never shown to anyone."""


@implementer(IPushProducer)
class FlowControl:
    """Blocks on their way to the reactor; the request thread waits while too many are, or the transport is full.

    The thread calls `put`, the reactor `take` and the producer methods. `wake_reactor` is called before it waits.
    """

    def __init__(self, wake_reactor: Callable[[], None] = lambda: None, gone: bool = False) -> None:
        self._wake_reactor = wake_reactor
        self._changed = threading.Condition()
        self._paused = False
        self._blocks: list[bytes] = []
        self._size = 0
        self.gone = gone

    def begin(self, consumer: Consumer) -> None:
        """The head is on its way. Reactor thread."""
        consumer.registerProducer(self, True)

    def put(self, block: bytes) -> bool:
        """Add a block as soon as there is room, and say whether the reactor must be told. Raises `ClientGone`."""
        with self._changed:
            while (self._paused or self._size > HIGH_WATER) and not self.gone:
                self._wake_reactor()
                self._changed.wait()
            if self.gone:
                raise ClientGone
            self._blocks.append(block)
            self._size += len(block)
            return len(self._blocks) == 1

    def take(self) -> bytes:
        """All that was put since the last time: many small blocks go to the client in one system call."""
        with self._changed:
            blocks, self._blocks = self._blocks, []
            self._size = 0
            self._changed.notify()
        return blocks[0] if len(blocks) == 1 else b"".join(blocks)

    def pauseProducing(self) -> None:
        """The transport is full."""
        with self._changed:
            self._paused = True

    def resumeProducing(self) -> None:
        """The transport has room."""
        with self._changed:
            self._paused = False
            self._changed.notify()

    def stopProducing(self) -> None:
        """The client is gone."""
        with self._changed:
            self.gone = True
            self._changed.notify()
