"""Backpressure for the response of a mounted resource: its producer writes as fast as the client reads.

Reactor thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from twistserve.http.response import Consumer
from twistserve.logs import get_logger

logger = get_logger(__name__)


@implementer(IPushProducer)
class Flow:
    """The producer of a streamed response, in the place of the resource's own, which may push or be pulled, or none.

    `most` bounds the bytes that wait for the client where the resource has no producer. A producer that is pulled is
    asked again in a later turn of the reactor (`call_later`), so that a fast client does not hold up the others.
    """

    def __init__(self, most: int, call_later: Callable[..., Any]) -> None:
        self._most = most
        self._call_later = call_later
        self._consumer: Consumer | None = None
        self._producer: Any = None
        self._streaming = False
        self._paused = self._asking = False
        self.waiting = 0
        """Bytes that were written since the client is slow."""

    def begin(self, consumer: Consumer) -> None:
        """The head of the response is on its way."""
        self._consumer = consumer
        consumer.registerProducer(self, True)

    def write(self, data: bytes) -> bool:
        """Send a piece of the body; False if too much waits already."""
        assert self._consumer is not None
        if self._paused:
            self.waiting += len(data)
            if self.waiting > self._most:
                return False
        self._consumer.write(data)
        return True

    # The resource's producer

    def register(self, producer: Any, streaming: bool) -> None:
        """Take the resource's producer; one that is pulled is asked for its first piece soon."""
        self._producer, self._streaming = producer, streaming
        if not streaming:
            self._ask_soon()
        elif self._paused:
            producer.pauseProducing()

    def unregister(self) -> None:
        """It is done."""
        self._producer = None

    def stop(self) -> None:
        """Nothing more is sent by it."""
        self._consumer = None

    def call_soon(self, function: Callable[[], object]) -> None:
        """Call it in a later turn of the reactor."""
        self._call_later(0, function)

    def _ask_soon(self) -> None:
        if not self._asking:
            self._asking = True
            self._call_later(0, self._ask)

    def _ask(self) -> None:
        self._asking = False
        if self._producer is not None and not self._streaming and not self._paused:
            self._producer.resumeProducing()
            self._ask_soon()

    # The connection

    def pauseProducing(self) -> None:
        """The client reads more slowly than is written."""
        self._paused = True
        if self._producer is not None and self._streaming:
            self._producer.pauseProducing()

    def resumeProducing(self) -> None:
        """It has read."""
        self._paused, self.waiting = False, 0
        if self._producer is None:
            return
        if self._streaming:
            self._producer.resumeProducing()
        else:
            self._ask_soon()

    def stopProducing(self) -> None:
        """The client has left; the request is told of it too.

        What the producer raises is logged. Otherwise the transport would not call connectionLost.
        """
        producer, self._producer = self._producer, None
        if producer is not None:
            try:
                producer.stopProducing()
            except Exception:
                logger.exception("the producer of a mounted resource failed when it was stopped")
