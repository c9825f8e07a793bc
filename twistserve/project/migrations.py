"""Migrations before serving: waiting for them, or applying them once, however many instances start together.

Everything here blocks, and runs in the start-up's thread.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from typing import Any

from twistserve.backoff import backoff
from twistserve.errors import StartError, describe
from twistserve.logs import get_logger
from twistserve.logs.containment import contain
from twistserve.project.startup import CommandFailed, Progress, call

logger = get_logger(__name__)

PAUSE = backoff(0.25, 8.0)
"""Seconds before looking again."""


def wait_for_migrations(progress: Progress) -> None:
    """Return when no migration is unapplied on any database that has migrations."""
    for alias in migrated_databases():
        pauses = map(PAUSE, count())
        while names := _unapplied(alias, progress):
            progress.say(f"{len(names)} unapplied on {alias!r}, the first is {names[0]}")
            progress.pause(next(pauses))


def apply_migrations(progress: Progress) -> None:
    """Apply what is unapplied, one instance at a time. Raises `StartError` if a migration fails."""
    from django.db import InterfaceError, OperationalError

    for alias in migrated_databases():
        # Without the lock first: instances with nothing to do do not wait for one another.
        while _unapplied(alias, progress):
            try:
                with _lock(alias, progress):
                    _apply(alias, progress)
            except (OperationalError, InterfaceError) as error:
                logger.warning("the database %r has failed: %s", alias, describe(error))
                progress.pause(PAUSE(0))


def _apply(alias: str, progress: Progress) -> None:
    planned = _whole_plan(alias)
    names = _with_effect(planned, alias)
    if not names:
        return
    progress.say(f"applying {len(names)} to {alias!r}")
    # It marks as applied those too that have nothing to do there.
    command = _migrate_command(len(planned), alias, progress)
    try:
        call(["migrate", "--noinput", "--database", alias], command)
    except CommandFailed as failed:
        message = f"--check-migrations-apply: migrating the database {alias!r} failed: {failed}"
        raise StartError(message) from failed.__cause__
    if left := plan(alias):
        raise StartError(
            f"--check-migrations-apply: migrate has left {len(left)} unapplied on {alias!r}, the first is {left[0]}"
        )


def _migrate_command(total: int, alias: str, progress: Progress) -> Any:
    """The command migrate, which an app may have replaced; it shows which migration runs, where it is Django's."""
    from django.core.management import get_commands, load_command_class

    found: Any = get_commands()["migrate"]
    command: Any = load_command_class(found, "migrate") if isinstance(found, str) else found
    tell = getattr(command, "migration_progress_callback", None)
    if tell is None:
        return command
    begun = count(1)

    def show(action: str, migration: object) -> None:
        if action == "apply_start":
            progress.show(f"{migration} ({next(begun)} of {total} on {alias!r})")

    def told(action: str, migration: object = None, fake: bool = False) -> None:
        contain(show, action, migration)
        tell(action, migration, fake)

    command.migration_progress_callback = told
    return command


def migrated_databases() -> list[str]:
    """The databases that have migrations: those on which the routers allow some app's."""
    from django.db import connections
    from django.db.migrations.loader import MigrationLoader

    apps = MigrationLoader(None, ignore_no_migrations=True).migrated_apps
    return [
        alias
        for alias in connections
        if connections.settings[alias]["ENGINE"] != "django.db.backends.dummy"
        and any(_allowed(alias, app) for app in apps)
    ]


def _allowed(alias: str, app: str) -> bool:
    """Whether the routers let this app's migrations do something on the database: as a whole, or for some model."""
    from django.apps import apps
    from django.db import router

    return router.allow_migrate(alias, app) or any(
        router.allow_migrate_model(alias, model) for model in apps.get_app_config(app).get_models()
    )


def _unapplied(alias: str, progress: Progress) -> list[str]:
    """The names of unapplied migrations, in order; waits for a database that is not up yet."""
    from django.db import InterfaceError, OperationalError, connections

    for pause in map(PAUSE, count()):
        try:
            return plan(alias)
        except (OperationalError, InterfaceError) as error:
            # The reason may name hosts and users: it is for the log alone.
            logger.warning("the database %r does not answer, or refuses us: %s", alias, describe(error))
            progress.say(f"the database {alias!r} does not answer, or refuses us: see the log")
        finally:
            connections[alias].close()
        progress.pause(pause)
    raise AssertionError


