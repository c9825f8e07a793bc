"""The loggers of twistserve's own modules, which never raise and never wait."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Mapping
from typing import Any

from twistserve.logs.context import served
from twistserve.logs.formats import SERVED
from twistserve.logs.queue import queue

ACCESS = "twistserve.access"
"""The logger of the access log."""


class ServerLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger for what serves: whatever the project has made of Python's logging, a call returns at once.

    Filters, handlers and formatters run on the queue's thread; what cannot be handled is lost and counted.
    """

    def log(self, level: int, msg: object, *args: object, **keywords: Any) -> None:
        """Queue a record, if the level is wanted."""
        try:
            if self.isEnabledFor(level):
                record = self._record(level, msg, args, keywords.get("exc_info"))
                queue.put(self.logger.handle, record, size=_size(record))
        except BaseException:
            # SystemExit too: a factory of the project's is no reason to end.
            queue.lose()

    def isEnabledFor(self, level: int) -> bool:
        """Whether the level is wanted.

        Unlike Logger's it takes no lock: logging's is held while a project's handlers are made and closed.
        """
        return self.logger.manager.disable < level >= self.logger.getEffectiveLevel()

    def _record(self, level: int, msg: object, args: tuple[object, ...], exc_info: Any) -> logging.LogRecord:
        if isinstance(exc_info, BaseException):
            exc_info = (type(exc_info), exc_info, exc_info.__traceback__)
        elif exc_info and not isinstance(exc_info, tuple):
            exc_info = sys.exc_info()
        # Of log(), info() and the one that called it.
        code = sys._getframe(3)
        return make_record(
            self.logger.name,
            level,
            msg,
            args,
            exc_info or None,
            code.f_code.co_filename,
            code.f_lineno,
            {SERVED: served.get()},
        )


def get_logger(name: str) -> ServerLogger:
    """The logger of one of our modules, by its name."""
    return ServerLogger(logging.getLogger(name), {})


def log_event(name: str, level: int, message: str, exc_info: Any = None) -> None:
    """Queue a record of a logger by its name, for code that is not ours. The queue's thread looks the logger up."""
    try:
        record = make_record(name, level, message, (), exc_info, fields={SERVED: served.get()})
        queue.put(_handle_event, record, size=_size(record))
    except BaseException:
        queue.lose()


def _handle_event(record: logging.LogRecord) -> None:
    logger = logging.getLogger(record.name)
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)


def make_record(
    name: str,
    level: int,
    message: object,
    arguments: tuple[object, ...],
    exc_info: Any,
    path: str = "",
    line: int = 0,
    fields: Mapping[str, object] | None = None,
) -> logging.LogRecord:
    """A record by the project's factory, or by Python's where that one fails, as one that wants a request may."""
    try:
        record = logging.getLogRecordFactory()(name, level, path, line, message, arguments, exc_info)
    except BaseException:
        record = logging.LogRecord(name, level, path, line, message, arguments, exc_info)
    vars(record).update(fields or {})
    return record


def _size(record: logging.LogRecord) -> int:
    """Roughly the bytes that a record keeps in memory."""
    return 512 + (len(record.msg) if isinstance(record.msg, str) else 0) + (4096 if record.exc_info else 0)


def spare_this_thread() -> None:
    """From now on, let nothing that is logged on this thread, by whomever, wait for a handler: queue it.

    Libraries that run on the reactor's thread log too, hpack for instance. Logger.handle is the last step that all
    records take before filters and handlers run.
    """
    ident = threading.get_ident()
    handle = logging.Logger.handle

    def queueing(logger: logging.Logger, record: logging.LogRecord) -> None:
        if queue.running and threading.get_ident() == ident:
            queue.put(lambda record: handle(logger, record), record, size=_size(record))
        else:
            handle(logger, record)

    logging.Logger.handle = queueing  # type: ignore[method-assign, assignment]
