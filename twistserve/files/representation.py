"""Which representation of a file a request wants: by its conditions, the codings it takes, and its range.

WhiteNoise's entry of a file decides; where its rules are not RFC 9110's, these are.
"""

from __future__ import annotations

import re
from typing import Any

from whitenoise.responders import StaticFile

from twistserve.http.negotiation import weight, weights
from twistserve.http.response import RawHeaders

Fields = list[tuple[str, str]]
"""Headers as WhiteNoise has them."""

CONDITIONS = {
    name: "HTTP_" + name.decode().replace("-", "_").upper()
    for name in (b"range", b"if-none-match", b"if-modified-since", b"if-range", b"accept-encoding")
}
"""What files depend on, and how WhiteNoise calls it."""
_RANGE = re.compile(r"bytes=[ \t]*([0-9]{0,20})-([0-9]{0,20})[ \t]*", re.IGNORECASE)
"""One range; several are none (RFC 9110 section 14.1.2). No file has more than 20 digits."""
_UNNAMED = 0.0001
"""What is wanted of a file as it is where a client does not say: less than the least weight of a compressed one."""


def conditions(headers: RawHeaders) -> dict[str, str]:
    """The fields of a request that files depend on; those of one name are one list (RFC 9110 section 5.3)."""
    asked: dict[str, str] = {}
    for field, value in headers:
        name = CONDITIONS.get(field.lower())
        if name is not None:
            text = value.decode("latin-1")
            asked[name] = f"{asked[name]}, {text}" if name in asked else text
    return asked


def is_not_modified(found: StaticFile, listed: Fields, asked: dict[str, str]) -> bool:
    """Whether the client's copy of the variant is current.

    RFC 9110 section 13.1.2: any of a list, compared weakly, or `*`.
    """
    tags = asked.get("HTTP_IF_NONE_MATCH")
    if tags is not None:
        current = _value(listed, "ETag")
        return tags.strip() == "*" or (
            current is not None and _opaque(current) in [_opaque(tag.strip()) for tag in tags.split(",")]
        )
    return bool(found.is_not_modified(asked))


def wanted_variant(found: StaticFile, asked: dict[str, str]) -> tuple[str, Fields]:
    """The path and headers of the variant that is wanted most, of several the smallest (RFC 9110 section 12.5.3).

    WhiteNoise looks for the names of codings alone, which is right where they have no weights. As there, `*` lets
    in no compressed one. If none is wanted it is the file as it is. Each has a tag of its own.
    """
    encodings = asked.get("HTTP_ACCEPT_ENCODING", "")
    if ";" not in encodings or len(found.alternatives) == 1:
        path, headers = found.get_path_and_headers(asked)
        return path, _tagged(headers)
    wanted = weights(encodings)

    def wish(alternative: tuple[Any, str, Any]) -> float:
        coding = dict(alternative[2]).get("Content-Encoding")
        return weight(wanted, coding) if coding else weight(wanted, "identity", "*") or _UNNAMED

    _, path, headers = max(found.alternatives, key=wish)
    return path, _tagged(headers)


def _tagged(headers: Fields) -> Fields:
    """The fields of a variant, whose tag tells its coding (RFC 9110 section 8.8.3.3); WhiteNoise has one for all."""
    coding = _value(headers, "Content-Encoding")
    if coding is None:
        return headers
    return [(name, f'{value[:-1]}-{coding}"') if name.lower() == "etag" else (name, value) for name, value in headers]


def wanted_range(found: StaticFile, listed: Fields, asked: dict[str, str], size: int) -> tuple[int, int] | None:
    """The first and last byte of the range asked for, or None for all; first > last is not satisfiable.

    WhiteNoise's own rule takes a range of one byte for none, and its parser what int() takes. If-Range: RFC 9110
    section 13.1.5. A weak tag never matches, nor does a date where there are variants, which all have the same.
    """
    text = asked.get("HTTP_RANGE")
    if not text:
        return None
    condition = asked.get("HTTP_IF_RANGE")
    if condition is not None:
        tag = _value(listed, "ETag")
        strong = tag is not None and not tag.startswith("W/") and condition == tag
        dated = len(found.alternatives) == 1 and condition == _value(listed, "Last-Modified")
        if not strong and not dated:
            return None
    match = _RANGE.fullmatch(text)
    if match is None or match[1] == match[2] == "":
        return None
    if not match[1]:  # the last bytes; none of them is not satisfiable
        count = int(match[2])
        return (max(size - count, 0), size - 1) if count else (1, 0)
    first, last = int(match[1]), int(match[2]) if match[2] else size - 1
    if match[2] and last < first:
        return None
    return first, min(last, size - 1)


def _value(headers: Fields, wanted: str) -> str | None:
    """The value of a field, whose name WhiteNoise's users may write as they like."""
    return next((value for name, value in headers if name.lower() == wanted.lower()), None)


def _opaque(tag: str) -> str:
    return tag.removeprefix("W/")


def raw(headers: Any) -> RawHeaders:
    """WhiteNoise's header list in bytes."""
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
