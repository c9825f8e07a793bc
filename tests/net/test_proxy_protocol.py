"""Connections that begin with the PROXY protocol, by the bytes that come."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import succeed
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import StringTransport

from twistserve.net.proxy_protocol import proxied

BALANCER = IPv4Address("TCP", "192.168.0.1", 5000)


class Noting(Protocol):
    """Keeps what it receives."""

    def __init__(self) -> None:
        self.received = b""

    def dataReceived(self, data: bytes) -> None:
        self.received += data


class Endpoint:
    """Keeps the factory that it is to accept connections for."""

    factory: Any

    def listen(self, factory: Any) -> Any:
        self.factory = factory
        return succeed("a port")


class Proxied:
    """A connection from a load balancer."""

    def __init__(self, *data: bytes) -> None:
        self.protocol, endpoint = Noting(), Endpoint()
        ports: list[object] = []
        factory = Factory.forProtocol(lambda: self.protocol)
        proxied(endpoint).listen(factory).addCallback(ports.append)
        assert ports == ["a port"]
        self.transport = StringTransport(peerAddress=BALANCER)
        wrapper = endpoint.factory.buildProtocol(BALANCER)
        wrapper.makeConnection(self.transport)
        for each in data:
            wrapper.dataReceived(each)

    @property
    def peer(self) -> Any:
        return self.protocol.transport.getPeer()  # type: ignore[union-attr]

    @property
    def host(self) -> Any:
        return self.protocol.transport.getHost()  # type: ignore[union-attr]


@pytest.mark.parametrize("cut", [1, 5, 7, 8, 20, 44])
def test_the_first_line_tells_the_addresses(cut: int) -> None:
    """They are those of the connection that the proxy has accepted; all that follows goes to the protocol."""
    line = b"PROXY TCP4 203.0.113.7 198.51.100.2 1234 443\r\n"
    data = line + b"GET / PROXY TCP4"
    proxied = Proxied(data[:cut], data[cut:], b" more")
    assert proxied.peer == IPv4Address("TCP", "203.0.113.7", 1234)
    assert proxied.host == IPv4Address("TCP", "198.51.100.2", 443)
    assert proxied.protocol.received == b"GET / PROXY TCP4 more"
    assert not proxied.transport.disconnecting


def test_addresses_of_ipv6() -> None:
    """They are IPv6 addresses for the protocol too."""
    proxied = Proxied(b"PROXY TCP6 2001:db8::7 2001:db8::2 1234 443\r\n")
    assert proxied.peer == IPv6Address("TCP", "2001:db8::7", 1234)
    assert proxied.host == IPv6Address("TCP", "2001:db8::2", 443)


@pytest.mark.parametrize("cut", [1, 12, 15, 16, 27, 28])
def test_version_2(cut: int) -> None:
    """The binary form is understood too, wherever it is cut."""
    addresses = bytes((203, 0, 113, 7, 198, 51, 100, 2)) + struct.pack("!HH", 1234, 443)
    header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11" + struct.pack("!H", len(addresses)) + addresses
    proxied = Proxied(header[:cut], header[cut:] + b"GET")
    assert proxied.peer == IPv4Address("TCP", "203.0.113.7", 1234)
    assert proxied.protocol.received == b"GET"


@pytest.mark.parametrize("line", [b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n"])
def test_a_check_of_the_proxy_itself(line: bytes) -> None:
    """It is from nobody else: the connection has the proxy's own address, and goes on."""
    proxied = Proxied(line + b"GET")
    assert (proxied.peer, proxied.protocol.received) == (BALANCER, b"GET")
    assert not proxied.transport.disconnecting


@pytest.mark.parametrize(
    "line",
    [
        b"PROXY TCP4 evil 198.51.100.2 1234 443",
        b"PROXY TCP4 203.0.113.7 evil 1234 443",
        b"PROXY TCP4 2001:db8::7 198.51.100.2 1234 443",
        b"PROXY TCP6 203.0.113.7 2001:db8::2 1234 443",
        b"PROXY TCP4 203.0.113.7 198.51.100.2 65536 443",
        b"PROXY TCP4 203.0.113.7 198.51.100.2 -1 443",
        b"PROXY TCP4 203.0.113.7 198.51.100.2 +1 443",
        b"PROXY TCP4 203.0.113.7 198.51.100.2 1_0 443",
        b"PROXY TCP4 203.0.113.7 198.51.100.2 1 443 more",
        b"PROXY TCP4 203.0.113.7 198.51.100.2 http 443",
        b"PROXY TCP4 203.0.113.7 198.51.100.2 1234",
        b"PROXY TCP5 203.0.113.7 198.51.100.2 1234 443",
        b"PROXY UNKNOWN " + b"x" * 92,
        b"PROXY UNKNOWN ffff::1\rffff::2 65535 65535",
        b"GET / HTTP/1.1",
        b"X",
        b"PRO",
    ],
)
def test_anything_else_ends_the_connection(line: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing of it reaches the protocol or the log, for anybody can send it."""
    proxied = Proxied(line + b"\r\nGET / HTTP/1.1\r\n\r\n")
    assert proxied.transport.disconnecting
    assert (proxied.protocol.received, caplog.records) == (b"", [])
