"""Which loggers our handler is put on: those for which the project's LOGGING has no place of its own.

Called whenever LOGGING was applied. What matters is which handlers there are, not whether LOGGING is set.
"""

from __future__ import annotations

import logging
import logging.handlers
from typing import Any

OURS = ("twistserve", "twisted", "py.warnings")
"""Loggers of the server; their lines go where those of the first go."""
_ERRORS = "django.request"
"""The logger of views that fail."""
_LASTING = (logging.StreamHandler, logging.handlers.SysLogHandler, logging.handlers.SocketHandler)
_PASSING_ON = (logging.handlers.QueueHandler, logging.handlers.MemoryHandler)


def place(handler: logging.Handler) -> None:
    """Put `handler` where it is needed, and nowhere else.

    - On the server's loggers, unless the project has given `twistserve` or the root logger a handler.
    - Where an ERROR of `django.request` passes, unless that reaches a stream, a file or a log server of the project's:
      Django's own LOGGING only mails it in production, and one with `disable_existing_loggers` may silence it.
    - In the place of Django's default console handler, which writes bare messages while DEBUG is on.
    - As the last resort, for what Python's own would write, and the root logger's that `logging.warning()` makes.

    A handler of an instrumentation, such as OpenTelemetry's, does not count: it is none that people read.
    """
    _enable_ours()
    console = _default_console()
    if console is not None:
        logging.getLogger("django").removeHandler(console)
    wanted: list[logging.Logger] = []
    if not _theirs(logging.getLogger(OURS[0]), handler):
        loggers = [logging.getLogger(name) for name in OURS]
        wanted += [logger for logger in loggers if logger is loggers[0] or not _theirs(logger, handler)]
    if not _reaches_something(handler):
        wanted.append(_last_of_errors())
    # First, so that no line is lost in between.
    for logger in wanted:
        logger.addHandler(handler)
    for each in all_loggers():
        if handler in each.handlers and each not in wanted:
            each.removeHandler(handler)
    be_the_last_resort(handler)


def needs_placing(handler: logging.Handler) -> bool:
    """Whether the server's lines have a handler of the project's that they had not when ours was put beside it."""
    server = logging.getLogger(OURS[0])
    return handler in server.handlers and bool(_theirs(server, handler))


def _theirs(logger: logging.Logger, ours: logging.Handler) -> list[logging.Handler]:
    """The handlers of the project that would get a record; the root logger's if LOGGING names it, or people read it."""
    return [
        each
        for each in handlers_of(logger)
        if each is not ours
        and (each not in logging.root.handlers or each.name or isinstance(each, _LASTING + _PASSING_ON))
    ]


def be_the_last_resort(handler: logging.Handler) -> None:
    """Let `handler` get what would have none, in Python's own two ways: `lastResort` and `basicConfig()`.

    The latter is called by `logging.warning()` and its like where the root logger has no handler. With arguments it is
    the project that calls it, and gets what it wants.
    """
    logging.lastResort = LastResort(handler, logging.WARNING)
    _remove_last_resort()
    if logging.root.handlers and not _theirs(logging.root, handler):
        # An instrumentation's, for which Python would ask lastResort no more.
        logging.root.addHandler(LastResort(handler, logging.WARNING))
    basic_config = getattr(logging.basicConfig, "original", logging.basicConfig)

    def configure(**keywords: Any) -> None:
        if keywords:
            _remove_last_resort()
            basic_config(**keywords)
        elif not logging.root.handlers:
            logging.root.addHandler(LastResort(handler))

    configure.original = basic_config  # type: ignore[attr-defined]
    logging.basicConfig = configure


def _remove_last_resort() -> None:
    for each in [each for each in logging.root.handlers if isinstance(each, LastResort)]:
        logging.root.removeHandler(each)


class LastResort(logging.Handler):
    """Hands a record on that no other handler gets."""

    def __init__(self, handler: logging.Handler, level: int = logging.NOTSET) -> None:
        super().__init__(level)
        self._handler = handler

    def handle(self, record: logging.LogRecord) -> bool:
        """Hand it on, or leave it to the others."""
        logger = logging.root.manager.loggerDict.get(record.name)
        if not isinstance(logger, logging.Logger):
            logger = logging.root
        if self._handler in handlers_of(logger) or _theirs(logger, self._handler):
            return False
        return bool(self._handler.handle(record))


def handlers_of(logger: logging.Logger) -> list[logging.Handler]:
    """The handlers that would get a record of this logger, but for the last resort."""
    found: list[logging.Handler] = []
    while True:
        found += [each for each in logger.handlers if not isinstance(each, LastResort)]
        if not logger.propagate or logger.parent is None:
            return found
        logger = logger.parent


def all_loggers() -> list[logging.Logger]:
    """The root logger, and every other that there is."""
    others = list(logging.root.manager.loggerDict.values())
    return [logging.root, *(each for each in others if isinstance(each, logging.Logger))]


def _enable_ours() -> None:
    """LOGGING disables every logger that it does not name, unless it says otherwise; a server's are not meant."""
    for logger in all_loggers():
        if f"{logger.name}.".startswith(tuple(f"{our}." for our in OURS)):
            logger.disabled = False


def _default_console() -> logging.Handler | None:
    """Django's own, if the project has left it where Django puts it."""
    from django.conf import settings
    from django.utils.log import RequireDebugTrue

    if not settings.configured or not settings.LOGGING_CONFIG or "django" in settings.LOGGING.get("loggers", {}):
        return None
    for handler in logging.getLogger("django").handlers:
        default = type(handler) is logging.StreamHandler and handler.formatter is None
        if default and any(type(each) is RequireDebugTrue for each in handler.filters):
            return handler
    return None


def _reaches_something(ours: logging.Handler) -> bool:
    """Whether an error of a view would be seen."""
    logger = logging.getLogger(_ERRORS)
    if logger.disabled or not logger.isEnabledFor(logging.ERROR):
        return False
    error = logging.LogRecord(_ERRORS, logging.ERROR, "", 0, "Internal Server Error: /", None, None)
    error.status_code = 500
    return any(
        isinstance(handler, _LASTING + _PASSING_ON) and handler.level <= logging.ERROR and _lets_pass(handler, error)
        for handler in handlers_of(logger)
        if handler is not ours
    )


def _lets_pass(handler: logging.Handler, record: logging.LogRecord) -> bool:
    """Whether Python's and Django's own filters do; those of the project see only what was really logged."""
    from django.utils.log import RequireDebugFalse, RequireDebugTrue

    known = (logging.Filter, RequireDebugFalse, RequireDebugTrue)
    return all(each.filter(record) for each in handler.filters if isinstance(each, known) and type(each) in known)


def _last_of_errors() -> logging.Logger:
    """Where Django's errors pass last, below the root logger, whose handlers are the project's."""
    logger = logging.getLogger(_ERRORS)
    logger.disabled = False
    while logger.propagate and logger.parent is not None and logger.parent is not logging.root:
        logger = logger.parent
    logger.disabled = False
    return logger
