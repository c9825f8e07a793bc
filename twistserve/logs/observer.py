"""What Twisted logs, as records of Python's logging."""

from __future__ import annotations

import logging
import re
from typing import Any

from twisted.logger import ILogObserver, LogEvent, LogLevel, eventAsText, globalLogBeginner
from zope.interface import implementer

from twistserve.logs.loggers import log_event
from twistserve.logs.queue import queue

_LEVELS: dict[Any, int] = {
    level: logging.getLevelNamesMapping()[level.name.upper()] for level in LogLevel.iterconstants()
}
_RUNNERS = ("twisted.scripts.", "twisted.application.")
"""Namespaces of twistd and twist, which tell when they begin and end."""
_OF_PORTS = re.compile(r".+ starting on \S+|\((\S+ )?Port .+ Closed\)|(Starting|Stopping) (protocol|factory) .+")
"""What Twisted's ports tell without a namespace, as an application's `log.msg` does."""


@implementer(ILogObserver)
class RecordingObserver:
    """Makes a record of each event; its logger is the event's namespace, `twisted` for one without.

    Twisted tells of each port and factory that it opens and closes, and so do we, where it matters: what it merely
    informs of is for debugging.
    """

    def __call__(self, event: LogEvent) -> None:
        """Log an event. Callable from any thread; never raises."""
        try:
            self._record(event)
        except Exception:
            queue.lose()

    def _record(self, event: LogEvent) -> None:
        if "warning" in event and "category" in event:
            log_warning(event["warning"], event["category"], event["filename"], event["lineno"])
            return
        namespace = event.get("log_namespace") or ""
        level = _LEVELS.get(event.get("log_level"), logging.INFO)
        failure = event.get("log_failure")
        information = None if failure is None else (failure.type, failure.value, failure.getTracebackObject())
        text = eventAsText(event, includeTraceback=False, includeTimestamp=False, includeSystem=False)
        if level == logging.INFO and _is_internal(namespace, text):
            level = logging.DEBUG
        log_event("twisted" if namespace in ("", "log_legacy") else namespace, level, text, information)


def log_warning(message: object, category: Any, filename: object, lineno: object, *others: object) -> None:
    """Log a warning in one line; takes the place of warnings.showwarning. Never raises."""
    try:
        name = str(getattr(category, "__name__", category)).rpartition(".")[2]
        log_event("py.warnings", logging.WARNING, f"{filename}:{lineno}: {name}: {message}")
    except Exception:
        queue.lose()


def _is_internal(namespace: str, text: str) -> bool:
    if namespace == "log_legacy":
        return _OF_PORTS.fullmatch(text) is not None
    return namespace.startswith("twisted.") and not namespace.startswith(_RUNNERS)


def observe_twisted() -> None:
    """Hand over what Twisted logs, where no twistd does."""
    globalLogBeginner.beginLoggingTo([RecordingObserver()], redirectStandardIO=False)
