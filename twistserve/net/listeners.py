"""Ports: bound early, while a conflict can still be told, and opened when there is something to serve."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from typing import Any, Protocol

from twisted.internet import tcp
from twisted.internet.defer import Deferred, DeferredList, fail, maybeDeferred, succeed
from twisted.internet.interfaces import IProtocolFactory
from twisted.python.failure import Failure

from twistserve.errors import StartError

BACKLOG = 1024


class Listener(Protocol):
    """Where connections come from."""

    names: list[Any]
    """The addresses that it has listened at, as getsockname(2) tells them; its connections have the same."""

    def open(self, factory: IProtocolFactory) -> Deferred[None]:
        """Accept connections for `factory`; fails with `StartError`."""

    def pause(self, paused: bool) -> None:
        """Accept none for now, or go on; while it is open."""

    def close(self, last: bool = True) -> Deferred[Any]:
        """Accept no more; fires when that is so.

        Not the `last` to do so, one of several processes leaves what waits to the others.
        """


class Endpoint:
    """A Twisted server endpoint, given as a string (twisted.internet.endpoints.serverFromString)."""

    def __init__(self, reactor: Any, description: str) -> None:
        self._description = description
        self._listening: Any = None
        self.names: list[Any] = []
        try:
            self._endpoint = self._parse(reactor, description)
        except Exception as error:
            raise StartError(
                f"--endpoint: {description!r} is not a server endpoint: {type(error).__name__}: {error}"
            ) from error

    def __str__(self) -> str:
        return self._description

    def _parse(self, reactor: Any, description: str) -> Any:
        if description.startswith("tls:"):
            # Imported here: pyOpenSSL is an extra.
            from twistserve.net.tls import tls_endpoint

            return tls_endpoint(reactor, description)
        # Imported here: they import OpenSSL, for endpoints of any kind.
        from twisted.internet.endpoints import serverFromString

        from twistserve.net.proxy_protocol import proxied

        if description.startswith("haproxy:"):
            return proxied(serverFromString(reactor, description.removeprefix("haproxy:")))
        return serverFromString(reactor, description)

    def open(self, factory: IProtocolFactory) -> Deferred[None]:
        """Accept connections for `factory`; fails with `StartError`."""

        def listening(port: Any) -> None:
            self._listening = port
            self.names.append(_name_of(port))

        def failed(failure: Failure) -> None:
            reason = getattr(failure.value, "socketError", failure.value)
            raise StartError(f"--endpoint: {self._description!r} cannot be opened: {reason}") from failure.value

        return maybeDeferred(self._endpoint.listen, factory).addCallbacks(listening, failed)

    def pause(self, paused: bool) -> None:
        """Accept none for now, or go on."""
        if self._listening is not None:
            _pause(self._listening, paused)

    def close(self, last: bool = True) -> Deferred[Any]:
        """Accept no more; fires when that is so."""
        listening, self._listening = self._listening, None
        return _close(listening, last) if listening is not None else succeed(None)


class Port:
    """One TCP port on one or all interfaces, in IPv4 and IPv6. The options name it in errors."""

    def __init__(
        self,
        reactor: Any,
        host: str | None,
        port: int,
        option: str,
        backlog: int = BACKLOG,
        *,
        host_option: str = "--host",
    ) -> None:
        self._reactor = reactor
        self._host = host
        self._port = port
        self._option = option
        self._backlog = backlog
        self._host_option = host_option
        self._bound: list[socket.socket] = []
        self._listening: list[Any] = []
        self._shared = False
        self.names: list[Any] = []

    def __str__(self) -> str:
        host = self._host or "*"
        return f"[{host}]:{self._port}" if ":" in host else f"{host}:{self._port}"

    @property
    def sockets(self) -> list[socket.socket]:
        """What `bind` has reserved."""
        return self._bound

    def bind(self) -> None:
        """Reserve the port; connections are refused until `open`. Raises `StartError`."""
        if self._bound:
            return
        failures: list[OSError] = []
        for family, address in self._addresses():
            try:
                self._bound.append(bind(family, address))
            except OSError as error:
                # A machine may have no IPv6: another address of the same host will do. A conflict never does.
                if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    raise self._error(error) from error
                failures.append(error)
        if not self._bound:
            raise self._error(failures[0])
        self.names = [bound.getsockname() for bound in self._bound]

    def take(self, descriptors: Sequence[int]) -> None:
        """Use sockets that another process has bound and shares, in place of `bind`."""
        self._bound = [socket.socket(fileno=descriptor) for descriptor in descriptors]
        self._shared = True
        self.names = [bound.getsockname() for bound in self._bound]

    def open(self, factory: IProtocolFactory) -> Deferred[None]:
        """Accept connections for `factory`; fails with `StartError`."""
        for bound in self._bound:
            try:
                bound.listen(self._backlog)
            except OSError as error:
                return fail(self._error(error))
            listening = self._reactor.adoptStreamPort(bound.fileno(), bound.family, factory)
            listening.shared, listening.accepting = self._shared, getattr(factory, "accepting", None)
            listening.around_accept = getattr(factory, "around_accept", nullcontext())
            self._listening.append(listening)
            bound.close()
        self._bound = []
        return succeed(None)

    def pause(self, paused: bool) -> None:
        """Accept none for now, or go on."""
        for port in self._listening:
            _pause(port, paused)

    def close(self, last: bool = True) -> Deferred[Any]:
        """Accept no more; fires when the port is closed."""
        for bound in self._bound:
            bound.close()
        listening, self._listening, self._bound = self._listening, [], []
        return DeferredList([_close(port, last) for port in listening])

    def _addresses(self) -> list[tuple[int, tuple[Any, ...]]]:
        if self._host is None:
            return [(socket.AF_INET, ("0.0.0.0", self._port)), (socket.AF_INET6, ("::", self._port))]
        try:
            found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        except OSError as error:
            raise StartError(
                f"{self._host_option}: {self._host!r} is not an address of this machine"
                f" ({error.strerror}): give one of its addresses or names"
            ) from error
        return list(dict.fromkeys((family, address) for family, _, _, _, address in found))

    def _error(self, error: OSError) -> StartError:
        remedies = {
            errno.EADDRINUSE: "is in use: stop the program that uses it, or give another port",
            errno.EACCES: "needs a privilege: ports below 1024 are for root; give another port",
            errno.EADDRNOTAVAIL: "is not at an address of this machine: give one of its own addresses as the host",
        }
        code = error.errno or 0
        option = self._host_option if code == errno.EADDRNOTAVAIL else self._option
        return StartError(f"{option}: {self} {remedies.get(code, 'cannot be opened: ' + os.strerror(code))}")


def _name_of(listening: Any) -> Any:
    """The address of a port of Twisted's as getsockname(2) tells it: host and port, or a path; None for none."""
    address: Any = listening.getHost() if hasattr(listening, "getHost") else None
    return (address.host, address.port) if hasattr(address, "port") else getattr(address, "name", None)


