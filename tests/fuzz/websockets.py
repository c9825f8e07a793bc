"""WebSockets: the same messages however their frames arrive, bounded, and frames in return."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.web.websocket import WebSocketResource
from wsproto import ConnectionType
from wsproto.connection import Connection

from tests.fuzz.pieces import arrivals, nothing_logged
from tests.support.http1 import HalfClosing, get
from tests.support.resources import Mounted
from tests.support.websockets import Factory, Notes
from twistserve.http.limits import Limits
from twistserve.resources.group_resource import GroupResource

LIMITS = Limits(max_body=300)
HANDSHAKE = get(
    b"/r",
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


def converse(pieces: list[bytes], notes: Notes, resource: Any) -> list[Any]:
    """What the protocol is told of these bytes. Raises where something is kept, or what is sent back is no frame."""
    lab = Mounted(resource, LIMITS)
    connection = lab.connect(HalfClosing)
    transport: Any = connection.transport
    transport.protocol = connection.http
    for piece in pieces:
        if not transport.disconnecting:
            transport.protocol.dataReceived(piece)
    check_frames(connection.sent)
    for _ in range(4):
        lab.wait(100)
    assert transport.disconnecting, "the connection does not end"
    transport.protocol.connectionLost(Failure(ConnectionDone()))
    assert not lab.site.connections
    assert not lab.site.requests
    assert not lab.site.upgraded
    sizes = [len(told) for told in notes.told if told not in ("started", "finished", "pong", "lost")]
    assert max(sizes, default=0) <= LIMITS.max_body
    return notes.told


def check_frames(sent: bytes) -> None:
    """Raises RemoteProtocolError where wsproto does not take what was sent after an acceptance."""
    head, _, frames = sent.partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 101 "):
        client = Connection(ConnectionType.CLIENT)
        client.receive_data(frames)
        list(client.events())


def fuzz(data: bytes) -> None:
    """Frames after a handshake, or a handshake too, if they begin like a request. Raises what `converse` does.

    Handshakes are for our own resource: of one that is wrong Twisted's logs an error.
    """
    talks = []
    with nothing_logged():
        for pieces in arrivals(data):
            notes = Notes()
            if data.startswith(b"GET "):
                converse(pieces, notes, GroupResource("fuzz", None, ()))
            else:
                talks.append(converse([HANDSHAKE, *pieces], notes, WebSocketResource(Factory(notes))))
    assert all(told == talks[0] for told in talks)
