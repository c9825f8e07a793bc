"""Where our handler is put beside those of a project."""

from __future__ import annotations

import logging
import logging.config
import logging.handlers
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from django.utils.log import DEFAULT_LOGGING

from twistserve.logs.placement import needs_placing, place

SILENT = {"version": 1, "disable_existing_loggers": False}


class Seen(logging.Handler):
    """Keeps the names of what it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.names.append(record.name)


class Elsewhere(logging.Handler):
    """Neither a stream nor a file."""

    def emit(self, record: logging.LogRecord) -> None:
        pass


@pytest.fixture
def ours(settings_stub: Any) -> Seen:
    return Seen()


@pytest.fixture
def settings_stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Django's settings as far as they matter, and logging as it was before."""

    class Settings:
        configured = True
        DEBUG = False
        LOGGING_CONFIG = "logging.config.dictConfig"
        LOGGING: dict[str, Any] = {}  # noqa: RUF012
        DEFAULT_EXCEPTION_REPORTER = "django.views.debug.ExceptionReporter"

    settings = Settings()
    monkeypatch.setattr("django.conf.settings", settings)
    monkeypatch.setattr("django.utils.log.settings", settings)
    monkeypatch.setattr(logging, "lastResort", logging.lastResort)
    loggers = [logging.root, *(logging.getLogger(name) for name in NAMES)]
    before = [(each, each.handlers[:], each.level, each.propagate, each.disabled) for each in loggers]
    logging.root.handlers = []
    yield settings
    for logger in loggers:
        for handler in logger.handlers:
            if isinstance(handler, logging.FileHandler):
                handler.close()
    for logger, handlers, level, propagate, disabled in before:
        logger.handlers, logger.propagate, logger.disabled = handlers, propagate, disabled
        logger.setLevel(level)


NAMES = (
    "twistserve",
    "twistserve.access",
    "twisted",
    "py.warnings",
    "django",
    "django.request",
    "shop",
)


def apply(settings: Any, logging_settings: dict[str, Any], debug: bool = False) -> None:
    """What django.setup() does; pytest's own handlers are put aside."""
    logging.root.handlers = []
    settings.LOGGING, settings.DEBUG = logging_settings, debug
    logging.config.dictConfig(DEFAULT_LOGGING)
    # Mail is for the admins.
    for handler in logging.getLogger("django").handlers:
        if isinstance(handler, logging.Handler) and type(handler).__name__ == "AdminEmailHandler":
            handler.setLevel(logging.CRITICAL + 1)
    if logging_settings:
        logging.config.dictConfig(logging_settings)


def logged(ours: Seen, name: str, level: int = logging.ERROR) -> int:
    """How often our handler gets a record."""
    ours.names.clear()
    logging.getLogger(name).log(level, "something")
    return len(ours.names)


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("logging_settings", [{}, SILENT, {"version": 1}])
def test_errors_of_views_are_seen_once(
    settings_stub: Any, ours: Seen, logging_settings: dict[str, Any], debug: bool
) -> None:
    """Whether LOGGING is set or not, and whatever it disables, if it gives them no handler."""
    apply(settings_stub, logging_settings, debug)
    for _ in range(2):
        place(ours)
        assert logged(ours, "django.request") == 1
        assert logged(ours, "twistserve.access") == 1
        assert logged(ours, "twisted.web") == 1
        # LOGGING disables those that are there already.
        assert logged(ours, f"shop.{uuid4()}", logging.WARNING) == 1


