"""Whole connections of HTTP/1.1, with a handler that echoes: a response for each request, each well formed."""

from __future__ import annotations

from collections import deque
from typing import Any

import h11
from twisted.internet.task import Clock

from tests.fuzz.pieces import arrivals, end, nothing_logged
from tests.support.http1 import HalfClosing
from twistserve.http.limits import Limits
from twistserve.http.request import Request
from twistserve.http.response import Response, content_length
from twistserve.http.site import Site

LIMITS = Limits(max_head=600, max_body=200, header_timeout=15, body_timeout=30, keep_alive_timeout=75)
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
TOO_LARGE = b"HTTP/1.1 431 "


class Echo:
    """A handler whose responses say what was asked; they are given at once, or when the test wants it."""

    def __init__(self, at_once: bool) -> None:
        self._at_once = at_once
        self.seen: list[tuple[bytes, bytes]] = []
        """Of each request its method, and the body of its response."""
        self.pending: deque[tuple[Any, Response]] = deque()

    def __call__(self, request: Request) -> None:
        body = b"" if request.body is None else request.body.read()
        echo = repr((request.method, request.target, list(request.fields), body)).encode()
        self.seen.append((request.method, echo))
        self.pending.append((request.connection, Response(200, [content_length(len(echo))], echo)))
        if self._at_once:
            self.respond()

    def respond(self) -> None:
        """Respond to the oldest request without response."""
        connection, response = self.pending.popleft()
        connection.respond(response)


class _Site(Site):
    """Notes what the site responds to by itself, too."""

    def handle(self, request: Request) -> None:
        if request.path == b"*":
            self.handler.seen.append((request.method, b""))  # type: ignore[attr-defined]
        super().handle(request)


def converse(pieces: list[bytes], at_once: bool, half_closes: bool) -> tuple[Echo, bytes]:
    """Feed a connection until its end: what was asked, and all that was sent back.

    Raises AssertionError where the connection or its site keeps something.
    """
    clock, echo = Clock(), Echo(at_once)
    site = _Site(echo, clock, LIMITS, lambda requests: None, lambda *refusal: None)
    connection: Any = site.buildProtocol(None)
    transport = HalfClosing()
    connection.makeConnection(transport)
    for piece in pieces:
        connection.dataReceived(piece)
        while echo.pending:
            echo.respond()
        assert transport.producerState == "producing", "nothing runs, and nothing is read"
    if half_closes:
        connection.readConnectionLost()
    end(connection, site, clock, transport)
    return echo, bytes(transport.value())


def check_responses(echo: Echo, sent: bytes) -> None:
    """Raises AssertionError unless each request has its response, in order, and at most a refusal follows."""
    for method, body in echo.seen:
        status, received, sent = next_response(sent, method)
        assert (status, received) == (200, b"" if method == b"HEAD" else body)
    sent = sent.removeprefix(CONTINUE)
    if sent:
        status, _, sent = next_response(sent, b"GET")
        assert 400 <= status < 600
    assert sent == b""


def next_response(sent: bytes, method: bytes) -> tuple[int, bytes, bytes]:
    """Status and body of the first response, by h11, and what follows it. Raises h11.RemoteProtocolError."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="HEAD" if method == b"HEAD" else "GET", target="/", headers=[("Host", "x")]))
    client.send(h11.EndOfMessage())
    client.receive_data(sent)
    status, body = 0, b""
    while not isinstance(event := client.next_event(), h11.EndOfMessage):
        if isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            body += event.data
        else:
            assert isinstance(event, h11.InformationalResponse), f"there is no complete response in {sent!r}"
    return status, body, client.trailing_data[0]


def fuzz(data: bytes) -> None:
    """Raises where a response is missing or malformed, or depends on how the request came, or an error is logged."""
    talks = []
    with nothing_logged():
        for number, pieces in enumerate(arrivals(data)):
            echo, sent = converse(pieces, at_once=number != 1, half_closes=number == 2)
            check_responses(echo, sent)
            talks.append((echo.seen, sent))
    (whole, _), *others = talks
    for seen, sent in others:
        # What surrounds the chunks of a body is bounded while it is incomplete: whole it takes no more memory.
        assert seen == whole or (TOO_LARGE in sent and seen == whole[: len(seen)])
