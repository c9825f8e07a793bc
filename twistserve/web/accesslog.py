"""One line a request, in the combined format with the duration added, or as JSON.

What a client sent is escaped, so that it cannot end a field or a line.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

_UNSAFE = re.compile(r'[\x00-\x1f"\\\x7f-\x9f]')
_NOT_OF_ADDRESSES = re.compile(r"[^0-9A-Za-z.:%_-]")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def escape(value: bytes | None) -> str:
    """Text that cannot end a quoted field or a line, whatever the client sent."""
    if value is None:
        return "-"
    text = value.decode("latin-1")
    return _UNSAFE.sub(lambda match: f"\\x{ord(match[0]):02x}", text) if _UNSAFE.search(text) else text


@lru_cache(1024)
def _address(text: str) -> str:
    """An address that cannot end its field, which has no quotes: the PROXY protocol's is what somebody sent."""
    return _NOT_OF_ADDRESSES.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


class AccessLog:
    """Makes the lines, for `write` to log; `as_json` chooses the format. Reactor thread."""

    def __init__(self, write: Callable[[Sequence[str]], None], as_json: bool = False) -> None:
        self._write = write
        self._line = self._json if as_json else self._text
        self._as_json = as_json
        self._second = 0
        self._when = ""

    def answered(self, requests: Sequence[Any]) -> None:
        """Requests were answered, or their clients left (status 499)."""
        if requests:
            self._write([self._line(request) for request in requests])

    def refused(self, channel: Any, status: int) -> None:
        """A connection was closed with this status; what it sent is not worth quoting."""
        if self._as_json:
            self._write([json.dumps({"time": _rfc3339(), "remote": channel.remote, "status": status})])
        else:
            self._write([f'{_address(channel.remote)} - - [{self._now()}] "-" {status} 0 "-" "-" 0.000000'])

    def _now(self) -> str:
        second = int(time.time())
        if second != self._second:
            self._second = second
            now = time.gmtime(second)
            self._when = (
                f"{now.tm_mday:02d}/{_MONTHS[now.tm_mon - 1]}/{now.tm_year}"
                f":{now.tm_hour:02d}:{now.tm_min:02d}:{now.tm_sec:02d} +0000"
            )
        return self._when

    def _text(self, request: Any) -> str:
        referer = agent = None
        for name, value in request.raw_headers:
            size = len(name)
            if size == 10 and name.lower() == b"user-agent":
                agent = value
            elif size == 7 and name.lower() == b"referer":
                referer = value
        return (
            f"{_address(request.remote)} - - [{self._now()}] "
            f'"{escape(request.method)} {escape(request.uri)} {escape(request.clientproto)}" '
            f'{request.code} {request.sentLength} "{escape(referer)}" "{escape(agent)}" {request.duration:.6f}'
        )

    def _json(self, request: Any) -> str:
        headers = {name.lower(): value for name, value in request.raw_headers}
        fields = {
            "time": _rfc3339(),
            "request_id": request.request_id.decode("latin-1") or None,
            "remote": request.remote,
            "method": request.method.decode("latin-1"),
            "path": request.uri.decode("latin-1"),
            "status": request.code,
            "bytes": request.sentLength,
            "duration": round(request.duration, 6),
            "queue_time": round(request.queue_time, 6),
            "user_agent": _text_of(headers.get(b"user-agent")),
            "traceparent": _text_of(headers.get(b"traceparent")),
        }
        return json.dumps({name: value for name, value in fields.items() if value is not None})


def _text_of(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")


def _rfc3339() -> str:
    now = time.time()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}Z"
