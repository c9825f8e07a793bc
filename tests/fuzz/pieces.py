"""The ways in which the bytes of a connection arrive."""

from __future__ import annotations

import itertools
import logging
import random
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import ILogObserver, LogEvent, LogLevel, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer


def arrivals(data: bytes) -> Iterator[list[bytes]]:
    """The data in one piece, byte by byte, and in a few pieces; the same for the same data."""
    yield [data]
    yield [data[at : at + 1] for at in range(len(data))]
    chosen = random.Random(zlib.crc32(data))
    cuts = sorted({0, len(data), *(chosen.randrange(len(data) + 1) for _ in range(4))})
    yield [data[start:end] for start, end in itertools.pairwise(cuts)]


@implementer(ILogObserver)
class _Errors(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(self.format(record))

    def __call__(self, event: LogEvent) -> None:
        if event.get("log_level", LogLevel.debug) >= LogLevel.error:
            self.found.append(str(event.get("log_failure") or event.get("log_format")))


@contextmanager
def nothing_logged() -> Iterator[None]:
    """Raise AssertionError if the block logs an error: nobody outside may fill the log with tracebacks."""
    errors = _Errors()
    logging.getLogger().addHandler(errors)
    globalLogPublisher.addObserver(errors)
    try:
        yield
    finally:
        globalLogPublisher.removeObserver(errors)
        logging.getLogger().removeHandler(errors)
    assert not errors.found, "\n".join(errors.found)


def end(connection: Any, site: Any, clock: Clock, transport: StringTransport) -> None:
    """Let all time pass. Raises AssertionError where the connection does not end, or leaves something behind."""
    for _ in range(3):
        clock.advance(100)
        site.connections.sweep()
    assert transport.disconnecting, "the connection does not end"
    connection.connectionLost(Failure(ConnectionDone()))
    assert not site.connections
    assert not site.requests
