"""A handler's call: Django's connections are looked at before and after it, and whatever it raises is returned."""

from __future__ import annotations

import django.db
import pytest

from tests.support.amqp import message
from twistserve.amqp import Handler, Message
from twistserve.amqp.calls import HandlerCall
from twistserve.amqp.failures import DatabaseGone


class Noting(Handler):
    def __init__(self, notes: list[str], error: BaseException | None = None) -> None:
        self.notes, self.error = notes, error

    def handle(self, message: Message) -> None:
        self.notes.append("handle")
        if self.error is not None:
            raise self.error


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    notes: list[str] = []
    monkeypatch.setattr(django.db, "close_old_connections", lambda: notes.append("close"))
    monkeypatch.setattr(django.db, "reset_queries", lambda: notes.append("reset"))
    return notes


def test_connections_are_closed_as_around_a_request(notes: list[str]) -> None:
    """Those that are too old or broken, before and after."""
    assert HandlerCall(Noting(notes))(message()) is None
    assert notes == ["reset", "close", "handle", "close"]


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(1), KeyboardInterrupt()])
def test_what_it_raises_is_returned(notes: list[str], error: BaseException) -> None:
    """What would end the thread, too."""
    assert HandlerCall(Noting(notes, error))(message()) is error
    assert notes[-1] == "close"


class Connection:
    """In place of a database connection; `error` is what connecting raises."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.told = error, list[str]()

    def close(self) -> None:
        self.told.append("close")

    def ensure_connection(self) -> None:
        self.told.append("connect")
        if self.error is not None:
            raise self.error


@pytest.mark.parametrize("kind", [django.db.OperationalError, django.db.InterfaceError])
def test_a_database_that_cannot_be_reached(
    notes: list[str], monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    """Is told from an error of a database that can: that one is the message's."""
    found = [Connection(), Connection()]
    monkeypatch.setattr(django.db.connections, "all", lambda initialized_only: found)
    error = kind("server closed the connection")
    assert HandlerCall(Noting(notes, error))(message()) is error
    assert found[0].told == found[1].told == ["close", "connect"]
    found[1].error = kind("connection refused")
    gone = HandlerCall(Noting(notes, error))(message())
    assert isinstance(gone, DatabaseGone)
    assert "server closed the connection" in str(gone)


def test_a_connection_that_cannot_be_closed(
    notes: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Before: the message has failed. After: the log says so, and the message was handled."""
    closes = iter([None, OSError("broken")])

    def close() -> None:
        if error := next(closes):
            raise error

    monkeypatch.setattr(django.db, "close_old_connections", close)
    assert HandlerCall(Noting(notes))(message()) is None
    assert "the database connections cannot be closed after the message" in caplog.text
    closes = iter([OSError("broken"), None])
    assert isinstance(HandlerCall(Noting(notes))(message()), OSError)
