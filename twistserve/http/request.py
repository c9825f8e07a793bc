"""The request: what was received, and what has become of it."""

from __future__ import annotations

import time
from io import BytesIO
from typing import IO, Any, Protocol
from urllib.parse import unquote_to_bytes

from twistserve.http.head import Head


class Pending(Protocol):
    """What responds to a request later. Once it has, or is told to give up, it leaves the connection alone."""

    def given_up(self) -> None:
        """The client has left, or the service ends: nothing is to be sent any more. Reactor thread."""

    def is_waiting(self) -> bool:
        """Whether it waits for a thread. Reactor thread."""

    def where(self) -> str:
        """Where it stands, in one line."""


class Request:
    """One request. What was received does not change, and any thread may read it; the rest is the reactor thread's.

    `connection` takes the response: a connection of HTTP/1.1, or a stream of HTTP/2.
    """

    __slots__ = (
        *("body", "body_length", "connection", "duration", "fields", "handler", "has_body", "left", "method"),
        *("path", "pending", "queue_time", "received_at", "remote", "request_id", "sent", "status", "target"),
        "version",
    )

    def __init__(self, connection: Any, head: Head, remote: str) -> None:
        self.connection = connection
        self.method = head.method
        self.target = head.target
        path = head.target.partition(b"?")[0]
        self.path = path if path[:1] == b"/" else path_of(head.target)
        self.version = head.version
        """Of HTTP: 1.1, 1.0 or 2.0."""
        self.fields = head.fields
        self.has_body = head.chunked or head.length is not None
        self.body_length = head.size_of_body
        self.body: IO[bytes] | None = head.body or BytesIO()
        """All of it, at its start. Closed with the response, unless a handler takes it and leaves None."""
        self.remote = remote
        """The client's address; as a trusted proxy has forwarded it, once it is known."""
        self.received_at = time.perf_counter()
        """When, by `time.perf_counter`, all of it had come; then, when those before it were responded to."""
        self.request_id = b""
        self.handler = "none"
        """What responds, as a metric's label: django, static, media, or mount:/path."""
        self.pending: Pending | None = None
        self.queue_time = 0.0
        """Seconds that it waited for a thread."""
        self.status = 0
        self.sent = 0
        """Bytes of the body of the response that were sent."""
        self.duration = 0.0
        """Seconds from `received_at` until the response was given, once it was."""
        self.left = False
        """Whether the client left before that."""

    def field(self, wanted: bytes) -> str:
        """The value of a field, which is named in lower case; several are one list (RFC 9110 section 5.3)."""
        return ", ".join([value.decode("latin-1") for name, value in self.fields if name.lower() == wanted])

    @property
    def segments(self) -> list[bytes]:
        """The parts of the path, decoded."""
        parts = self.path[1:].split(b"/")
        return [unquote_to_bytes(part) for part in parts] if b"%" in self.path else parts


def path_of(target: bytes) -> bytes:
    """The path of a request target in absolute- or asterisk-form (RFC 9112 section 3.2)."""
    path = target.partition(b"?")[0]
    return path if path == b"*" else b"/" + path.partition(b"://")[2].partition(b"/")[2]
