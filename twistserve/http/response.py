"""Heads of responses, and responses that tell an error: one line of plain text."""

from __future__ import annotations

from twisted.web import http

RawHeaders = list[tuple[bytes, bytes]]
"""Fields as they are sent."""


def make_head(status: int, headers: RawHeaders) -> bytes:
    """Status line and headers, without the end that the channel adds."""
    reason = REASONS.get(status) or http.RESPONSES.get(status, b"")
    return b"HTTP/1.1 %d %b\r\n" % (status, reason) + b"".join([b"%b: %b\r\n" % field for field in headers])


REASONS = {413: b"Content Too Large", 416: b"Range Not Satisfiable", 431: b"Request Header Fields Too Large"}
"""What RFC 9110 and RFC 6585 say otherwise than twisted.web, or not at all there."""


def plain_text(body: bytes) -> RawHeaders:
    """The fields of a body that is plain text."""
    return [(b"Content-Type", b"text/plain; charset=utf-8"), (b"Content-Length", b"%d" % len(body))]


def refusal_text(status: int) -> tuple[RawHeaders, bytes]:
    """Fields and body of the answer to a request that is refused."""
    body = (REASONS.get(status) or http.RESPONSES.get(status, b"Error")) + b".\n"
    return ([*plain_text(body), RETRY] if status == 503 else plain_text(body)), body


RETRY = (b"Retry-After", b"1")
"""Sent with every 503."""
