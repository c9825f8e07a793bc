"""The parser of HTTP/1.1: the same requests however the bytes arrive, bounded, and those that h11 sees."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.fuzz.oracle import Read, by_h11, normalized
from tests.fuzz.pieces import arrivals
from twistserve.http.head import Head
from twistserve.http.limits import Limits
from twistserve.http.parser import RequestParser

LIMITS = Limits(max_head=600, max_body=200)
TOO_LARGE = 431
SLACK = 64
"""Bytes of a head that do not count: method, version, line ends."""


@dataclass
class Ours:
    """What the parser makes of a connection."""

    heads: list[Head]
    bodies: list[bytes]
    refused: int | None
    finished: bool
    receiving: bool

    @property
    def summary(self) -> object:
        """All that must not depend on how the bytes arrive.

        The status of a refusal may: of `get / HTTP/1.1` the first byte alone is malformed, and all of it has a method
        that is unknown.
        """
        requests = [(head.method, head.target, head.version, head.fields) for head in self.heads]
        return requests, self.bodies, self.refused is not None, self.finished, self.receiving


def read(pieces: list[bytes]) -> Ours:
    """Feed a parser. Raises AssertionError where it keeps more of a head than it may."""
    parser = RequestParser(LIMITS)
    heads: list[Head] = []
    unbounded = 0
    for piece in pieces:
        heads += parser.feed(piece)
        in_head = parser.receiving and not parser.in_body
        unbounded = unbounded + len(piece) if in_head and not parser.begun else 0
        assert unbounded <= LIMITS.max_head + SLACK, "a head without an end is kept"
    for head in heads:
        assert head.size <= LIMITS.max_head
        assert head.size_of_body <= LIMITS.max_body
    bodies = [head.body.read() if head.body is not None else b"" for head in heads]
    assert [len(body) for body in bodies] == [head.size_of_body for head in heads]
    refusal = parser.refusal
    return Ours(heads, bodies, refusal.status if refusal else None, parser.finished, parser.receiving)


def fuzz(data: bytes) -> None:
    """Raises AssertionError where the parser or its agreement with h11 is wrong."""
    whole, *others = (read(pieces) for pieces in arrivals(data))
    for other in others:
        if other.refused == TOO_LARGE and whole.heads[len(other.heads) :][:1] and whole.heads[len(other.heads)].chunked:
            # What surrounds chunks is bounded while it is incomplete: when it came whole, it takes no more memory.
            continue
        if other.refused == TOO_LARGE and any(len(head) + 4 > LIMITS.max_head for head in data.split(b"\r\n\r\n")):
            # White space around values counts while a head is incomplete.
            continue
        assert other.summary == whole.summary
    compare(whole, by_h11(data), data)


def compare(ours: Ours, theirs: Read, data: bytes) -> None:
    """Raises AssertionError where both take a request and see different ones, or only one does for no known reason."""
    for head, body, (method, target, fields, their_body) in zip(ours.heads, ours.bodies, theirs.requests, strict=False):
        assert (head.method, head.target, body) == (method, target, their_body)
        # HTTP/1.0 may leave out Host, and we take it from the target.
        assert normalized(head.fields) in (fields, [*fields, (b"host", _authority(target))])
    taken = len(ours.heads)
    if taken > len(theirs.requests):
        assert theirs.last or laxer(theirs.refusal, data), f"we take what h11 does not: {theirs.refusal}"
    elif taken < len(theirs.requests):
        # The beginning of HTTP/2's preface, which llhttp waits for to the end; complete it is refused.
        preface = theirs.requests[taken][:2] == (b"PRI", b"*")
        assert ours.refused or ours.finished or preface, "h11 sees a request where we wait"


def laxer(refusal: str, data: bytes) -> bool:
    """Whether we take more than h11 here, as RFC 9112 allows: an empty line before a request, spaces in its line."""
    return (refusal == "no request line received" and b"\r\n" in data) or (
        refusal.startswith("illegal request line") and b"  " in data
    )


def _authority(target: bytes) -> bytes:
    found = re.match(rb"https?://([^/?#]+)", target, re.IGNORECASE)
    return found[1] if found else b""
