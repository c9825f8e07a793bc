"""The connections of the probe port."""

from __future__ import annotations

import time
from typing import Any

from twisted.web.http import HTTPChannel


class ProbeChannel(HTTPChannel):
    """Sends an answer in the turn of the reactor that makes it, head and body together.

    Twisted's own write leaves it to the next turn, and while request threads compute, each turn and each system call
    may cost the switch interval of the GIL times the threads that want it. With eight of them on one core, and
    Python's interval of 5 ms, a startup probe took 80 ms (p50) as Twisted writes and 58 ms so.
    """

    asked_at = 0.0
    """When something came last, by `time.perf_counter`."""
    _head = b""

    def connectionMade(self) -> None:
        """Somebody is there."""
        super().connectionMade()
        descriptor = getattr(self.transport, "fileno", lambda: -1)()
        self.factory.channels.joined(self, descriptor)

    def dataReceived(self, data: bytes) -> None:
        """A probe asks."""
        self.asked_at = time.perf_counter()
        self.factory.turns.begin(self)
        self.factory.channels.used(self)
        super().dataReceived(data)

    def connectionLost(self, reason: Any) -> None:  # type: ignore[override]
        """Who asked is gone."""
        self.factory.turns.end(self)
        self.factory.channels.left(self)
        super().connectionLost(reason)

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Any) -> None:
        """Keep the head until there is something to send with it."""
        lines = [b"%b %b %b\r\n" % (version, code, reason)]
        lines += (b"%b: %b\r\n" % (name, value) for name, values in headers.getAllRawHeaders() for value in values)
        self._head = b"".join(lines) + b"\r\n"

    def write(self, data: bytes) -> None:
        """Send, behind the head where that waits. With another reactor than ours, leave it to that."""
        head, self._head = self._head, b""
        transport: Any = self.transport
        getattr(transport, "send", transport.writeSequence)([head, data])

    def requestDone(self, request: Any) -> None:
        """The answer is complete: one to HEAD is only a head."""
        if self._head:
            self.write(b"")
        self.factory.turns.end(self)
        super().requestDone(request)
