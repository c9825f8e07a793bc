"""TCP connections that send at once what the kernel takes, and leave only the rest to the reactor.

Twisted's own write costs a second turn of the loop and two epoll_ctl calls for every response.
"""

from __future__ import annotations

import fcntl
import sys
import termios
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from twisted.internet import tcp, unix
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST

from twistserve.net import syscalls

JOIN = 16384
"""Bytes up to which copying buffers into one is cheaper than telling the kernel of each."""


class Server(tcp.Server):
    """An accepted connection."""

    read_size = syscalls.READ
    """Bytes that are read at once; up to `syscalls.BULK` where so many of a body are still to come."""

    def doRead(self) -> Any:
        """Hand over what has come; reads as `tcp.Connection` does, but keeps the GIL."""
        try:
            data = syscalls.recv(self.fileno(), self.read_size)
        except OSError:
            return CONNECTION_LOST
        if data:
            self.protocol.dataReceived(data)
            return None
        return None if data is None else CONNECTION_DONE

    def send(self, buffers: Sequence[bytes]) -> None:
        """Write buffers one after another, at once as far as nothing waits before them; reactor thread."""
        if self._tempDataBuffer or self.dataBuffer or not self.connected:
            self.writeSequence(buffers)
            return
        size = sum(map(len, buffers))
        try:
            if size <= JOIN or len(buffers) > syscalls.MOST_BUFFERS:
                buffers = (b"".join(buffers),)
                sent = syscalls.send(self.fileno(), buffers[0])
            else:
                sent = syscalls.send_buffers(self.fileno(), buffers)
        except OSError:
            # Gone: the reactor finds out when it writes.
            sent = 0
        if sent < size:
            for buffer in buffers:
                self.write(buffer[sent:])
                sent = max(sent - len(buffer), 0)


def untaken_by_peer(transport: Any) -> int:
    """Bytes that the peer has not taken yet: those that wait here, and those that the kernel has no ACK for (tcp(7)).

    Below TLS and the PROXY protocol is a socket too; 0 for what has none.
    """
    while not isinstance(transport, tcp.Connection):
        transport = getattr(transport, "transport", None)
        if transport is None:
            return 0
    waiting: int = len(transport.dataBuffer) - transport.offset + transport._tempDataLen
    try:
        kernel = fcntl.ioctl(transport.fileno(), termios.TIOCOUTQ, bytes(4))
    except (OSError, ValueError):  # closed
        return waiting
    return waiting + int.from_bytes(kernel, sys.byteorder)


class _Bounded:
    """A listening port that accepts no more connections in one turn than there is room for."""

    factory: Any
    numberAccepts: int

    def doRead(self) -> None:
        """Accept what waits and has room, or the first of it."""
        self.numberAccepts = min(self.numberAccepts, self._room())
        super().doRead()  # type: ignore[misc]

    def _room(self) -> int:
        """How many connections there is room for, at least one; as the site says below what TLS puts around it."""
        factory = self.factory
        while factory is not None:
            room = getattr(factory, "room", None)
            if callable(room):
                return max(int(room()), 1)
            factory = getattr(factory, "wrappedFactory", None)
        return sys.maxsize


class Port(_Bounded, tcp.Port):
    """A listening port whose connections are of this kind."""

    transport = Server
    shared = False
    """Whether other processes accept from the same socket: one connection at a time then, so that each gets some."""

    accepting: Callable[[], None] | None = None
    """Called before each accept(2)."""

    around_accept: AbstractContextManager[None] = nullcontext()
    """What holds while connections are accepted."""

    def doRead(self) -> None:
        """Accept what waits and has room, or the first of it."""
        if self.shared:
            self.numberAccepts = 1
        if self.accepting is not None:
            self.accepting()
        with self.around_accept:
            super().doRead()


class UnixPort(_Bounded, unix.Port):
    """The same on a Unix socket, whose connections are Twisted's."""
