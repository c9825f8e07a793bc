"""What Python code prints, line by line into the log."""

from __future__ import annotations

import io
import logging
import sys
import threading
from typing import Any, TextIO

from twistserve.logs.context import served
from twistserve.logs.formats import SERVED

_LONGEST = 1 << 20
"""Bytes after which a line that does not end is logged as it is."""


class _Lines(io.RawIOBase):
    """Makes a record of each line that is written, for `handler`; threads do not mix theirs."""

    def __init__(self, name: str, level: int, handler: logging.Handler, stream: TextIO | None) -> None:
        super().__init__()
        self.name = name
        self._level = level
        self._handler = handler
        self._stream = stream
        self._rests: dict[int, bytes] = {}
        """What threads have written without an end of line."""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        """The descriptor of the stream that it stands for, for programs that are started with it."""
        if self._stream is None:
            raise io.UnsupportedOperation("fileno")
        return self._stream.fileno()

    def write(self, data: Any) -> int:
        """Log the lines that are complete."""
        written = bytes(data)
        thread = threading.get_ident()
        *lines, rest = (self._rests.pop(thread, b"") + written).split(b"\n")
        if len(rest) > _LONGEST:
            lines, rest = [*lines, rest], b""
        if rest:
            self._rests[thread] = rest
        for line in lines:
            self._log(line)
        return len(written)

    def finish(self) -> None:
        """Log what has no end."""
        while self._rests:
            self._log(self._rests.popitem()[1])

    def _log(self, line: bytes) -> None:
        text = line.decode(errors="backslashreplace").rstrip("\r")
        record = logging.LogRecord(self.name, self._level, "", 0, text, None, None)
        setattr(record, SERVED, served.get())
        self._handler.handle(record)


def printed(name: str, level: int, handler: logging.Handler, stream: TextIO | None) -> TextIO:
    """A text stream in the place of a standard one, whose lines go to `handler` as records of the logger `name`."""
    lines: Any = _Lines(name, level, handler, stream)
    return io.TextIOWrapper(lines, encoding="utf-8", errors="backslashreplace", write_through=True)


def printed_streams(handler: logging.Handler) -> dict[str, TextIO]:
    """Those for standard output and error."""
    return {
        "stdout": printed("stdout", logging.INFO, handler, sys.__stdout__),
        "stderr": printed("stderr", logging.WARNING, handler, sys.__stderr__),
    }


def finish_printing(*streams: object) -> None:
    """Log what was printed to these without an end of line."""
    for stream in streams:
        lines = getattr(stream, "buffer", None)
        if isinstance(lines, _Lines):
            lines.finish()


def printed_name(stream: object) -> str | None:
    """Which standard stream one of these stands for; None for another stream."""
    lines = getattr(stream, "buffer", None)
    return lines.name if isinstance(lines, _Lines) else None
