"""The log as a service: the first that starts, and the last that stops."""

from __future__ import annotations

import io
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

from twisted.application.service import Service

from twistserve.logs.formats import ACCESS_FIELDS, CombinedFormatter, JSONFormatter, TextFormatter
from twistserve.logs.loggers import ACCESS, get_logger, make_record
from twistserve.logs.observer import log_warning
from twistserve.logs.output import (
    EventHandler,
    EventOutput,
    FileOutput,
    Line,
    Output,
    OutputHandler,
    StreamOutput,
    level_of,
)
from twistserve.logs.placement import OURS, all_loggers, be_the_last_resort, handlers_of, needs_placing, place
from twistserve.logs.printed import printed_name, printed_streams
from twistserve.logs.queue import queue
from twistserve.logs.standard_streams import standard_output

logger = get_logger(__name__)


class LogService(Service):
    """Writes the log to `output`, standard output without one, in `log_format`: text, combined or json.

    What the application prints goes to the standard streams as it is; as JSON, or where they lead nowhere because the
    output is a file, it is logged line by line. `notices` are warnings to log first.
    """

    def __init__(
        self, level: str, log_format: str = "text", *, output: Output | None = None, notices: Sequence[str] = ()
    ) -> None:
        self._level = level
        self._format = log_format
        self._own_output = output is None
        self._output: Output = output or StreamOutput(standard_output())
        self._notices = notices
        self._handler = output_handler(self._output, log_format)
        self._access = logging.getLogger(ACCESS)
        self._printed: dict[str, TextIO] = {}

    def startService(self) -> None:
        """Begin to write on a thread, and install the handler. On the reactor's thread."""
        super().startService()
        if isinstance(self._output, StreamOutput) and self._output.lock == -1:
            # For children that the application forks: they write by themselves.
            self._output.share()
        queue.on_recovery = _tell_lost
        queue.start()
        self.begin()
        for notice in self._notices:
            logger.warning(notice)

    def begin(self) -> None:
        """Install the handler; until the service starts, each line is written by the thread that logs it."""
        self.take_streams()
        for name in OURS[:2]:
            if logging.getLogger(name).level == logging.NOTSET:
                logging.getLogger(name).setLevel(self._level)
        place(self._handler)

    def share_output(self) -> int:
        """Let our other processes write where we do, under a lock that they inherit; its descriptor."""
        if isinstance(self._output, StreamOutput):
            return self._output.share()
        # They write to us.
        return os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)

    def use_lock(self, descriptor: int) -> None:
        """Write under the lock of the process that shares its output with us."""
        assert isinstance(self._output, StreamOutput)
        self._output.lock = descriptor

    def leave_output(self) -> None:
        """Let go of a file that is another process's, in one that was forked from it and sends its lines there."""
        if isinstance(self._output, FileOutput):
            self._output.close()

    @property
    def lines(self) -> Callable[[str], None] | None:
        """Where our other processes should send their lines, if not to where our own output goes."""
        return None if self._own_output else self._pass_on

    def _pass_on(self, line: str) -> None:
        self._handler.put([(level_of(line), line)])

    # The streams

    def take_streams(self) -> None:
        """Give the application streams of our own choice: twistd and twist redirect them into a log of theirs."""
        if not isinstance(self._output, EventOutput):
            logged = self._format == "json" or not self._own_output
            if logged and not self._printed:
                self._printed = printed_streams(self._handler)
            sys.stdout = self._printed["stdout"] if logged else sys.__stdout__
            sys.stderr = self._printed["stderr"] if logged else sys.__stderr__
            if isinstance(sys.stdout, io.TextIOWrapper) and not logged:
                # Prints stand in the order of the log's lines, which go past Python's buffers.
                sys.stdout.reconfigure(line_buffering=True)

    @contextmanager
    def applying_logging(self) -> Iterator[None]:
        """While the project's LOGGING is applied: its console handlers take the streams as they are.

        Afterwards ours make way for them, or stand in for what they leave out.
        """
        before = sys.stdout, sys.stderr
        if self._own_output and sys.__stdout__ is not None and sys.__stderr__ is not None:
            sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before
            self.settle()

    def settle(self) -> None:
        """Find our place among the project's handlers; those that were made for what is printed get the real stream."""
        for handler in [handler for logger in all_loggers() for handler in logger.handlers]:
            stream = getattr(handler, "stream", None)
            name = printed_name(stream)
            if self._own_output and isinstance(handler, logging.StreamHandler) and name is not None:
                handler.setStream(getattr(sys, f"__{name}__"))
        place(self._handler)

    # The access log

    def access_level(self) -> int:
        """The least level of lines that are wanted of the access log."""
        return max(self._access.getEffectiveLevel(), self._access.manager.disable + 1)

    @property
    def access_is_ours(self) -> bool:
        """Whether lines of the access log go to our output alone: a record for each costs more than the rest of it."""
        handlers = handlers_of(self._access)
        if len(handlers) > 1 and needs_placing(self._handler):
            # The project has given the root logger one since. Elsewhere: this takes logging's own lock.
            queue.put(lambda _: self.settle(), None, lines=0)
        return handlers == [self._handler] and not self._access.filters and not self._access.disabled

    def access_prefix(self, seconds: float, level: int) -> str:
        """What a line of the access log begins with at this time, if it is text."""
        formatter = self._handler.formatter
        if self._format == "text" and isinstance(formatter, TextFormatter):
            return formatter.prefix(seconds, level, ACCESS)
        return ""

    def write_access(self, texts: Sequence[Line], count: int) -> None:
        """Write so many lines of the access log as they are, those of one level as one text. Never raises."""
        # A line by itself is written at once: there is time, or a client has left.
        self._handler.put(texts, count, soon=count == 1)

    def record_access(self, level: int, line: str, fields: dict[str, Any]) -> None:
        """Log a line for handlers of the project's; `fields` are for our JSONFormatter. Never raises."""
        try:
            record = make_record(ACCESS, level, line, (), None, fields={ACCESS_FIELDS: fields})
            queue.put(self._handle_access, record, size=1024)
        except BaseException:
            queue.lose()

    def _handle_access(self, record: logging.LogRecord) -> None:
        """Hand a record to its handlers, past Logger.callHandlers, where Sentry would take it for one more error."""
        if not self._access.disabled and self._access.filter(record):
            for handler in handlers_of(self._access):
                if record.levelno >= handler.level:
                    handler.handle(record)