def test_django_s_console_for_development_makes_way(
    settings_stub: Any, ours: Seen, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would write bare messages between ours; one that the project has asked for stays."""
    apply(settings_stub, {}, debug=True)
    place(ours)
    assert logged(ours, "django.request", logging.WARNING) == 1
    assert capsys.readouterr().err == ""
    console = {"class": "logging.StreamHandler", "filters": ["debug"]}
    filters = {"debug": {"()": "django.utils.log.RequireDebugTrue"}}
    loggers = {"django": {"handlers": ["console"]}}
    named = {"handlers": {"console": console}, "filters": filters, "loggers": loggers}
    apply(settings_stub, {**SILENT, **named}, debug=True)
    place(ours)
    assert logged(ours, "django.request", logging.WARNING) == 0
    assert capsys.readouterr().err == "something\n"


@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        ({"class": "logging.StreamHandler"}, 0),
        ({"class": "logging.FileHandler", "filename": "/dev/null"}, 0),
        ({"class": "logging.StreamHandler", "level": "CRITICAL"}, 1),
        ({"class": "logging.StreamHandler", "filters": ["none"]}, 1),
        ({"class": "logging.NullHandler"}, 1),
        ({"()": Elsewhere}, 1),
    ],
)
@pytest.mark.parametrize("where", ["root", "django", "django.request"])
def test_what_counts_is_whether_an_error_of_a_view_reaches_something(
    settings_stub: Any, ours: Seen, handler: dict[str, Any], expected: int, where: str
) -> None:
    """A stream or a file that lets an error pass; otherwise ours stands in, once, and elsewhere it does not."""
    logger: dict[str, Any] = {"handlers": ["theirs"]}
    if where != "root":
        logger["propagate"] = False
    place_of = {"root": logger} if where == "root" else {"loggers": {where: logger}}
    filters = {"none": {"name": "nothing.of.this.name"}}
    apply(settings_stub, {**SILENT, "handlers": {"theirs": handler}, "filters": filters, **place_of})
    place(ours)
    assert logged(ours, "django.request") == expected
    assert logged(ours, "twistserve.access") == (0 if where == "root" else 1)


def test_a_filter_that_wants_a_real_record_is_taken_to_let_it_pass(settings_stub: Any, ours: Seen) -> None:
    """It raises for the one that we try."""

    def wanting(record: logging.LogRecord) -> bool:
        return bool(record.request)  # type: ignore[attr-defined]

    handler = logging.StreamHandler()
    handler.addFilter(wanting)
    apply(settings_stub, {})
    logging.root.addHandler(handler)
    place(ours)
    handler.filters.clear()
    assert logged(ours, "django.request") == 0


@pytest.mark.parametrize("name", ["twistserve", None])
def test_a_handler_of_the_project_gets_the_server_s_lines(settings_stub: Any, ours: Seen, name: str | None) -> None:
    """On the root logger or on ours; our handler makes way when it is called again."""
    apply(settings_stub, {})
    place(ours)
    theirs = Seen()
    theirs.name = "console"
    logging.getLogger(name).addHandler(theirs)
    assert needs_placing(ours)
    place(ours)
    assert not needs_placing(ours)
    assert logged(ours, "twistserve.access") == 0
    assert theirs.names == ["twistserve.access"]


def test_a_handler_of_the_access_log_is_no_reason_to_move(settings_stub: Any, ours: Seen) -> None:
    """One that the project has put on the access log gets its lines, and so does ours."""
    apply(settings_stub, {})
    theirs = Seen()
    logging.getLogger("twistserve.access").addHandler(theirs)
    place(ours)
    assert not needs_placing(ours)
    assert logged(ours, "twistserve.access") == 1
    assert theirs.names == ["twistserve.access"]


def test_an_instrumentation_on_the_root_logger_does_not_count(settings_stub: Any, ours: Seen) -> None:
    """OpenTelemetry's handler sends records elsewhere: people still read ours, and those without another handler."""
    apply(settings_stub, {})
    instrumentation = Seen()
    logging.root.addHandler(instrumentation)
    for _ in range(2):
        place(ours)
        assert not needs_placing(ours)
        for name in ("twistserve.access", "twisted.web", "django.request", f"shop.{uuid4()}"):
            assert logged(ours, name) == 1
            assert instrumentation.names.pop() == name
    logging.getLogger("shop").addHandler(Seen())
    assert logged(ours, "shop") == 0


def test_no_line_is_lost_while_our_place_is_found(settings_stub: Any, ours: Seen) -> None:
    """Our handler stays where it is wanted all the time."""
    apply(settings_stub, {})
    place(ours)
    removed: list[logging.Logger] = []
    logger = logging.getLogger("django")
    logger.removeHandler = lambda hdlr: removed.append(logger)  # type: ignore[method-assign]
    try:
        place(ours)
    finally:
        del logger.removeHandler
    assert removed == []
