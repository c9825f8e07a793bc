"""Connections of a check's own, on databases of SQLite."""

from __future__ import annotations

import gc
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.db.utils import ConnectionHandler

from tests.support.django_settings import unconfigured
from twistserve.probes.databases import databases, own_connections, ping


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """Connections to two databases, of which one is in a file that holds none, and to none."""
    sqlite = "django.db.backends.sqlite3"
    (tmp_path / "broken").write_bytes(b"x" * 4096)
    made = ConnectionHandler(
        {
            "default": {"ENGINE": sqlite, "NAME": str(tmp_path / "db")},
            "broken": {"ENGINE": sqlite, "NAME": str(tmp_path / "broken")},
            "dummy": {"ENGINE": "django.db.backends.dummy"},
        }
    )
    with unconfigured() as settings:
        assert isinstance(settings, LazySettings)
        settings.configure()
        monkeypatch.setattr("django.db.connections", made)
        monkeypatch.setattr("django.apps.apps.ready", True)
        yield made
        made.close_all()


def test_the_projects_databases(connections: Any) -> None:
    """Those that there are; Django calls its lack of one a database."""
    assert databases() == ["default", "broken"]


def test_a_query(connections: Any) -> None:
    """It is a real one: SQLite opens its file only when something is read from it."""
    ping("default")
    from django.db import DatabaseError

    # What Django leaves of a connection that it could not make is finalized here, where that may warn (Python 3.13).
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        with pytest.raises(DatabaseError, match="file is not a database"):
            ping("broken")
        gc.collect()


@pytest.mark.parametrize("error", [None, LookupError()])
def test_connections_are_closed_afterwards(connections: Any, error: Exception | None) -> None:
    """Whatever the block raises."""
    try:
        with own_connections():
            connections["default"].ensure_connection()
            assert connections["default"].connection is not None
            if error is not None:
                raise error
    except LookupError:
        pass
    assert connections["default"].connection is None


def test_a_check_does_not_wait_for_a_pool(connections: Any) -> None:
    """Where the project has one, the check's own connection comes out of none, and the project's settings stay."""
    options = {"pool": {"max_size": 1}, "timeout": 3}
    connections.settings["default"]["OPTIONS"] = options
    seen: list[dict[str, Any]] = []

    def check() -> None:
        with own_connections():
            seen.append(dict(connections["default"].settings_dict["OPTIONS"]))

    thread = threading.Thread(target=check)
    thread.start()
    thread.join()
    assert seen == [{"timeout": 3}]
    assert connections.settings["default"]["OPTIONS"] == options