def output_handler(output: Output, log_format: str) -> OutputHandler:
    """The handler that writes to an output in a format."""
    if isinstance(output, EventOutput):
        return EventHandler(output, logging.Formatter())
    if log_format == "json":
        return OutputHandler(output, JSONFormatter())
    kind = CombinedFormatter if log_format == "combined" else TextFormatter
    return OutputHandler(output, kind(terminal=output.terminal))


@contextmanager
def early_log(log_format: object, output: Output | None) -> Iterator[None]:
    """Log warnings, and what has no handler, until the log starts; and as JSON on standard output what is printed.

    That is what settings say while they are imported. What fails meanwhile is told as text, by others.
    """
    as_json = str(log_format).lower() == "json"
    handler = output_handler(output or StreamOutput(standard_output()), "json" if as_json else "text")
    be_the_last_resort(handler)
    warnings.showwarning = log_warning  # type: ignore[assignment]
    if not as_json or output is not None:
        yield
        return
    before = sys.stdout, sys.stderr
    streams = printed_streams(handler)
    sys.stdout, sys.stderr = streams["stdout"], streams["stderr"]
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _tell_lost(lost: int) -> None:
    logger.warning(
        "%d lines of the log could not be written and are lost: its reader was too slow or gone, or a disk is full",
        lost,
    )
