"""What Twisted logs, as records."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from twisted.logger import LogLevel
from twisted.python.failure import Failure

from twistserve.logs.observer import RecordingObserver


def event(namespace: str, text: str, level: Any = LogLevel.info, **fields: Any) -> dict[str, Any]:
    return {"log_namespace": namespace, "log_level": level, "log_format": "{text}", "text": text, **fields}


@pytest.mark.parametrize(
    ("observed", "name", "level"),
    [
        (event("log_legacy", "Site starting on 8000"), "twisted", "DEBUG"),
        (event("log_legacy", "(TCP Port 8000 Closed)"), "twisted", "DEBUG"),
        (event("log_legacy", "(Port '/run/web.sock' Closed)"), "twisted", "DEBUG"),
        (event("log_legacy", "a chat has begun"), "twisted", "INFO"),
        (event("twisted.web.http.HTTPFactory", "Starting factory <Site>"), "twisted.web.http.HTTPFactory", "DEBUG"),
        (event("twisted.scripts._twistd_unix", "Server Shut Down."), "twisted.scripts._twistd_unix", "INFO"),
        (event("chat", "joined", LogLevel.warn), "chat", "WARNING"),
        (event("twisted.internet.tcp", "odd", LogLevel.error), "twisted.internet.tcp", "ERROR"),
    ],
)
def test_an_event_is_a_record(
    caplog: pytest.LogCaptureFixture, observed: dict[str, Any], name: str, level: str
) -> None:
    """Of the logger of its namespace; what Twisted tells of ports and factories is for debugging."""
    with caplog.at_level(logging.DEBUG), caplog.at_level(logging.DEBUG, "twisted"):
        RecordingObserver()(observed)
    [record] = caplog.records
    assert (record.name, record.levelname, record.getMessage()) == (name, level, observed["text"])


def test_a_failure_has_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    """As the record's exception, not in its text."""
    try:
        raise ValueError("no such book")
    except ValueError:
        failure = Failure()
    RecordingObserver()(event("twisted.internet.defer", "Unhandled error", LogLevel.critical, log_failure=failure))
    [record] = caplog.records
    assert record.getMessage() == "Unhandled error"
    assert record.exc_info is not None
    assert record.exc_info[1] is failure.value


def test_a_warning_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """Of Python's own logger for warnings, where it came from first."""
    RecordingObserver()(
        {"warning": "old", "category": "builtins.DeprecationWarning", "filename": "/shop.py", "lineno": 3}
    )
    [record] = caplog.records
    assert (record.name, record.levelname) == ("py.warnings", "WARNING")
    assert record.getMessage() == "/shop.py:3: DeprecationWarning: old"


def test_an_event_that_cannot_be_told_harms_nobody() -> None:
    """It is lost."""
    RecordingObserver()({"warning": "old", "category": None})
