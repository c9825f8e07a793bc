"""A request that a handler can be called with, and what it has responded."""

from __future__ import annotations

from typing import Any

from twistserve.http.head import Head
from twistserve.http.request import Request
from twistserve.http.response import Response


class FakeConnection:
    """Keeps what it is to send; `body` is all that was written."""

    environ: dict[str, Any] | None = None
    transport = None
    deadline = 0.0

    def __init__(self, peer: object = None) -> None:
        self.peer = peer
        self.response: Response | None = None
        self.body = b""
        self.ended = self.aborted = False
        self.producer: Any = None

    def getPeer(self) -> object:
        return self.peer

    def respond(self, response: Response) -> None:
        assert self.response is None, "there is a response already"
        self.response, self.body = response, response.body
        if response.producer is None:
            self.ended = True
        else:
            response.producer.begin(self)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self.producer = producer

    def write(self, data: bytes) -> None:
        self.body += data

    def sent(self, size: int) -> None:
        pass

    def end(self) -> None:
        self.ended = True

    def abort(self) -> None:
        self.aborted = True

    def extend_deadline(self) -> None:
        self.deadline = 75.0


def make_request(
    target: bytes = b"/",
    *fields: tuple[bytes, bytes],
    method: bytes = b"GET",
    remote: str = "192.0.2.1",
    connection: Any = None,
) -> Request:
    """A request as a site hands it to its handler."""
    head = Head()
    head.method, head.target, head.version = method, target, "1.1"
    head.fields = list(fields)
    return Request(connection or FakeConnection(), head, remote)