def plan(alias: str) -> list[str]:
    """The names of unapplied migrations, in order, by this thread's connection."""
    return _with_effect(_whole_plan(alias), alias)


def _whole_plan(alias: str) -> list[Any]:
    """The unapplied migrations, in order."""
    from django.db import connections
    from django.db.migrations.executor import MigrationExecutor

    executor = MigrationExecutor(connections[alias])
    return [each for each, _ in executor.migration_plan(executor.loader.graph.leaf_nodes())]


def _with_effect(migrations: Sequence[Any], alias: str) -> list[str]:
    """The names of those that have something to do there: who migrates app by app has left out the others."""
    return [str(each) for each in migrations if _allowed(alias, each.app_label)]


@contextmanager
def _lock(alias: str, progress: Progress) -> Iterator[None]:
    """Hold the database's lock for migrating, on this thread's connection: it ends with the connection."""
    from django.db import connections

    connection = connections[alias]
    if connection.vendor not in _LOCKS:
        raise StartError(
            f"--check-migrations-apply: no lock is known for the database {alias!r} ({connection.display_name}):"
            " migrate it elsewhere, and give --check-migrations"
        )
    lock = _LOCKS[connection.vendor](connection)
    try:
        # Short pauses: waiting here holds up a start, and a look costs one cheap query.
        while not lock.take():
            progress.say(f"another instance applies those of {alias!r}")
            progress.pause(PAUSE(0))
        try:
            yield
        finally:
            lock.release()
    finally:
        connection.close()


class _SessionLock:
    """A lock that the database's server gives to a connection; `take` and `release` are queries about its `key`."""

    def __init__(self, connection: Any, take: str, release: str, key: object) -> None:
        self._connection = connection
        self._take = take
        self._release = release
        self._key = key

    def take(self) -> bool:
        """Whether it is ours now."""
        return bool(self._ask(self._take))

    def release(self) -> None:
        """Let it go: a connection that goes back to a pool keeps its session."""
        with suppress(Exception):
            self._ask(self._release)

    def _ask(self, query: str) -> object:
        with self._connection.cursor() as cursor:
            cursor.execute(query, [self._key])
            return cursor.fetchone()[0]


def _postgresql_lock(connection: Any) -> _SessionLock:
    """An advisory lock; needs a session of its own, so no pooler that shares them."""
    key = int.from_bytes(hashlib.sha256(b"twistserve migrations").digest()[:8], signed=True)
    return _SessionLock(connection, "SELECT pg_try_advisory_lock(%s)", "SELECT pg_advisory_unlock(%s)", key)


def _mysql_lock(connection: Any) -> _SessionLock:
    """GET_LOCK, whose names are the server's, not the database's; MySQL and MariaDB."""
    key = "twistserve-" + hashlib.sha256(str(connection.settings_dict["NAME"]).encode()).hexdigest()[:32]
    return _SessionLock(connection, "SELECT GET_LOCK(%s, 0)", "SELECT RELEASE_LOCK(%s)", key)


class _SQLiteLock:
    """A lock file beside the database's, removed when done; a database in memory needs none."""

    def __init__(self, connection: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA database_list")
            path = next(row[2] for row in cursor.fetchall() if row[1] == "main")
        self._path = f"{path}.migrating" if path else ""
        self._descriptor = -1

    def take(self) -> bool:
        if not self._path:
            return True
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Who held it before has removed it perhaps, and somebody else made it anew.
            if os.fstat(descriptor).st_ino == os.stat(self._path).st_ino:
                self._descriptor = descriptor
                return True
        except (BlockingIOError, FileNotFoundError):
            pass
        os.close(descriptor)
        return False

    def release(self) -> None:
        if self._path:
            with suppress(OSError):
                os.unlink(self._path)
            os.close(self._descriptor)


_LOCKS: dict[str, Callable[[Any], _SessionLock | _SQLiteLock]] = {
    "postgresql": _postgresql_lock,
    "mysql": _mysql_lock,
    "sqlite": _SQLiteLock,
}
