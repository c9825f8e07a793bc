"""Listening sockets that the parent makes and the workers share.

An endpoint asks its reactor to listen, however it was written: `tcp:`, `ssl:`, `haproxy:tcp:` and so on. In the parent
it is given a reactor that only binds, in a worker one that takes the sockets which were bound, in the same order.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

from twisted.internet import tcp, unix
from twisted.internet.error import CannotListenError
from twisted.internet.posixbase import PosixReactorBase
from twisted.internet.protocol import Factory

from twistserve.errors import StartError
from twistserve.net.listeners import Endpoint, bind


class _ForEndpoints:
    """A reactor to endpoints that listens in a way of its own, for TLS too."""

    listenSSL = PosixReactorBase.listenSSL

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)


class BindingReactor(_ForEndpoints):
    """Binds where it was to listen."""

    def __init__(self, reactor: Any) -> None:
        super().__init__(reactor)
        self.sockets: list[socket.socket] = []

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        """Bind a TCP port."""
        family = socket.AF_INET6 if ":" in interface else socket.AF_INET
        try:
            self.sockets.append(bind(family, (interface, port), v6only=interface != "::"))
        except OSError as error:
            raise CannotListenError(interface, port, error) from error
        return SimpleNamespace()

    def listenUNIX(self, address: str, factory: Any, backlog: int = 50, mode: int = 0o666, wantPID: int = 0) -> Any:
        """Bind a Unix socket; one that a dead process has left is replaced."""
        bound = socket.socket(socket.AF_UNIX)
        bound.setblocking(False)
        try:
            _remove_stale(address)
            bound.bind(address)
            os.chmod(address, mode)
        except OSError as error:
            bound.close()
            raise CannotListenError(None, address, error) from error
        self.sockets.append(bound)
        return SimpleNamespace()

    def adoptStreamPort(self, *arguments: Any) -> Any:
        """Refuse: the descriptor has another number in a worker."""
        raise ValueError("systemd's sockets cannot be shared by processes: give --workers 1, and no --autoreload")


class AdoptingReactor(_ForEndpoints):
    """Listens on sockets which were bound before."""

    def __init__(self, reactor: Any, descriptors: Iterator[int]) -> None:
        super().__init__(reactor)
        self._descriptors = descriptors

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        """Listen on the next socket."""
        shared = socket.socket(fileno=next(self._descriptors))
        shared.listen(backlog)
        listening = self._reactor.adoptStreamPort(shared.fileno(), shared.family, factory)
        listening.shared = True
        shared.close()
        return listening

    def listenUNIX(self, address: str, factory: Any, backlog: int = 50, mode: int = 0o666, wantPID: int = 0) -> Any:
        """Listen on the next socket."""
        port = _UNIXPort(os.fsencode(address), factory, backlog, mode, self._reactor)
        port._preexistingSocket = socket.socket(fileno=next(self._descriptors))
        port.startListening()
        return port


class _UNIXPort(unix.Port):
    """A Unix socket that other processes listen on too: one that ends leaves it open, and its name where it is."""

    _shouldShutdown = False
    connectionLost = tcp.Port.connectionLost

    def doRead(self) -> None:
        """Accept one connection, so that each process gets some."""
        self.numberAccepts = 1
        super().doRead()


def bind_endpoints(reactor: Any, descriptions: Sequence[str]) -> list[socket.socket]:
    """The bound sockets of --endpoint, in its order. Raises `StartError`."""
    binding = BindingReactor(reactor)
    for description in descriptions:
        failures: list[Any] = []
        Endpoint(binding, description).open(Factory()).addErrback(failures.append)
        if failures:
            raise StartError(str(failures[0].value))
    return binding.sockets


def _remove_stale(address: str) -> None:
    """Remove a stale Unix socket. Raises OSError where a process listens on it."""
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.stat(address).st_mode):
            with socket.socket(socket.AF_UNIX) as probe:
                try:
                    probe.connect(address)
                except ConnectionRefusedError:
                    os.unlink(address)
