"""Status lines and header fields of applications (PEP 3333), checked and encoded."""

from __future__ import annotations

import re
from typing import Any

from twistserve.http.response import Field, fields_of

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_UNSAFE = re.compile(r"[\x00\r\n]")
_STATUS = re.compile(r"([2-9]\d\d)(?: ([^\x00-\x08\x0a-\x1f\x7f]*))?")


known_fields: dict[tuple[str, str], tuple[Field | None, int | None]] = {}
"""Applications repeat themselves: checking and encoding a field costs ten times a look-up."""
known_statuses: dict[str, tuple[int, bytes]] = {}
_MOST_KNOWN = 4096
_LONGEST_KNOWN = 256


def checked_status(status: str) -> tuple[int, bytes]:
    """The code and the status line. Raises ValueError for what is no status."""
    match = _STATUS.fullmatch(status)
    if match is None:
        raise ValueError(f"start_response: {status!r} is not the status of a response, such as '200 OK'")
    checked = int(match[1]), b"HTTP/1.1 %b %b\r\n" % (match[1].encode(), (match[2] or "").encode("latin-1"))
    _remember(known_statuses, status, checked)
    return checked


def checked_field(name: str, value: str) -> tuple[Field | None, int | None]:
    """A header field, None for one that is not the application's to say, and the number of a Content-Length.

    Raises ValueError for a field that would break the response or split it in two.
    """
    if not _TOKEN.fullmatch(name) or _UNSAFE.search(value):
        raise ValueError(f"start_response: the header {name!r}: {value!r} would break the response")
    lower = name.lower()
    length: int | None = None
    if lower == "content-length":
        if not (value.isascii() and value.isdigit()):
            raise ValueError(f"start_response: Content-Length {value!r} is not a number")
        length = int(value)
    field = next(iter(fields_of([(name.encode("latin-1"), value.encode("latin-1"))])), None)
    if len(name) + len(value) <= _LONGEST_KNOWN and lower not in ("set-cookie", "x-request-id"):
        _remember(known_fields, (name, value), (field, length))
    return field, length


def _remember(known: dict[Any, Any], key: object, value: object) -> None:
    if len(known) >= _MOST_KNOWN:
        known.clear()
    known[key] = value
