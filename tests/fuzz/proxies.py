"""The PROXY protocol before HTTP/1.1: who the client is, by a second reading, and nothing of it reaches a request."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from tests.fuzz.pieces import arrivals, nothing_logged
from twistserve.net.proxy_protocol import proxied

BALANCER = IPv4Address("TCP", "192.0.2.1", 5000)
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_LINE = re.compile(rb"PROXY (TCP4|TCP6) ([0-9A-Fa-f:.]+) ([0-9A-Fa-f:.]+) ([0-9]{1,5}) ([0-9]{1,5})\r\n")
_UNKNOWN = re.compile(rb"PROXY UNKNOWN( [^\r\n]*)?\r\n")
LONGEST = 107
"""Bytes of a line of version 1."""


class Noting(Protocol):
    def __init__(self) -> None:
        self.received = b""

    def dataReceived(self, data: bytes) -> None:
        self.received += data


class _Endpoint:
    factory: Any

    def listen(self, factory: Any) -> Any:
        self.factory = factory
        return succeed(None)


def taken(pieces: list[bytes]) -> tuple[str, bytes, bool]:
    """The client's address as the protocol sees it, what reaches it, and whether the connection ends."""
    protocol, endpoint = Noting(), _Endpoint()
    proxied(endpoint).listen(Factory.forProtocol(lambda: protocol))
    transport = StringTransport(peerAddress=BALANCER)
    wrapper = endpoint.factory.buildProtocol(BALANCER)
    wrapper.makeConnection(transport)
    for piece in pieces:
        if transport.disconnecting:
            break
        wrapper.dataReceived(piece)
    peer = protocol.transport.getPeer()  # type: ignore[union-attr]
    ended = transport.disconnecting
    wrapper.connectionLost(Failure(ConnectionDone()))
    return getattr(peer, "host", "-"), protocol.received, ended


def read(data: bytes) -> tuple[str, bytes] | None:
    """The client and what follows, by the specification; None for what is wrong or not complete."""
    if data.startswith(SIGNATURE):
        return _binary(data)
    end = data.find(b"\r\n") + 2
    if not 2 <= end <= LONGEST:
        return None
    line, rest = data[:end], data[end:]
    if _UNKNOWN.fullmatch(line):
        return BALANCER.host, rest
    found = _LINE.fullmatch(line)
    if found is None or max(int(found[4]), int(found[5])) > 65535:
        return None
    kind = ipaddress.IPv4Address if found[1] == b"TCP4" else ipaddress.IPv6Address
    try:
        source, _ = kind(found[2].decode()), kind(found[3].decode())
    except ValueError:
        return None
    return str(source), rest


def _binary(data: bytes) -> tuple[str, bytes] | None:
    """Version 2."""
    if len(data) < 16 or data[12] not in (0x20, 0x21):
        return None
    size = int.from_bytes(data[14:16], "big")
    addresses, rest = data[16 : 16 + size], data[16 + size :]
    if len(addresses) < size:
        return None
    client = BALANCER.host if data[12] == 0x20 else _client(data[13] >> 4, data[13] & 15, addresses)
    return None if client is None else (client, rest)


def _client(family: int, transport: int, addresses: bytes) -> str | None:
    """The client's address; None for what is wrong."""
    if family > len(FAMILIES) or transport > 2:
        return None
    if 0 in (family, transport):
        return BALANCER.host
    least, shown = FAMILIES[family]
    return shown(addresses) if len(addresses) >= least else None


FAMILIES: dict[int, tuple[int, Callable[[bytes], str]]] = {
    1: (12, lambda addresses: str(ipaddress.IPv4Address(addresses[:4]))),
    2: (36, lambda addresses: str(ipaddress.IPv6Address(addresses[:16]))),
    3: (216, lambda addresses: "-"),
}
"""IPv4, IPv6 and Unix sockets: the least bytes of addresses, and the client's."""


def fuzz(data: bytes) -> None:
    """Raises where a client's address or what follows is not as sent, or an error is logged."""
    with nothing_logged():
        seen = [taken(pieces) for pieces in arrivals(data)]
    expected = read(data)
    for host, received, ended in seen:
        if received:
            assert expected is not None, "what is no PROXY protocol was taken"
            assert (_address(host), received, ended) == (_address(expected[0]), expected[1], False)
        elif expected is not None and expected[1]:
            raise AssertionError("a right one was refused")


def _address(host: str) -> object:
    """An address however it is written; `-` for the peer of a Unix socket, which has none."""
    return host if host == "-" else ipaddress.ip_address(host)
