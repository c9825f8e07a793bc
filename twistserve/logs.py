"""Where log lines go: through stdlib logging, to one place, once.

The project's LOGGING wins wherever it configures the ``twistserve`` loggers or the root logger. Otherwise
lines go to standard output as they are, or into Twisted's log where twistd writes that to a file.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import ClassVar, TextIO

from twisted.application.service import Service
from twisted.logger import Logger, LogLevel, STDLibLogObserver, globalLogBeginner

ACCESS = "twistserve.access"
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_ATOMIC = 4096
"""Bytes that a pipe takes without mixing them with what other processes write (PIPE_BUF, pipe(7))."""


class TwistedHandler(logging.Handler):
    """Hands records to Twisted's log, for twistd runs that write it to a file."""

    _levels: ClassVar = {
        logging.DEBUG: LogLevel.debug,
        logging.INFO: LogLevel.info,
        logging.WARNING: LogLevel.warn,
        logging.ERROR: LogLevel.error,
        logging.CRITICAL: LogLevel.critical,
    }

    def emit(self, record: logging.LogRecord) -> None:
        """Emit one event with the record's text; callable from any thread."""
        level = self._levels.get(record.levelno, LogLevel.info)
        Logger(namespace=record.name).emit(level, "{text}", text=self.format(record))


class LogService(Service):
    """Sends log lines to standard output, or into the log of twistd when `into_twisted`.

    `takes_streams` gives the application the process's own standard output and error back, which twistd
    has redirected into its log: a handler the project's LOGGING makes later would write prefixed lines.
    `notices` are warnings to log first, once there is where to. `process` names one of several that write to
    the same place.
    """

    def __init__(
        self,
        level: str,
        *,
        into_twisted: bool = False,
        takes_streams: bool = False,
        notices: Sequence[str] = (),
        process: str = "",
    ) -> None:
        self._level = level
        self._takes_streams = takes_streams
        self._handler: logging.Handler
        self._stream_handler: logging.StreamHandler[TextIO] | None = None
        if into_twisted:
            self._handler = TwistedHandler()
            self._handler.setFormatter(logging.Formatter())
        else:
            stream: TextIO | None = sys.__stdout__
            self._handler = self._stream_handler = logging.StreamHandler(stream)
            self._handler.setFormatter(logging.Formatter(_FORMAT.replace("%(name)s", f"{process} %(name)s".lstrip())))
        self._root = logging.getLogger("twistserve")
        self._access = logging.getLogger(ACCESS)
        self._notices = notices
        self._shares_output = bool(process)

    def startService(self) -> None:
        """Install the handler."""
        super().startService()
        if self._takes_streams:
            assert sys.__stdout__ is not None and sys.__stderr__ is not None
            sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
        self._root.setLevel(self._level)
        self.settle()
        for notice in self._notices:
            self._root.warning(notice)

    @property
    def lines(self) -> Callable[[str], None] | None:
        """Where other processes of ours should send their lines, if not to where our own output goes."""
        return None if self._stream_handler is not None else self._pass_on

    def _pass_on(self, line: str) -> None:
        Logger(namespace="twistserve.worker").info("{line}", line=line)

    def access(self, lines: Sequence[str]) -> None:
        """Log lines of the access log; straight to standard output if that is where logging would put them.

        A record for each, and a flush, cost more than the rest of the access log together.
        """
        if not self._access.isEnabledFor(logging.INFO):
            return
        handler = self._stream_handler
        if handler is not None and _handlers_of(self._access) == [handler]:
            with handler.lock or nullcontext():
                for text in _pieces(lines) if self._shares_output else ("\n".join((*lines, "")),):
                    handler.stream.write(text)
                    handler.flush()
            return
        for line in lines:
            self._access.handle(logging.LogRecord(ACCESS, logging.INFO, "", 0, line, None, None))

    def settle(self, project_logs: bool = True) -> None:
        """Make way for the project's LOGGING, or stand in where it says nothing; call whenever that was applied.

        LOGGING disables every logger it does not name unless it says otherwise; a server's are not meant. A
        project that says nothing about logging (`project_logs`) would lose the traceback of every error in
        production: Django only mails it. Its warnings and errors go where ours go.
        """
        for name, logger in logging.root.manager.loggerDict.items():
            if name.split(".")[0] == "twistserve" and isinstance(logger, logging.Logger):
                logger.disabled = False
        for logger in (self._root, logging.root):
            logger.removeHandler(self._handler)
        if logging.root.handlers or self._root.handlers:
            return
        if project_logs:
            self._root.addHandler(self._handler)
        else:
            logging.root.addHandler(self._handler)


def _pieces(lines: Sequence[str]) -> Iterator[str]:
    """As many lines at a time as can be written without being mixed with those of other processes."""
    piece = ""
    for line in lines:
        if piece and len(piece) + len(line) >= _ATOMIC:
            yield piece
            piece = ""
        piece += line + "\n"
    yield piece


def _handlers_of(logger: logging.Logger) -> list[logging.Handler]:
    """The handlers that would get a record of this logger."""
    found: list[logging.Handler] = []
    at: logging.Logger | None = logger
    while at is not None:
        found += at.handlers
        at = at.parent if at.propagate else None
    return found


def observe_twisted() -> None:
    """Hand what Twisted logs to stdlib logging, where no twistd has begun a log of its own."""
    globalLogBeginner.beginLoggingTo([STDLibLogObserver()], redirectStandardIO=False)
