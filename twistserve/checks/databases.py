"""Checks of databases' settings; no database is asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from twistserve.checks.in_force import InForce, in_force
from twistserve.checks.messages import check, warning

_POOL_SIZE = 4
"""psycopg_pool's `min_size`, and so its `max_size`, where neither is given."""


@check("DATABASES")
def kept_connections_are_checked() -> Iterator[Any]:
    """A connection that is kept for later requests is asked for its health before one uses it."""
    for alias, database in _databases():
        # A file does not hang up.
        if database.get("CONN_HEALTH_CHECKS") or _is_file(database):
            continue
        if _pooled(database):
            keeps, whose = "a pool", "connection of the pool"
        elif not _pool(database) and database.get("CONN_MAX_AGE", 0) != 0:
            keeps, whose = f"CONN_MAX_AGE {database['CONN_MAX_AGE']!r}", "thread"
        else:
            continue
        yield warning(
            8,
            f"The database {alias!r} has {keeps} without CONN_HEALTH_CHECKS: after a restart of the database, a request"
            f" of each {whose} fails on a connection that is gone.",
            f"Set DATABASES[{alias!r}]['CONN_HEALTH_CHECKS'] = True.",
        )


@check("DATABASES")
def pools_have_a_connection_for_each_thread() -> Iterator[Any]:
    """No pool is smaller than the number of threads that use it, where that is known."""
    yield from _small_pools(known=True)


@check("DATABASES")
def pools_have_a_connection_for_each_default_thread() -> Iterator[Any]:
    """The same of the default, for check --deploy: a command line may say otherwise."""
    yield from _small_pools(known=False)


def _small_pools(known: bool) -> Iterator[Any]:
    options: InForce = in_force()
    if options.is_known("threads") is not known:
        return
    threads = options.configuration.threads
    for alias, database in _databases():
        size = _pool_size(database)
        if size is not None and threads > size:
            yield warning(
                9,
                f"The {threads} threads of --threads share the {size} connections that the pool of the database"
                f" {alias!r} has in a process: requests wait for one, and fail when that takes too long.",
                f"Set DATABASES[{alias!r}]['OPTIONS']['pool'] = {{'max_size': {threads}}} at least, or --threads to"
                f" {size}.",
            )


def _databases() -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each alias with its settings; what is no dictionary is Django's to refuse."""
    from django.conf import settings

    for alias, database in settings.DATABASES.items():
        if isinstance(database, Mapping):
            yield alias, database


def _is_file(database: Mapping[str, Any]) -> bool:
    """Whether it is SQLite, under any backend's name."""
    engine = str(database.get("ENGINE", ""))
    return "sqlite" in engine or "spatialite" in engine


def _pool(database: Mapping[str, Any]) -> Any:
    return (database.get("OPTIONS") or {}).get("pool")


def _pooled(database: Mapping[str, Any]) -> bool:
    """Whether it has a pool of psycopg_pool. Oracle's has other options, and gives out healthy connections alone."""
    return bool(_pool(database)) and "oracle" not in str(database.get("ENGINE", ""))


def _pool_size(database: Mapping[str, Any]) -> int | None:
    """The most connections of a pool of psycopg_pool, in each process; None without one."""
    if not _pooled(database):
        return None
    pool = _pool(database)
    sizes = pool if isinstance(pool, Mapping) else {}
    smallest: int = sizes.get("min_size", _POOL_SIZE)
    largest: int | None = sizes.get("max_size")
    return smallest if largest is None else largest