def _pause(listening: Any, paused: bool) -> None:
    """Leave connections in the backlog, or accept them again; ports that cannot are left as they are."""
    if isinstance(listening, tcp.Port):
        if paused:
            listening.stopReading()
        else:
            listening.startReading()


def _close(listening: Any, last: bool) -> Deferred[Any]:
    """Stop listening, when all connections that clients have made are accepted: the kernel would reset them."""
    if last and isinstance(listening, tcp.Port):
        with suppress(OSError):
            _refuse_new(listening.socket)
        accepted = -1
        while accepted != listening.sessionno:
            accepted = listening.sessionno
            listening.doRead()
    return maybeDeferred(listening.stopListening)


# Classic BPF (linux/filter.h) on what comes for the socket, from the TCP header on: drop what has SYN but not ACK.
_NO_SYN = (
    (0x30, 0, 0, 13),  # load the byte of flags
    (0x54, 0, 0, 0x12),  # and SYN | ACK
    (0x15, 0, 1, 0x02),  # SYN alone?
    (0x06, 0, 0, 0),  # drop
    (0x06, 0, 0, 0xFFFFFFFF),  # take
)
_SO_ATTACH_FILTER = 26


def _refuse_new(listening: socket.socket) -> None:
    """Let no more connections begin, so that there is a last one to accept. Raises OSError where that cannot be had.

    A client that tries in the meantime tries again a second later, and is refused then.
    """
    if listening.family not in (socket.AF_INET, socket.AF_INET6):
        return
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in _NO_SYN))
    program = struct.pack("HP", len(_NO_SYN), ctypes.addressof(code))
    listening.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def bind(family: int, address: tuple[Any, ...], *, v6only: bool = True) -> socket.socket:
    """A socket bound to an address, not listening. Raises OSError."""
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setblocking(False)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, v6only)
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound
