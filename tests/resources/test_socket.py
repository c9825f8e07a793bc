"""A connection that has become a WebSocket."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import REGISTRY
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage

from tests.support.http1 import LIMITS, get
from tests.support.websockets import Client, Notes, opened
from twistserve.resources import socket
from twistserve.resources.socket import CLOSING, MOST_WAITING


def closes(reason: str) -> float:
    return REGISTRY.get_sample_value("twistserve_websocket_closes_total", {"reason": reason}) or 0.0


def lose(client: Client) -> None:
    client.socket.connectionLost(Failure(ConnectionDone()))


def test_a_conversation() -> None:
    """It is a connection of the site, and no request any more, which was told of as status 101."""
    lab, client, protocol = opened()
    assert client.connection.statuses == [101]
    assert (lab.site.in_flight, len(lab.site.upgraded), len(lab.site.connections)) == (0, 1, 1)
    client.send(TextMessage("hello"), BytesMessage(b"data"), Ping())
    protocol.transport.sendTextMessage("to you")
    assert protocol.told == ["started", "finished", "hello", b"data"]
    assert [type(event) for event in client.take()] == [Pong, TextMessage]
    before = closes("closed")
    lose(client)
    assert protocol.told[-1] == "lost"
    assert (len(lab.site.upgraded), len(lab.site.connections)) == (0, 0)
    assert closes("closed") == before + 1
    lab.site.tell()
    assert [(request.status, request.handler) for request in lab.told] == [(101, "mount:/r")]


def test_the_client_closes() -> None:
    """It gets the close frame back; then our side is closed, and what comes is discarded."""
    _, client, protocol = opened()
    client.send(CloseConnection(1000))
    assert [type(event) for event in client.take()] == [CloseConnection]
    assert client.transport.half_closed
    client.socket.dataReceived(b"more")
    assert protocol.told == ["started", "finished"]


def test_what_is_sent_before_the_response() -> None:
    """Follows it."""

    class Early(Notes):
        def negotiationStarted(self, transport: Any) -> None:
            super().negotiationStarted(transport)
            transport.sendTextMessage("early")

    _, client, _ = opened(Early())
    assert client.connection.sent.startswith(b"HTTP/1.1 101 ")
    assert [event.data for event in client.take() if isinstance(event, TextMessage)] == ["early"]


def test_a_drain() -> None:
    """A close frame with 1001, and a bounded time to close."""
    lab, client, _ = opened()
    drained: list[None] = []
    lab.site.drain().addCallback(drained.append)
    [close] = client.take()
    assert isinstance(close, CloseConnection)
    assert close.code == 1001
    assert client.transport.half_closed
    lab.wait(CLOSING - 0.1)
    assert not client.transport.disconnected
    lab.wait(0.2)
    assert client.transport.disconnected
    assert not drained
    before = closes("going_away")
    lose(client)
    assert drained == [None]
    assert closes("going_away") == before + 1


def test_an_upgrade_in_a_drain() -> None:
    """Is made, and ended at once, as those before it."""
    lab, _, _ = opened()
    late = lab.connect()
    lab.site.drain()
    late.feed(
        get(
            b"/r",
            b"Upgrade: websocket",
            b"Connection: Upgrade",
            b"Sec-WebSocket-Version: 13",
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        )
    )
    assert late.statuses == [101]
    lab.wait(0.1)
    assert late.sent.endswith(b"\x88\x02\x03\xe9")


def test_a_protocol_that_closes_before_it_begins() -> None:
    """The client gets the response to its handshake, what was sent, and the close frame."""

    class Full(Notes):
        def negotiationStarted(self, transport: Any) -> None:
            transport.sendTextMessage("full")
            transport.loseConnection(1013)

    _, client, _ = opened(Full())
    assert client.connection.statuses == [101]
    text, close = client.take()
    assert (text.data, close.code) == ("full", 1013)  # type: ignore[attr-defined]
    assert client.transport.half_closed


def test_dead_clients() -> None:
    """One that is silent for half of the time is sent a ping, and left at its end."""
    lab, client, protocol = opened()
    lab.wait(30)
    client.send(TextMessage("here"))
    lab.wait(30)
    assert client.take() == []
    lab.wait(8)
    assert [type(event) for event in client.take()] == [Ping]
    client.send(Pong(b""))
    assert protocol.told[-1] == "pong"
    lab.wait(38)
    lab.wait(38)
    assert client.transport.disconnected
    before = closes("silent")
    lose(client)
    assert closes("silent") == before + 1


def test_a_client_that_reads_slowly(caplog: pytest.LogCaptureFixture) -> None:
    """What waits for it is bounded, and counted anew when it has read; what it sends waits meanwhile."""
    _, client, protocol = opened()
    text = "x" * (MOST_WAITING // 2)
    client.socket.pauseProducing()
    assert client.transport.producerState == "paused"
    protocol.transport.sendTextMessage(text)
    client.socket.resumeProducing()
    assert client.transport.producerState == "producing"
    client.socket.pauseProducing()
    protocol.transport.sendTextMessage(text)
    # The transport says so again with each write.
    client.socket.pauseProducing()
    assert not client.transport.disconnected
    protocol.transport.sendTextMessage(text)
    assert client.transport.disconnected
    assert "the WebSocket /r of 192.168.1.1 is closed: its client reads too slowly" in caplog.text
    before = closes("too_slow")
    lose(client)
    assert closes("too_slow") == before + 1


def test_a_client_that_reads_nothing(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """One that takes something has its time anew."""
    untaken = [100, 50, 50]
    monkeypatch.setattr(socket, "untaken_by_peer", lambda transport: untaken.pop(0))
    lab, client, _ = opened()
    client.socket.pauseProducing()
    lab.wait(75)
    assert not client.transport.disconnected
    lab.wait(75)
    assert client.transport.disconnected
    assert "has taken nothing for 75 s" in caplog.text


def test_producers() -> None:
    """Those of the protocol push, and pause with the client."""

    class Producer:
        told: list[str] = []  # noqa: RUF012

        def pauseProducing(self) -> None:
            self.told.append("pause")

        def resumeProducing(self) -> None:
            self.told.append("resume")

        def stopProducing(self) -> None:
            self.told.append("stop")

    _, client, protocol = opened()
    producer = Producer()
    protocol.transport.attachProducer(producer)
    client.socket.pauseProducing()
    client.socket.resumeProducing()
    client.socket.stopProducing()
    assert producer.told == ["pause", "resume", "stop"]
    client.socket.pauseProducing()
    protocol.transport.detachProducer()
    client.socket.resumeProducing()
    client.socket.pauseProducing()
    protocol.transport.attachProducer(producer)
    assert producer.told == ["pause", "resume", "stop", "pause", "pause"]
    with pytest.raises(ValueError, match="push"):
        client.socket.registerProducer(producer, False)


@pytest.mark.parametrize("message", [TextMessage("x" * 11), BytesMessage(b"x" * 11)])
def test_a_message_that_is_too_big(message: Any, caplog: pytest.LogCaptureFixture) -> None:
    """As --max-body-size says, in however many fragments."""
    _, client, protocol = opened(limits=replace(LIMITS, max_body=10))
    part = replace(message, data=message.data[:10])
    client.send(part)
    assert protocol.told[-1] == part.data
    client.send(replace(part, message_finished=False), replace(message, data=message.data[:1]))
    [close] = client.take()
    assert close.code == 1009  # type: ignore[attr-defined]
    assert "a message has more than 10 bytes" in caplog.text


def test_a_protocol_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    """The WebSocket ends with 1011, and no other connection does; at its start, it is aborted before the response."""

    class Fails(Notes):
        def textMessageReceived(self, message: str) -> None:
            raise LookupError("text")

        def connectionLost(self, reason: Any) -> None:
            raise LookupError("lost")

    _, client, _ = opened(Fails())
    client.send(TextMessage("x"))
    assert client.take()[0].code == 1011  # type: ignore[attr-defined]
    lose(client)
    assert "the WebSocket /r failed\n" in caplog.text
    assert "the WebSocket /r failed when it was lost" in caplog.text

    class FailsEarly(Notes):
        def negotiationStarted(self, transport: Any) -> None:
            raise LookupError("early")

    _, client, _ = opened(FailsEarly())
    assert client.transport.disconnected
    assert client.connection.sent == b""
    assert "the resource at /r failed: GET /r" in caplog.text

    class FailsThen(Notes):
        def negotiationFinished(self) -> None:
            raise LookupError("then")

    _, client, _ = opened(FailsThen())
    assert client.take()[0].code == 1011  # type: ignore[attr-defined]


def test_what_had_come_before_the_end(caplog: pytest.LogCaptureFixture) -> None:
    """That it cannot be responded to is no failure."""

    class Leaves(Notes):
        def textMessageReceived(self, message: str) -> None:
            self.transport.sendTextMessage(message)
            self.transport.loseConnection()

    _, client, _ = opened(Leaves())
    client.send(TextMessage("one"), TextMessage("two"))
    one, close = client.take()
    assert (one.data, close.code) == ("one", 1000)  # type: ignore[attr-defined]
    assert "ERROR" not in caplog.text


def test_pipelines() -> None:
    """Requests before the upgrade have their responses first; what follows it makes it no upgrade."""
    lab, _, protocol = opened()
    assert isinstance(protocol, Notes)
    client = Client(lab, after=b"GET /r HTTP/1.1\r\nHost: x\r\n\r\n")
    assert client.connection.statuses[0] == 400
    assert b"No WebSocket: nothing may follow a request for an upgrade" in client.connection.sent
    client = Client(lab, after=b"\x81\x80abcd")
    assert client.connection.statuses[0] == 400


def test_no_upgrade() -> None:
    """400 for a handshake that is broken, and for HTTP/1.0."""
    lab, _, _ = opened()
    assert lab.ask(b"/r", b"Upgrade: websocket", b"Connection: Upgrade").statuses == [400]
    assert lab.ask(b"/r").statuses == [400]
    old = lab.connect()
    fields = (b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Version: 13")
    old.feed(get(b"/r", *fields, b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", version=b"1.0"))
    assert old.statuses == [400]
    assert b"No WebSocket: an upgrade needs HTTP/1.1" in old.sent


def test_the_service_ends() -> None:
    """Those that have not closed are aborted."""
    lab, client, protocol = opened()
    lab.site.abort()
    assert client.transport.disconnected
    protocol.transport.sendTextMessage("late")
    assert client.take() == []
    assert list(client.socket.unanswered()) == []


def test_over_tls_or_the_proxy_protocol() -> None:
    """The wrapper of the transport passes on to it."""
    lab, _, _ = opened()
    connection = lab.connect()
    connection.transport.wrappedProtocol = connection.http  # type: ignore[attr-defined]
    fields = (b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Version: 13")
    connection.feed(get(b"/r", *fields, b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="))
    assert connection.statuses == [101]
    successor: Any = connection.transport.wrappedProtocol  # type: ignore[attr-defined]
    assert successor in lab.site.upgraded
    successor.drain()
    assert connection.closed
