"""What the access log makes of what clients and proxies send."""

from __future__ import annotations

import json

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from tests.web.test_channel import MALFORMED, Recorder, Transport, get
from twistserve.web.accesslog import AccessLog
from twistserve.web.site import Site

FORGED = '1.2.3.4\x1b[31m"evil \u2028\n\\'


def logged(peer: str, data: bytes, as_json: bool) -> list[str]:
    """The lines of a connection from this peer on which these bytes arrive."""
    lines: list[str] = []
    site = Site(Recorder(at_once=True), Clock(), access_log=AccessLog(lines.extend, as_json))
    channel = site.buildProtocol(None)
    channel.makeConnection(Transport(peerAddress=IPv4Address("TCP", peer, 1234)))
    channel.dataReceived(data)
    site.account()
    return lines


@pytest.mark.parametrize("data", [get(b"/"), MALFORMED], ids=["answered", "refused"])
def test_a_forged_address_stays_within_its_field(data: bytes) -> None:
    """An address is the first word of its line, whatever somebody gives for one."""
    [text] = logged(FORGED, data, as_json=False)
    assert text.startswith(r"1.2.3.4\x1b\x5b31m\x22evil\x20\x2028\x0a\x5c - - [")
    assert text.isprintable()
    [text] = logged(FORGED, data, as_json=True)
    assert text.isprintable()
    assert json.loads(text)["remote"] == FORGED


@pytest.mark.parametrize("peer", ["192.0.2.1", "2001:db8::1", "fe80::1%eth0", "-"])
@pytest.mark.parametrize("data", [get(b"/"), MALFORMED], ids=["answered", "refused"])
def test_an_address_is_logged_as_it_is(peer: str, data: bytes) -> None:
    """Nothing of an address is escaped."""
    [text] = logged(peer, data, as_json=False)
    assert text.startswith(f"{peer} - - [")


@pytest.mark.parametrize("data", [get(b"/"), MALFORMED], ids=["answered", "refused"])
def test_an_ipv4_client_of_a_socket_of_both_kinds(data: bytes) -> None:
    """Its address is the one that people know."""
    [text] = logged("::ffff:192.0.2.1", data, as_json=False)
    assert text.startswith("192.0.2.1 - - [")
    [text] = logged("::ffff:192.0.2.1", data, as_json=True)
    assert json.loads(text)["remote"] == "192.0.2.1"


def test_what_we_cut_off_is_not_called_its_clients_doing() -> None:
    """It is counted and logged as an error of the server, once, though its connection is lost after that."""
    lines: list[str] = []
    counted: list[int] = []
    record = lambda request: counted.append(request.code)  # noqa: E731
    site = Site(Recorder(), Clock(), access_log=AccessLog(lines.extend), record=record)
    channel = site.buildProtocol(None)
    transport = Transport()
    transport.abortConnection = lambda: channel.connectionLost(Failure(ConnectionDone()))  # type: ignore[method-assign]
    channel.makeConnection(transport)
    channel.dataReceived(get(b"/"))
    site.abort()
    assert counted == [503]
    [line] = lines
    assert '"GET / HTTP/1.1" 503 0 ' in line
