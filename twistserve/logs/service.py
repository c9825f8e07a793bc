"""The log as a service: the first that starts, and the last that stops."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from twisted.application.service import Service

from twistserve.logs.formats import JSONFormatter, TextFormatter, text_prefix
from twistserve.logs.loggers import ACCESS, get_logger, spare_thread
from twistserve.logs.output import Line, Output, OutputHandler, StreamOutput, level_of
from twistserve.logs.placement import OURS, handlers_of, place
from twistserve.logs.printed import is_printed, printed
from twistserve.logs.queue import queue
from twistserve.logs.standard_streams import standard_output

logger = get_logger(__name__)


class LogService(Service):
    """Writes the log to `output`, standard output without one, in `log_format`: text, combined or json.

    What the application prints goes to the standard streams as it is; as JSON, or where they lead nowhere because the
    output is a file, it is logged line by line. `notices` are warnings to log first.
    """

    def __init__(
        self,
        level: str,
        log_format: str = "text",
        *,
        output: Output | None = None,
        notices: Sequence[str] = (),
    ) -> None:
        self._level = level
        self._format = log_format
        self._own_output = output is None
        self._output: Output = output or StreamOutput(standard_output())
        self._notices = notices
        self._handler = OutputHandler(self._output, self._formatter())
        self._access = logging.getLogger(ACCESS)
        self._printed: dict[str, Any] = {}

    def _formatter(self) -> logging.Formatter:
        if not self._output.formats:
            return logging.Formatter()
        return JSONFormatter() if self._format == "json" else TextFormatter(self._output.terminal)

    def startService(self) -> None:
        """Begin to write on a thread, and install the handler. On the reactor's thread."""
        super().startService()
        queue.on_recovery = _tell_lost
        queue.start()
        spare_thread(threading.get_ident())
        self.take_streams()
        for name in OURS[:2]:
            if logging.getLogger(name).level == logging.NOTSET:
                logging.getLogger(name).setLevel(self._level)
        place(self._handler)
        for notice in self._notices:
            logger.warning(notice)

    @property
    def lines(self) -> Callable[[str], None] | None:
        """Where other processes of ours should send their lines, if not to where our own output goes."""
        return None if self._own_output else self._pass_on

    def _pass_on(self, line: str) -> None:
        self._handler.put([(level_of(line), line)])

    # The streams

    def take_streams(self) -> None:
        """Give the application streams of our own choice: twistd and twist redirect them into a log of theirs."""
        if not self._output.formats:
            return
        for name, level in (("stdout", logging.INFO), ("stderr", logging.WARNING)):
            real = getattr(sys, f"__{name}__")
            if self._format == "json" or not self._own_output:
                real = self._printed.setdefault(name, printed(name, level, self._handler, real))
            setattr(sys, name, real)

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
        for handler in {id(each): each for each in _all_handlers()}.values():
            stream = getattr(handler, "stream", None)
            if self._own_output and isinstance(handler, logging.StreamHandler) and is_printed(stream):
                handler.setStream(sys.__stderr__ if stream is self._printed.get("stderr") else sys.__stdout__)
        place(self._handler)

    # The access log

    def access_level(self) -> int:
        """The least level of lines that are wanted of the access log."""
        return max(self._access.getEffectiveLevel(), self._access.manager.disable + 1)

    @property
    def access_is_ours(self) -> bool:
        """Whether lines of the access log go to our output alone: a record for each costs more than the rest of it."""
        return handlers_of(self._access) == [self._handler] and not self._access.filters and not self._access.disabled

    def write_access(self, lines: Sequence[Line], seconds: float) -> None:
        """Write lines of the access log, which are in their format but for the prefix of text. Never raises."""
        if self._format == "text" and self._output.formats:
            prefixes = {level: text_prefix(seconds, level, ACCESS, self._output.terminal) for level, _ in lines}
            lines = [(level, prefixes[level] + line) for level, line in lines]
        self._handler.put(lines)

    def record_access(self, level: int, line: str, fields: dict[str, Any]) -> None:
        """Log a line for handlers of the project's; `fields` are for our JSONFormatter. Never raises."""
        try:
            record = self._access.makeRecord(ACCESS, level, "", 0, line, (), None, extra={"access": fields})
            queue.put(self._access.handle, record, size=1024)
        except Exception:
            queue.lose()


def _tell_lost(lost: int) -> None:
    logger.warning(
        "%d lines of the log could not be written and are lost: its reader was too slow or gone, or a disk is full",
        lost,
    )


def _all_handlers() -> Iterator[logging.Handler]:
    for each in (logging.root, *list(logging.root.manager.loggerDict.values())):
        if isinstance(each, logging.Logger):
            yield from each.handlers
