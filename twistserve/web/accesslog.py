"""One line a request, in the combined format with the duration added."""

from __future__ import annotations

import re
import time
from typing import Any

_UNSAFE = re.compile(r'[\x00-\x1f"\\\x7f-\x9f]')
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def escape(value: bytes | None) -> str:
    """Text that cannot end a quoted field or a line, whatever the client sent."""
    if value is None:
        return "-"
    return _UNSAFE.sub(lambda match: f"\\x{ord(match[0]):02x}", value.decode("latin-1"))


def access_line(request: Any, duration: float) -> str:
    """The line for an answered twisted.web request; `duration` in seconds."""
    now = time.gmtime()
    when = f"{now.tm_mday:02d}/{_MONTHS[now.tm_mon - 1]}/{now.tm_year}:" + time.strftime("%H:%M:%S +0000", now)
    return (
        f"{getattr(request.client, 'host', '-')} - - [{when}] "
        f'"{escape(request.method)} {escape(request.uri)} {escape(request.clientproto)}" '
        f"{request.code} {request.sentLength} "
        f'"{escape(request.getHeader(b"referer"))}" "{escape(request.getHeader(b"user-agent"))}" {duration:.6f}'
    )
