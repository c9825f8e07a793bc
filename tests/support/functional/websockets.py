"""A client of WebSockets, by wsproto."""

from __future__ import annotations

import socket
import ssl
from types import TracebackType
from typing import Any

from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    RejectConnection,
    Request,
    TextMessage,
)

from tests.support.functional.harness import PATIENCE


class WebSocket:
    """One connection. `status` is that of the handshake; `pings` counts those that came, and are answered if `lives`.

    `first` is sent before the handshake, over TLS if `tls`.
    """

    def __init__(
        self,
        port: int | str,
        path: str,
        *fields: tuple[str, str],
        tls: bool = False,
        lives: bool = True,
        buffer: int = 0,
        first: bytes = b"",
    ) -> None:
        plain = socket.socket(socket.AF_INET if isinstance(port, int) else socket.AF_UNIX)
        if buffer:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        plain.settimeout(PATIENCE)
        plain.connect(("127.0.0.1", port) if isinstance(port, int) else port)
        self.socket = plain
        if tls:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.set_alpn_protocols(["http/1.1"])
            self.socket = context.wrap_socket(plain)
        self.lives = lives
        self.pings = 0
        self._ws = WSConnection(ConnectionType.CLIENT)
        self._events: list[Event] = []
        host = f"127.0.0.1:{port}" if isinstance(port, int) else "localhost"
        headers: Any = [(name.encode(), value.encode()) for name, value in fields]
        self.socket.sendall(first + self._ws.send(Request(host, path, extra_headers=headers)))
        event = self._next()
        assert isinstance(event, AcceptConnection | RejectConnection), event
        self.status = 101 if isinstance(event, AcceptConnection) else event.status_code

    def __enter__(self) -> WebSocket:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def send(self, message: str | bytes, last: bool = True) -> None:
        kind: Any = TextMessage if isinstance(message, str) else BytesMessage
        self.socket.sendall(self._ws.send(kind(message, message_finished=last)))

    def receive(self) -> Any:
        """The next message; of a close frame its code, and None where the connection ends without one."""
        parts: list[Any] = []
        while True:
            event = self._next()
            if isinstance(event, TextMessage | BytesMessage):
                parts.append(event.data)
                if event.message_finished:
                    return type(parts[0])().join(parts)
            elif isinstance(event, CloseConnection):
                return int(event.code)
            elif isinstance(event, Ping):
                self.pings += 1
                if self.lives:
                    self.socket.sendall(self._ws.send(event.response()))
            elif event is None:
                return None

    def _next(self) -> Event | None:
        while not self._events:
            try:
                data = self.socket.recv(65536)
            except ConnectionResetError:
                return None
            if not data:
                return None
            self._ws.receive_data(data)
            self._events += self._ws.events()
        return self._events.pop(0)
