"""Backpressure between a request thread and a connection."""

from __future__ import annotations

import threading

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

HIGH_WATER = 65536
"""Bytes of a streamed answer that may be on their way to the reactor before the application has to wait."""


class ClientGone(Exception):
    """The client left; raised in the request thread to end the iteration, never shown to anyone."""


@implementer(IPushProducer)
class FlowControl:
    """Makes the request thread wait while the transport is full.

    The reactor calls the producer methods; the thread calls `reserve` before each block it hands over.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._paused = False
        self._pending = 0
        self.gone = False

    def reserve(self, size: int) -> None:
        """Wait until the reactor can take `size` more bytes. Raises `ClientGone`."""
        with self._changed:
            while (self._paused or self._pending > HIGH_WATER) and not self.gone:
                self._changed.wait()
            if self.gone:
                raise ClientGone
            self._pending += size

    def written(self, size: int) -> None:
        """Account for bytes that the reactor has taken."""
        with self._changed:
            self._pending -= size
            self._changed.notify()

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
