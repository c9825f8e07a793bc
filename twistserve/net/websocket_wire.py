"""What twisted.web.websocket asks of the channel of a request, by a private name, and its messages, bounded.

Reactor thread.
"""

from __future__ import annotations

from io import StringIO
from typing import Any


class MessageTooBig(Exception):
    """A message of a WebSocket is larger than may be."""


class UpgradingChannel:
    """A channel whose connection can become a WebSocket."""

    def upgrade(self, wire: Any) -> None:
        """Have `wire`, a protocol, get what the connection receives from now on, and connect it to a transport."""
        raise NotImplementedError

    def _protocolUpgradeForWebsockets(self, wire: Any) -> None:
        self.upgrade(wire)


def bound_messages(wire: Any, most: int) -> None:
    """Have Twisted's `wire` raise `MessageTooBig` for a message of more than `most` bytes, or characters of text.

    Twisted has no bound; and it copies all of what has come of a message for each fragment, so that one of a megabyte
    in fragments of a byte would take the reactor hours.
    """
    wire._textBuffer, wire._bytesBuffer = _Text(most), _Bytes(most)


class _Text:
    """What has come of a text."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._size = 0
        self._parts = StringIO()

    def add(self, new: str) -> None:
        """A fragment has come."""
        self._size += len(new)
        if self._size > self._most:
            raise MessageTooBig
        self._parts.write(new)

    def done(self) -> str:
        """All of it has come."""
        text = self._parts.getvalue()
        self._size, self._parts = 0, StringIO()
        return text


class _Bytes:
    """What has come of a message of bytes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._parts = bytearray()

    def add(self, new: bytes | bytearray) -> None:
        """A fragment has come."""
        if len(self._parts) + len(new) > self._most:
            raise MessageTooBig
        self._parts += new

    def done(self) -> bytes:
        """All of it has come."""
        data = bytes(self._parts)
        self._parts = bytearray()
        return data
