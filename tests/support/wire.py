"""Connections over one end of a pair of sockets, without a reactor."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from twisted.internet import tcp


class Wire(tcp.Connection):
    """A connection of Twisted's over one end of a pair, without a reactor; `asked` counts calls of startWriting."""

    def __init__(self, end: socket.socket) -> None:
        self.socket = end
        self.fileno = end.fileno
        self.asked = 0
        self._tempDataBuffer: list[bytes] = []
        self._tempDataLen = 0

    def startWriting(self) -> None:
        self.asked += 1


class Above:
    """A transport such as TLS, on top of another."""

    def __init__(self, transport: object) -> None:
        self.transport = transport


@contextmanager
def connected() -> Iterator[tuple[Wire, socket.socket]]:
    """A connection, and the client's end of it."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.settimeout(30)
    with ours, theirs:
        yield Wire(ours), theirs
