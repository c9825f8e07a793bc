"""Connections of HTTP/1.1 on which a test sends bytes as they are."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from tests.support.functional.harness import PATIENCE, Reply

LAST_CHUNK = b"0\r\n\r\n"


class Wire:
    """One connection, to send bytes as they are and to read answer after answer."""

    def __init__(self, port: int, host: str = "127.0.0.1", receive_buffer: int | None = None) -> None:
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(PATIENCE)
        self.socket.connect((host, port))
        self.file = self.socket.makefile("rb")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def head(self) -> Reply:
        """Read one answer's status line and headers."""
        version, status, _ = self.file.readline().split(b" ", 2)
        assert version == b"HTTP/1.1"
        return Reply(int(status), http.client.parse_headers(self.file), b"")

    def chunk(self) -> bytes:
        """Read one chunk of a chunked body; the last one is empty."""
        data = self.file.read(int(self.file.readline(), 16))
        assert self.file.readline() == b"\r\n"
        return data

    def answer(self, method: str = "GET") -> Reply:
        """Read one answer whole and leave the connection at the next."""
        reply = self.head()
        if method == "HEAD" or reply.status in (204, 304):
            return reply
        if reply.headers["Transfer-Encoding"] == "chunked":
            return Reply(reply.status, reply.headers, b"".join(iter(self.chunk, b"")))
        return Reply(reply.status, reply.headers, self.file.read(int(reply.headers["Content-Length"])))

    def rest(self) -> bytes:
        """Read what comes until the server ends the connection, in whichever way."""
        received = b""
        with suppress(ConnectionResetError):
            while data := self.file.read1():
                received += data
        return received

    def close(self) -> None:
        self.file.close()
        self.socket.close()


@contextmanager
def wire(port: int, **kwargs: Any) -> Iterator[Wire]:
    """A connection for as long as the block runs."""
    connection = Wire(port, **kwargs)
    try:
        yield connection
    finally:
        connection.close()


def asking(target: str, *headers: str, method: str = "GET", version: str = "1.1") -> bytes:
    """The head of a request, as bytes."""
    return "\r\n".join((f"{method} {target} HTTP/{version}", "Host: testserver", *headers, "", "")).encode()
