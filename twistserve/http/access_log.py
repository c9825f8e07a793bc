"""One line a request, in the combined format with the duration added, or as JSON.

What a client sent is escaped, so that it cannot end a field or a line.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Sequence
from functools import cache, lru_cache, partial
from itertools import groupby
from typing import Any, Protocol

from twistserve.logs.formats import encode, rfc3339
from twistserve.logs.loggers import ACCESS

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


class Log(Protocol):
    """Takes the lines, each with its level; `LogService` of the `logs` package."""

    @property
    def access_is_ours(self) -> bool:
        """Whether lines are written as they are, rather than as records for handlers of the project's."""

    def access_level(self) -> int:
        """The least level of lines that are wanted."""

    def access_prefix(self, seconds: float, level: int) -> str:
        """What a line of text begins with at this time."""

    def write_access(self, texts: Sequence[tuple[int, str]], count: int) -> None:
        """Write so many lines as they are: texts of lines that follow one another and have the same level."""

    def record_access(self, level: int, line: str, fields: dict[str, Any]) -> None:
        """Log a record of a line, and of the fields that it has as JSON."""


class AccessLog:
    """Makes the lines, for `log` to write; `as_json` chooses the format. Reactor thread."""

    def __init__(self, log: Log, as_json: bool = False) -> None:
        self._log = log
        self._as_json = as_json

    def responded(self, requests: Sequence[Any]) -> None:
        """Requests were responded to, or their clients left (status 499)."""
        if not requests:
            return
        least, seconds, ours = self._log.access_level(), time.time(), self._log.access_is_ours
        # Only what these lines show: where few requests share a batch, a time costs more than the rest of a line.
        now = rfc3339(seconds) if self._as_json or not ours else ""
        when = _common_time(int(seconds)) if not (self._as_json and ours) else ""
        if not ours:
            for request in requests:
                if (level := level_of(request.status)) >= least:
                    self._record(level, _text("", request, when), _fields(request, now))
            return
        prefix = cache(partial(self._log.access_prefix, seconds))
        texts: list[tuple[int, str]] = []
        count = 0
        for level, group in groupby(requests, lambda request: level_of(request.status)):
            if level >= least:
                if self._as_json:
                    lines = [_json(level, _fields(request, now)) for request in group]
                else:
                    lines = [_text(prefix(level), request, when) for request in group]
                # One text: a tuple for each line, held until it is written, had the garbage collector run six times as
                # often: a fortieth of a response with a small file (static10k of the benchmarks).
                texts.append((level, "\n".join(lines)))
                count += len(lines)
        if texts:
            self._log.write_access(texts, count)

    def refused(self, remote: str, status: int) -> None:
        """A connection was closed with this status; what it sent is not worth quoting."""
        level, now = level_of(status), time.time()
        if level < self._log.access_level():
            return
        fields = {"time": rfc3339(now), "message": f"refused with {status}", "remote": remote, "status": status}
        text = f'{_address(remote)} - - [{_common_time(int(now))}] "-" {status} 0 "-" "-" 0.000000'
        if self._log.access_is_ours:
            line = _json(level, fields) if self._as_json else self._log.access_prefix(now, level) + text
            self._log.write_access([(level, line)], 1)
        else:
            self._record(level, text, fields)

    def _record(self, level: int, text: str, fields: dict[str, Any]) -> None:
        self._log.record_access(level, _json(level, fields) if self._as_json else text, fields)


def level_of(status: int) -> int:
    """The level of a line: an error is the server's, a warning the client's or the application's."""
    if status < 400:
        return logging.INFO
    return logging.ERROR if status >= 500 else logging.WARNING


def _text(prefix: str, request: Any, when: str) -> str:
    referer = agent = None
    for name, value in request.fields:
        size = len(name)
        if size == 10 and name.lower() == b"user-agent":
            agent = value
        elif size == 7 and name.lower() == b"referer":
            referer = value
    asked = f"{escape(request.method)} {escape(request.target)} HTTP/{request.version}"
    return (
        f'{prefix}{_address(request.remote)} - - [{when}] "{asked}" {request.status} {request.sent} '
        f'"{escape(referer)}" "{escape(agent)}" {request.duration:.6f}'
    )


@lru_cache(1)
def _common_time(seconds: int) -> str:
    """A time in UTC as the combined format has it; strftime would name the month in the process's language."""
    now = time.gmtime(seconds)
    return (
        f"{now.tm_mday:02d}/{_MONTHS[now.tm_mon - 1]}/{now.tm_year}"
        f":{now.tm_hour:02d}:{now.tm_min:02d}:{now.tm_sec:02d} +0000"
    )


def _fields(request: Any, now: str) -> dict[str, Any]:
    headers = {name.lower(): value for name, value in request.fields}
    method, path = request.method.decode("latin-1"), request.target.decode("latin-1")
    fields = {
        "time": now,
        "message": f"{method} {path} {request.status}",
        "request_id": request.request_id.decode("latin-1") or None,
        "remote": request.remote,
        "method": method,
        "path": path,
        "status": request.status,
        "bytes": request.sent,
        "duration": round(request.duration, 6),
        "queue_time": round(request.queue_time, 6),
        "user_agent": _text_of(headers.get(b"user-agent")),
        "traceparent": _text_of(headers.get(b"traceparent")),
    }
    return {name: value for name, value in fields.items() if value is not None}


def _json(level: int, fields: dict[str, Any]) -> str:
    time, *rest = fields.items()
    return encode(dict([time, ("level", logging.getLevelName(level)), ("logger", ACCESS), *rest]))


def _text_of(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")
