"""A WebSocket of Twisted's on a fake transport, with wsproto as its client."""

from __future__ import annotations

from typing import Any

from twisted.web.websocket import WebSocketResource, WebSocketTransport
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, Event, Request

from tests.support.http1 import LIMITS, HalfClosing, Transport
from tests.support.resources import Mounted
from twistserve.http.limits import Limits


class Notes:
    """The protocol of a WebSocket: notes what it is told; does what `on_text` says."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def negotiationStarted(self, transport: WebSocketTransport) -> None:
        self.transport: Any = transport
        self.told.append("started")

    def negotiationFinished(self) -> None:
        self.told.append("finished")

    def textMessageReceived(self, message: str) -> None:
        self.told.append(message)

    def bytesMessageReceived(self, data: bytes | bytearray) -> None:
        self.told.append(data)

    def pongReceived(self, payload: bytes) -> None:
        self.told.append("pong")

    def connectionLost(self, reason: Any) -> None:
        self.told.append("lost")


class Factory:
    """Makes one protocol for all."""

    def __init__(self, protocol: Any) -> None:
        self.protocol = protocol

    def buildProtocol(self, request: Any) -> Any:
        return self.protocol


class Client:
    """A client that has asked for a WebSocket."""

    def __init__(self, lab: Mounted, *fields: tuple[bytes, bytes], path: str = "/r", after: bytes = b"") -> None:
        self.transport: Any = None
        self.connection = lab.connect(self._make)
        self.ws = WSConnection(ConnectionType.CLIENT)
        request = self.ws.send(Request("x", path, extra_headers=list(fields)))
        self._taken = 0
        self.connection.feed(request + after)

    def _make(self) -> Transport:
        self.transport = HalfClosing()
        return self.transport  # type: ignore[no-any-return]

    @property
    def socket(self) -> Any:
        """What has the connection now."""
        return self.transport.protocol

    def send(self, *events: Event) -> None:
        self._read()
        self.socket.dataReceived(b"".join(self.ws.send(event) for event in events))

    def _read(self) -> None:
        data = self.connection.sent[self._taken :]
        self._taken += len(data)
        if data:
            self.ws.receive_data(data)

    def take(self) -> list[Event]:
        """What has come since the last time, the acceptance left out."""
        self._read()
        return [event for event in self.ws.events() if not isinstance(event, AcceptConnection)]


def opened(protocol: Any = None, limits: Limits = LIMITS) -> tuple[Mounted, Client, Any]:
    """A site, a client with an open WebSocket, and the protocol."""
    protocol = protocol or Notes()
    lab = Mounted(WebSocketResource(Factory(protocol)), limits)
    client = Client(lab)
    return lab, client, protocol
