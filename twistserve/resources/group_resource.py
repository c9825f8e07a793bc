"""A ready-made resource whose WebSockets join a group; needs twistserve[websocket]. Reactor thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import h11
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from twisted.web.websocket import WebSocketResource, WebSocketTransport
from wsproto import ConnectionType
from wsproto.handshake import H11Handshake
from wsproto.utilities import RemoteProtocolError

from twistserve.http.response import PLAIN
from twistserve.logs import get_logger
from twistserve.resources.groups import groups
from twistserve.resources.socket import FAILED

logger = get_logger(__name__)

Group = str | Callable[[Any], "str | Deferred[str | None] | None"]
OnText = Callable[[Any, str], object]


class GroupResource(Resource):
    """The resource of `twistserve.websocket.group_resource`."""

    isLeaf = True

    def __init__(self, group: Group, on_text: OnText | None, origins: Sequence[str]) -> None:
        super().__init__()
        if isinstance(origins, str):
            raise TypeError(f"origins= is {origins!r}: give a list of origins")
        self._group = group
        self._on_text = on_text
        self._origins = [origin.rstrip("/").lower() for origin in origins]

    def render_GET(self, request: Any) -> bytes | int:
        """Make a WebSocket of the request, once it is known which group it is for."""
        if not _asks_for_a_websocket(request):
            return _refuse(request, 400, b"This is a WebSocket: ask by HTTP/1.1 with a handshake.\n")
        if _value(request, b"sec-websocket-version") != "13":
            request.setHeader(b"Sec-WebSocket-Version", b"13")
            return _refuse(request, 426, b"This is a WebSocket: ask with Sec-WebSocket-Version: 13.\n")
        if not _handshake_is_right(request):
            return _refuse(request, 400, b"This is a WebSocket: the handshake is malformed.\n")
        if not self._may_come_from(request):
            logger.warning(
                "a WebSocket was refused: a page of %r asks for it, and the Host is %r: have the proxy pass that on, or"
                " add the page's to origins=",
                _value(request, b"origin"),
                _value(request, b"host"),
            )
            return _refuse(request, 403, b"Pages of this origin may not open this WebSocket.\n")
        group = self._group
        find: Callable[[Any], Any] = (lambda request: group) if isinstance(group, str) else group
        found: Deferred[Any] = maybeDeferred(find, request)
        found.addCallback(self._join, request)
        found.addErrback(_fail, request)
        return NOT_DONE_YET

    def _may_come_from(self, request: Any) -> bool:
        """Whether a page of this origin may use the cookies of this site (RFC 6455 section 10.2).

        Other clients than browsers need not say one. X-Forwarded-Host is there only if a trusted proxy has sent it.
        """
        origin = _value(request, b"origin")
        if origin is None or "*" in self._origins or origin.lower() in self._origins:
            return True
        try:
            host = _without_default_port(urlsplit(origin).netloc)
        except ValueError:
            return False
        ours = (_value(request, b"host"), _value(request, b"x-forwarded-host"))
        return bool(host) and host in [_without_default_port(each) for each in ours if each]

    def _join(self, name: str | None, request: Any) -> None:
        if request.channel is None:
            # The client has left meanwhile.
            return
        if name is None:
            body: bytes | int = _refuse(request, 403, b"You may not open this WebSocket.\n")
        else:
            resource = WebSocketResource(_Factory(lambda: _InGroup(name, request, self._on_text)))
            body = resource.render_GET(request)
        if isinstance(body, bytes):
            request.write(body)
            request.finish()


class _Factory:
    """Makes the protocol for a request that may have one."""

    def __init__(self, make: Callable[[], _InGroup]) -> None:
        self._make = make

    def buildProtocol(self, request: Any) -> _InGroup:
        return self._make()


class _InGroup:
    """The protocol of a WebSocket in a group (twisted.web.websocket.WebSocketProtocol)."""

    def __init__(self, group: str, request: Any, on_text: OnText | None) -> None:
        self._group = group
        self._request = request
        self._on_text = on_text

    def negotiationStarted(self, transport: WebSocketTransport) -> None:
        """There is a connection."""
        self._transport = transport

    def negotiationFinished(self) -> None:
        """There is a WebSocket."""
        groups.join(self._group, self._transport)

    def textMessageReceived(self, message: str) -> None:
        """The client has sent a text."""
        if self._on_text is not None:
            maybeDeferred(self._on_text, self._request, message).addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        logger.error("on_text failed for a WebSocket of the group %r", self._group, exc_info=failure.value)
        with suppress(Exception):
            # It may have been closed meanwhile.
            self._transport.loseConnection(FAILED)

    def bytesMessageReceived(self, data: bytes | bytearray) -> None:
        """Not used by groups."""

    def pongReceived(self, payload: bytes) -> None:
        """The client is there."""

    def connectionLost(self, reason: Failure) -> None:
        """The WebSocket has ended."""
        groups.leave(self._group, self._transport)


def _value(request: Any, name: bytes) -> str | None:
    """The last field of this name. Twisted's getHeader raises UnicodeDecodeError for what is not UTF-8."""
    values = request.requestHeaders.getRawHeaders(name)
    return values[-1].decode("latin-1") if values else None


def _asks_for_a_websocket(request: Any) -> bool:
    """Whether the head has what a handshake needs (RFC 6455 section 4.2.1)."""
    upgrades = "websocket" in (_value(request, b"upgrade") or "").lower()
    connection = b",".join(request.requestHeaders.getRawHeaders(b"connection", []))
    tokens = [token.strip().lower() for token in connection.split(b",")]
    return upgrades and b"upgrade" in tokens and _value(request, b"sec-websocket-key") is not None


def _handshake_is_right(request: Any) -> bool:
    """Whether wsproto takes the handshake: Twisted logs an ERROR for what it does not, and anybody can send that."""
    fields = [(name, value) for name, values in request.requestHeaders.getAllRawHeaders() for value in values]
    try:
        H11Handshake(ConnectionType.SERVER).initiate_upgrade_connection(fields, request.path)
    except (RemoteProtocolError, h11.ProtocolError, ValueError):
        return False
    return True


def _without_default_port(host: str) -> str:
    return host.lower().removesuffix(":443").removesuffix(":80")


def _refuse(request: Any, status: int, text: bytes) -> bytes:
    # Twisted knows no phrase for 426.
    request.setResponseCode(status, b"Upgrade Required" if status == 426 else None)
    request.setHeader(b"Content-Type", PLAIN)
    request.setHeader(b"Content-Length", b"%d" % len(text))
    return text


def _fail(failure: Failure, request: Any) -> None:
    request.processingFailed(failure)
