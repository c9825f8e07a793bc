"""The locks that migrations are applied under, and how a database is waited for; without Django's settings."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError

from twistserve.errors import StartError
from twistserve.project import migrations
from twistserve.project.startup import Cancelled

HOLD = """
import fcntl, os, sys, time
descriptor = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(descriptor, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(600)
"""


class Progress:
    """Notes what is said and how long the pauses are; in a pause the world goes on."""

    def __init__(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        self.said: list[str] = []
        self.pauses: list[float] = []
        self._meanwhile = meanwhile

    def say(self, detail: str) -> None:
        self.said.append(detail)

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self._meanwhile()


class Connection:
    """What the locks need of Django's connections, on any function that answers queries."""

    def __init__(self, vendor: str, answer: Callable[[str, Any], Any], name: str = "shop") -> None:
        self.vendor = self.display_name = vendor
        self.settings_dict = {"NAME": name}
        self._answer = answer
        self.closed = False

    @contextmanager
    def cursor(self) -> Iterator[Any]:
        yield self

    def execute(self, query: str, parameters: Any = None) -> None:
        self._row = self._answer(query, parameters)

    def fetchone(self) -> Any:
        return self._row

    def close(self) -> None:
        self.closed = True


class SQLiteConnection(Connection):
    """A connection to a real SQLite database."""

    def __init__(self, path: Path | str) -> None:
        super().__init__("sqlite", lambda *query: None)
        self._path = path

    @contextmanager
    def cursor(self) -> Iterator[Any]:
        with closing(sqlite3.connect(self._path)) as connection, closing(connection.cursor()) as cursor:
            yield cursor


Connect = Callable[[Connection], None]


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Connect:
    """Make this connection the one to the database `default`."""
    return lambda connection: monkeypatch.setattr("django.db.connections", {"default": connection})


def lock(progress: Progress) -> Any:
    return migrations._lock("default", progress)  # type: ignore[arg-type]


# SQLite: a file beside the database


@pytest.fixture
def lock_file(connect: Connect, tmp_path: Path) -> Path:
    """Where the lock of the database `default` is, which is a new one."""
    connect(SQLiteConnection(tmp_path / "shop.sqlite3"))
    return tmp_path / "shop.sqlite3.migrating"


@pytest.fixture
def holder(lock_file: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that holds the lock."""
    with subprocess.Popen([sys.executable, "-c", HOLD, str(lock_file)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_the_lock_of_sqlite_is_removed_after_use(lock_file: Path) -> None:
    """The lock file exists as long as the lock is held, whatever happens meanwhile."""

    def fail() -> None:
        assert lock_file.exists()
        raise RuntimeError

    with pytest.raises(RuntimeError), lock(Progress()):
        fail()
    assert not lock_file.exists()


def test_the_lock_of_sqlite_is_left_over_by_a_dead_process(lock_file: Path, holder: subprocess.Popen[bytes]) -> None:
    """A file that a killed process has left is in nobody's way, and is removed too."""
    holder.kill()
    holder.wait()
    progress = Progress()
    with lock(progress):
        assert lock_file.exists()
    assert progress.pauses == []
    assert not lock_file.exists()


def test_the_lock_of_sqlite_is_held_by_another_process(lock_file: Path, holder: subprocess.Popen[bytes]) -> None:
    """While another process holds it, it is asked for again; it is had when that one has died."""

    def meanwhile() -> None:
        assert lock_file.exists()
        if len(progress.pauses) == 3:
            holder.kill()
            holder.wait()

    progress = Progress(meanwhile)
    with lock(progress):
        assert len(progress.pauses) == 3
    assert set(progress.said) == {"another instance applies those of 'default'"}
    assert not lock_file.exists()


def test_the_lock_of_sqlite_is_not_had_by_a_file_that_was_removed(
    lock_file: Path, holder: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who opened the file just before it was removed does not take the removed one for the lock."""
    opened, real_open = [], os.open

    def open_and_lose(path: str, *args: Any) -> int:
        opened.append(real_open(path, *args))
        if len(opened) == 1:
            os.unlink(path)
            holder.kill()
            holder.wait()
        return opened[-1]

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", open_and_lose)
        with lock(Progress()):
            assert len(opened) == 2
            assert os.fstat(opened[1]).st_ino == lock_file.stat().st_ino
    assert not lock_file.exists()


def test_cancelled_while_another_process_holds_the_lock_of_sqlite(
    lock_file: Path, holder: subprocess.Popen[bytes]
) -> None:
    """Who stops waiting leaves the lock to whom it belongs."""

    def cancel() -> None:
        raise Cancelled

    with pytest.raises(Cancelled), lock(Progress(cancel)):
        raise AssertionError
    assert lock_file.exists()


def test_a_database_in_memory_has_no_lock_file(
    connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that no other process can see needs no lock."""
    monkeypatch.chdir(tmp_path)
    connect(SQLiteConnection(":memory:"))
    with lock(Progress()):
        assert list(tmp_path.iterdir()) == []


# PostgreSQL and MySQL: locks of the session


class DatabaseServer:
    """The locks of a database server, which several sessions ask for."""

    def __init__(self) -> None:
        self.holders: dict[object, str] = {}

    def session(self, name: str, vendor: str, database: str = "shop") -> Connection:
        def answer(query: str, parameters: list[object]) -> tuple[object]:
            [key] = parameters
            if "pg_try_advisory_lock(" in query or "GET_LOCK(%s, 0)" in query:
                return (self.holders.setdefault(key, name) == name,)
            assert "pg_advisory_unlock(" in query or "RELEASE_LOCK(" in query
            return (self.holders.pop(key, None) == name,)

        return Connection(vendor, answer, database)


SESSION_LOCKS = pytest.mark.parametrize("vendor", ["postgresql", "mysql"])


@SESSION_LOCKS
def test_the_lock_of_a_session_is_released_after_use(connect: Connect, vendor: str) -> None:
    """The lock is the session's as long as it is held, whatever happens meanwhile; then the session is closed."""
    server = DatabaseServer()
    session = server.session("ours", vendor)
    connect(session)

    def fail() -> None:
        assert list(server.holders.values()) == ["ours"]
        raise RuntimeError

    with pytest.raises(RuntimeError), lock(Progress()):
        fail()
    assert server.holders == {}
    assert session.closed


@SESSION_LOCKS
def test_the_lock_of_another_session_is_waited_for(connect: Connect, vendor: str) -> None:
    """While another session holds it, it is asked for again; it is had when that one has ended."""
    server = DatabaseServer()

    def meanwhile() -> None:
        assert list(server.holders.values()) == ["theirs"]
        if len(progress.pauses) == 3:
            server.holders.clear()

    progress = Progress(meanwhile)
    connect(server.session("theirs", vendor))
    with lock(Progress()):
        connect(server.session("ours", vendor))
        with lock(progress):
            assert list(server.holders.values()) == ["ours"]
    assert len(progress.pauses) == 3
    assert set(progress.said) == {"another instance applies those of 'default'"}


@SESSION_LOCKS
def test_a_session_that_is_lost_has_lost_its_lock(connect: Connect, vendor: str) -> None:
    """Where the session broke off, the error of the work is what is raised, not that of the release."""

    def answer(query: str, parameters: object) -> tuple[object]:
        if "unlock" in query or "RELEASE" in query:
            raise OperationalError("the connection is closed")
        return (1,)

    session = Connection(vendor, answer)
    connect(session)
    with pytest.raises(OperationalError, match="server has gone away"), lock(Progress()):
        raise OperationalError("server has gone away")
    assert session.closed


def test_names_of_locks_of_mysql(connect: Connect) -> None:
    """GET_LOCK's names are the server's: they differ by database, and may have 64 characters at most."""
    server = DatabaseServer()
    names: set[str] = set()
    for database in ("shop", "forum", "d" * 64):
        connect(server.session("ours", "mysql", database))
        with lock(Progress()):
            names.update(map(str, server.holders))
    assert len(names) == 3
    assert all(len(name) <= 64 for name in names)


def test_get_lock_that_fails_is_not_the_lock(connect: Connect) -> None:
    """GET_LOCK answers NULL when it could not do it: that is not the lock."""
    answers = iter([(None,), (0,), (1,), (1,)])
    connect(Connection("mysql", lambda query, parameters: next(answers)))
    progress = Progress()
    with lock(progress):
        assert len(progress.pauses) == 2


def test_a_database_without_a_known_lock(connect: Connect) -> None:
    """On other databases nothing is applied; the error names the database and what to do instead."""
    connect(Connection("oracle", lambda query, parameters: None))
    with pytest.raises(StartError, match=r"'default' .oracle.*--check-migrations$"), lock(Progress()):
        raise AssertionError


# Waiting for the database


def test_a_database_that_does_not_answer_is_asked_again_after_growing_pauses(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each pause is twice the one before, up to 8 seconds; the reason is for the log alone."""

    def plan(alias: str) -> list[str]:
        if len(progress.pauses) < 7:
            raise OperationalError("no route to db.internal")
        return []

    progress = Progress()
    connect(Connection("postgresql", lambda query, parameters: None))
    monkeypatch.setattr(migrations, "migrated_databases", lambda: ["default"])
    monkeypatch.setattr(migrations, "plan", plan)
    migrations.wait_for_migrations(progress)  # type: ignore[arg-type]
    assert progress.pauses == [0.25, 0.5, 1, 2, 4, 8, 8]
    assert progress.said == 7 * ["the database 'default' does not answer, or refuses us: see the log"]
    assert [("default" in line, "db.internal" in line) for line in caplog.messages] == 7 * [(True, True)]
