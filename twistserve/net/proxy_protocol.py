"""Endpoints whose connections begin with the PROXY protocol: Twisted's, with addresses and ports that are looked at.

https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt
"""

from __future__ import annotations

import re
import socket
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.endpoints import _WrapperServerEndpoint
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.protocols.haproxy._exceptions import InvalidProxyHeader
from twisted.protocols.haproxy._info import ProxyInfo
from twisted.protocols.haproxy._v1parser import V1Parser
from twisted.protocols.haproxy._v2parser import V2Parser
from twisted.protocols.haproxy._wrapper import HAProxyProtocolWrapper, HAProxyWrappingFactory
from zope.interface import implementer

_LINE = re.compile(rb"PROXY (?:UNKNOWN(?: [^\r\n]*)?|TCP[46] [0-9A-Fa-f:.]+ [0-9A-Fa-f:.]+ [0-9]{1,5} [0-9]{1,5})")
_LONGEST = 105
"""Bytes of a line of version 1, without its end."""


def proxied(endpoint: Any) -> Any:
    """An endpoint for connections that tell whom they are from before anything else."""
    return _WrapperServerEndpoint(endpoint, _Factory)


class _Parser(V1Parser):
    """Twisted's takes a line of any length that comes at once, any word for an address, and what int() takes."""

    @classmethod
    def parse(cls, line: bytes) -> ProxyInfo:
        """What a line says. Raises InvalidProxyHeader."""
        if len(line) > _LONGEST or not _LINE.fullmatch(line):
            raise InvalidProxyHeader
        if line == b"PROXY UNKNOWN":
            line += b" "  # Twisted wants what may be left out: HAProxy's own checks say no more
        try:
            told = super().parse(line)
            _check(told.source)
            _check(told.destination)
        except (ValueError, OSError):
            raise InvalidProxyHeader from None
        return told


def _check(address: Any) -> None:
    """Raise ValueError or OSError for what is no address with a port."""
    if isinstance(address, IPv4Address | IPv6Address):
        family = socket.AF_INET if isinstance(address, IPv4Address) else socket.AF_INET6
        socket.inet_pton(family, address.host)
        if not 0 <= address.port <= 65535:
            raise ValueError(address.port)


def _is_too_short(data: bytes) -> bool:
    """Whether this may be the beginning of either version, but less than Twisted wants to have come at once."""
    for prefix, least in ((V1Parser.PROXYSTR, 8), (V2Parser.PREFIX, 16)):
        if len(data) < least and data[: len(prefix)] == prefix[: len(data)]:
            return True
    return False


@implementer(IHalfCloseableProtocol)
class _Protocol(HAProxyProtocolWrapper):
    _beginning = b""
    """What has come, as long as it is too little to tell which version it is; the wait is bounded as for a request."""

    def dataReceived(self, data: bytes) -> None:
        """Take the PROXY line, then all that follows."""
        if self._parser is None:
            data = self._beginning + data
            if _is_too_short(data):
                self._beginning = data
                return
            if data.startswith(V1Parser.PROXYSTR):
                self._parser = _Parser()
        super().dataReceived(data)

    def readConnectionLost(self) -> None:
        """The client has ended its sending side."""
        half_closeable: Any = IHalfCloseableProtocol(self.wrappedProtocol, None)
        if half_closeable is not None:
            half_closeable.readConnectionLost()
        elif self.transport is not None:
            self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Our sending side is closed."""


class _Factory(HAProxyWrappingFactory):
    protocol = _Protocol  # type: ignore[assignment]
