"""The malformed requests of malformed.toml, and whether a server treats one as it must."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("malformed.toml")
_RESPONSE = re.compile(rb"HTTP/1\.[01] (\d{3})[^\r\n]*((?:\r\n[^\r\n]+)*)\r\n\r\n")


@dataclass(frozen=True)
class Case:
    """A request, and what may become of it."""

    name: str
    section: str
    """What demands it."""
    data: bytes
    tolerated: tuple[dict[str, Any], ...]
    """What it may become if it is not refused: one of these."""
    expected: dict[str, Any] | None
    """What it must become; None for a malformed one."""


@dataclass(frozen=True)
class Reply:
    """What came back, and whether the server closed the connection."""

    data: bytes
    closed: bool

    @property
    def responses(self) -> list[tuple[int, bytes, bytes]]:
        """Status, fields and the rest of each final response, up to the next one."""
        found = [match for match in _RESPONSE.finditer(self.data) if not match[1].startswith(b"1")]
        ends = [*(match.start() for match in found[1:]), len(self.data)][: len(found)]
        return [(int(match[1]), match[2], self.data[match.end() : end]) for match, end in zip(found, ends, strict=True)]

    @property
    def invited(self) -> bool:
        """Whether an interim response came."""
        return any(match[1].startswith(b"1") for match in _RESPONSE.finditer(self.data))


def cases() -> list[Case]:
    """All of them, malformed and right ones."""
    with FILE.open("rb") as file:
        return [
            Case(
                one["name"],
                one["section"],
                one["data"].encode("latin-1"),
                tuple(one.get("tolerated", ())),
                one.get("expected"),
            )
            for one in tomllib.load(file)["case"]
        ]


def right(case: Case, reply: Reply) -> bool:
    """Whether the server has done as it must."""
    if case.expected is not None:
        return _became(case.expected, reply)
    return refused(reply) or any(_became(tolerated, reply) for tolerated in case.tolerated)


def refused(reply: Reply) -> bool:
    """Whether the request did not reach the application: 404 would be the application's."""
    return not reply.responses or (reply.responses[0][0] >= 400 and reply.responses[0][0] != 404)


def _became(wanted: dict[str, Any], reply: Reply) -> bool:
    """Whether the application has seen this, and the connection went on or ended as wanted."""
    responses = reply.responses
    if not responses or responses[0][0] != 200:
        return False
    _, fields, content = responses[0]
    broken = {
        "closes": len(responses) > 1 or not reply.closed,
        "empty": bool(content),
        "uncoded": b"transfer-encoding" in fields.lower(),
        "uninvited": reply.invited,
    }
    if any(wanted.get(name) and is_broken for name, is_broken in broken.items()):
        return False
    seen = wanted.keys() & _NAMES.keys()
    echo = _json(content) if seen else {}
    return echo is not None and all(_same(wanted[name], echo[_NAMES[name]]) for name in seen)


_NAMES = {"body": "body", "field": "X-A", "host": "Host", "path": "path"}


def _same(wanted: str, seen: str | None) -> bool:
    """Several spaces may stand for one."""
    return wanted.split() == (seen or "").split()


def _json(content: bytes) -> dict[str, Any] | None:
    """The object in a content that may be chunked."""
    try:
        found = json.loads(content[content.index(b"{") : content.rindex(b"}") + 1])
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
