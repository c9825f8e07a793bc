"""What a line looks like: text with one prefix, or a JSON object.

Times are UTC: a project's TIME_ZONE changes the process's local time while it starts.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import sys
from datetime import UTC, datetime
from typing import Any

from twistserve.logs.context import Process, request_fields, served

_INDENT = "\n    "
_RESET = "\x1b[0m"
_COLOURS = {
    logging.DEBUG: "\x1b[2m",
    logging.INFO: "\x1b[32m",
    logging.WARNING: "\x1b[33m",
    logging.ERROR: "\x1b[31m",
    logging.CRITICAL: "\x1b[1;31m",
}
ACCESS_FIELDS, SERVED = "twistserve_access", "twistserve_served"
"""Attributes of our own records: the fields of a line of the access log, and the request that is served."""
_OF_PYTHON = frozenset(vars(logging.LogRecord("", 0, "", 0, "", None, None))) | {"message", "asctime", "taskName"}
_NOT_EXTRA = _OF_PYTHON | {ACCESS_FIELDS, SERVED}
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_MOST_BITS = 4096
"""Of a number that is written out: Python refuses to do so with long ones."""
_SCALARS = (str, int, float, bool, type(None))


def rfc3339(seconds: float) -> str:
    """A time in UTC with milliseconds (RFC 3339)."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class TextFormatter(logging.Formatter):
    """`time level logger: message`, and the same before every further line of a message or a traceback.

    On a terminal, which people read and programs don't, further lines are indented instead, and levels are coloured,
    unless the environment has NO_COLOR or the terminal is dumb. Control characters are escaped, so that no message can
    pose as a line of its own. The arguments of Python's Formatter have no effect.
    """

    def __init__(self, *arguments: object, terminal: bool = False) -> None:
        super().__init__()
        self._terminal = terminal
        self._coloured = terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def prefix(self, seconds: float, level: int, name: str) -> str:
        """What every line begins with: time, level, the worker if it is one's, logger."""
        time = datetime.fromtimestamp(seconds, UTC).isoformat(sep=" ", timespec="milliseconds")
        word = logging.getLevelName(level)
        if self._coloured:
            word = f"{_COLOURS.get(level, '')}{word}{_RESET}"
        return f"{time} {word} [{Process.name}] {name}: " if Process.name else f"{time} {word} {name}: "

    def format(self, record: logging.LogRecord) -> str:
        """The text of a record, without an end of line."""
        prefix = self.prefix(record.created, record.levelno, record.name)
        text = super().format(record)
        if _CONTROLS.search(text):
            text = _CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
        return prefix + text.replace("\n", _INDENT if self._terminal else "\n" + prefix)


class CombinedFormatter(TextFormatter):
    """The same but for the access log, whose lines are bare."""

    def format(self, record: logging.LogRecord) -> str:
        """The text of a record, without an end of line."""
        return record.getMessage() if hasattr(record, ACCESS_FIELDS) else super().format(record)


class JSONFormatter(logging.Formatter):
    """One object: time, level, logger, message, and what else there is.

    That is `exception` and `stack` as text, `request_id` and `traceparent` of the request that is served, `worker`, and
    what was given as `extra` if JSON can say it.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The object of a record, in one line of ASCII."""
        fields: dict[str, Any] = {
            "time": rfc3339(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        access: dict[str, Any] | None = getattr(record, ACCESS_FIELDS, None)
        if access is not None:
            fields |= access
        else:
            fields |= request_fields(getattr(record, SERVED, None) or served.get())
            fields |= _extra(record, fields)
        if record.exc_info or record.exc_text:
            fields["exception"] = record.exc_text or self._exception(record)
        if record.stack_info:
            fields["stack"] = record.stack_info
        return encode(fields)

    def _exception(self, record: logging.LogRecord) -> str:
        information: Any = record.exc_info
        return self.formatException(information if isinstance(information, tuple) else sys.exc_info())


def encode(fields: dict[str, Any]) -> str:
    """The line of an object, with the worker that it comes from."""
    if Process.name:
        fields["worker"] = Process.name
    return json.dumps({name: _sayable(value) for name, value in fields.items()})


def _sayable(value: Any) -> Any:
    """What every reader of JSON takes: no half of a surrogate pair, no number that is none, or without end."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode(errors="backslashreplace").decode()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        return hex(value)
    return value


def _extra(record: logging.LogRecord, fields: dict[str, Any]) -> dict[str, Any]:
    """What the caller gave as `extra`; Django's includes whole requests, which are left out."""
    return {
        name: value
        for name, value in record.__dict__.items()
        if name not in _NOT_EXTRA and name not in fields and isinstance(value, _SCALARS)
    }
