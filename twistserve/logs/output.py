"""Where formatted lines go in the end, and the handler that sends them there by the queue."""

from __future__ import annotations

import fcntl
import logging
import os
import re
import select
import syslog
from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol, TextIO

from twisted.logger import Logger, LogLevel
from twisted.python.logfile import LogFile

from twistserve.logs.loggers import ACCESS
from twistserve.logs.queue import queue

Line = tuple[int, str]
"""A level, and text without an end of line at its own end: a record's, or several lines of the access log."""


class Output(Protocol):
    """Takes lines; blocks as long as it must, and raises OSError where they cannot be written."""

    terminal: bool
    """Whether people read it as it is written."""

    def write(self, lines: Sequence[Line]) -> None:
        """Write the lines."""


class StreamOutput:
    """A standard stream, past Python's buffers: what it cannot encode is escaped, and its errors are ours to count."""

    def __init__(self, stream: TextIO | None) -> None:
        self._descriptor = -1 if stream is None else stream.fileno()
        self._encoding = getattr(stream, "encoding", None) or "utf-8"
        self.terminal = stream is not None and stream.isatty()
        self._torn = False
        """Whether the last line has no end: the disk was full, for instance."""
        self.lock = -1
        """A file that all processes lock which write here, so that their lines do not mix; -1 if there are no others.

        A pipe takes only 4 KiB in one piece (PIPE_BUF, pipe(7)).
        """

    def share(self) -> int:
        """Have a lock for our other processes, which inherit it; its descriptor."""
        try:
            self.lock = os.memfd_create("twistserve-log")
        except (OSError, AttributeError):
            # No such system call, or a Python that was built without it.
            self.lock = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        return self.lock

    def write(self, lines: Sequence[Line]) -> None:
        """Write the lines."""
        data = "".join([f"{line}\n" for _, line in lines]).encode(self._encoding, "backslashreplace")
        if self.lock == -1:
            self._write(data)
            return
        # Of the process: it ends with it.
        fcntl.lockf(self.lock, fcntl.LOCK_EX)
        try:
            self._write(data)
        finally:
            fcntl.lockf(self.lock, fcntl.LOCK_UN)

    def _write(self, data: bytes) -> None:
        if self._torn:
            data = b"\n" + data
        whole = len(data)
        try:
            while data:
                try:
                    data = data[os.write(self._descriptor, data) :]
                except BlockingIOError:
                    # Another process has made the pipe non-blocking, for all that share it.
                    waiting = select.poll()
                    waiting.register(self._descriptor, select.POLLOUT)
                    waiting.poll()
        except OSError:
            self._torn = self._torn or len(data) < whole
            raise
        self._torn = False


_LEVEL = re.compile(r'\S+ \S+ ([A-Z]+) \[|\{"time": "[^"]*", "level": "([A-Z]+)"')


def level_of(line: str) -> int:
    """The level of a line of another of our processes; INFO if it is in another format."""
    match = _LEVEL.match(line)
    return logging.getLevelNamesMapping().get(match[1] or match[2], logging.INFO) if match else logging.INFO


class FileOutput:
    """A log file that rotates when it is large, and when it is told to (twistd's --logfile)."""

    terminal = False

    def __init__(self, file: LogFile) -> None:
        self._file = file

    def write(self, lines: Sequence[Line]) -> None:
        """Write the lines."""
        self._file.write("".join(f"{line}\n" for _, line in lines).encode(errors="backslashreplace"))

    def close(self) -> None:
        """Close it, in a forked process that writes elsewhere: once rotated and removed, it would take up room."""
        self._file.close()

    def rotate(self) -> None:
        """Begin a new file; callable from any thread."""
        queue.put(lambda _: self._file.rotate(), None, lines=0)


class SyslogOutput:
    """The system's log (twistd's --syslog), with the priority of each line's level."""

    terminal = False

    def __init__(self, prefix: str) -> None:
        syslog.openlog(prefix, 0, syslog.LOG_USER)

    def write(self, lines: Sequence[Line]) -> None:
        """Write the lines; there is no end of line within one."""
        for level, text in lines:
            for line in text.split("\n"):
                syslog.syslog(_levels(level)[0], line.replace("\0", r"\x00"))


class EventOutput:
    """Twisted's own log, where twistd was given a --logger that formats events as it likes."""

    terminal = False

    def write(self, lines: Sequence[Line]) -> None:
        """Emit each line as an event: those that are no records are the access log's."""
        for number, text in lines:
            for line in text.split("\n"):
                self.emit(ACCESS, number, line)

    def emit(self, namespace: str, number: int, text: str) -> None:
        """Emit a text as one event, with Python's number of its level."""
        Logger(namespace=namespace).emit(_levels(number)[1], "{text}", text=text)


_LEVELS = (
    (logging.CRITICAL, (syslog.LOG_CRIT, LogLevel.critical)),
    (logging.ERROR, (syslog.LOG_ERR, LogLevel.error)),
    (logging.WARNING, (syslog.LOG_WARNING, LogLevel.warn)),
    (logging.INFO, (syslog.LOG_INFO, LogLevel.info)),
)


def _levels(level: int) -> tuple[int, Any]:
    """The system's and Twisted's words for a level of Python's."""
    return next((words for least, words in _LEVELS if level >= least), (syslog.LOG_DEBUG, LogLevel.debug))


class OutputHandler(logging.Handler):
    """Formats records on the thread that logs them, and has the queue write them.

    At once, for what a record holds may be gone or changed when the queue comes to it, and may ask a database when it
    is made to text.
    """

    def __init__(self, output: Output, formatter: logging.Formatter) -> None:
        super().__init__()
        self.output = output
        self.setFormatter(formatter)

    def handle(self, record: logging.LogRecord) -> bool:
        """Write a record if no filter is against it; without logging's lock, which another thread may hold for long."""
        # A record where a filter gives another one (Python 3.12).
        wanted: Any = self.filter(record)
        if isinstance(wanted, logging.LogRecord):
            record = wanted
        if wanted:
            self.emit(record)
        return bool(wanted)

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record's text. Never raises."""
        try:
            text = self.format(record)
        except Exception as error:
            text = self._unformattable(record, error)
        self._queue(record, text)

    def _queue(self, record: logging.LogRecord, text: str) -> None:
        self.put([(record.levelno, text)])

    def put(self, lines: Sequence[Line], count: int = 1, *, soon: bool = True) -> None:
        """Queue what is formatted already, `count` lines if it is lost."""
        queue.put(self.output.write, lines, count, sum([len(text) for _, text in lines]) + 64, soon=soon)

    def _unformattable(self, record: logging.LogRecord, error: Exception) -> str:
        """What is left of a record whose arguments do not fit its message."""
        kept = ("name", "levelno", "levelname", "created", "msecs")
        plain = logging.makeLogRecord({name: getattr(record, name) for name in kept})
        try:
            plain.msg = f"{record.msg!r} cannot be formatted: {type(error).__name__}: {error}"
        except Exception:
            plain.msg = f"a {type(record.msg).__name__} cannot be formatted"
        try:
            return str(self.format(plain))
        except Exception:
            return f"{record.name}: a line that cannot be formatted"


class EventHandler(OutputHandler):
    """Has records emitted as Twisted's events, whose namespace is the logger."""

    output: EventOutput

    def _queue(self, record: logging.LogRecord, text: str) -> None:
        emit = partial(self.output.emit, record.name, record.levelno)
        queue.put(emit, text, size=len(text) + 64)
