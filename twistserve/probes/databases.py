"""Database connections of a check's own: never a request's, and closed afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def own_connections() -> Iterator[None]:
    """Give this thread connections of its own while the block runs, out of no pool, and close them.

    A thread's connections are its own in Django whatever CONN_MAX_AGE is, but those of `OPTIONS["pool"]` (psycopg's,
    Oracle's) come out of one pool of the process: a check would wait for requests that have taken all of it, and
    would find a connection that was made long ago.
    """
    from django.db import connections

    for alias in connections:
        if connections[alias].settings_dict.get("OPTIONS", {}).get("pool"):
            connection = connections.create_connection(alias)
            options = {name: value for name, value in connection.settings_dict["OPTIONS"].items() if name != "pool"}
            connection.settings_dict = {**connection.settings_dict, "OPTIONS": options}
            connections[alias] = connection
    try:
        yield
    finally:
        connections.close_all()


def ping(alias: str) -> None:
    """Send a real query on a connection made for it."""
    from django.db import connections

    with own_connections():
        connection = connections[alias]
        # SQLite opens its file only when something is read from it.
        query = (
            "SELECT count(*) FROM sqlite_master"
            if connection.vendor == "sqlite"
            else f"SELECT 1{connection.features.bare_select_suffix}"
        )
        with connection.cursor() as cursor:
            cursor.execute(query)
            cursor.fetchone()


def databases() -> list[str]:
    """The aliases of the project's databases."""
    from django.db import connections

    return [alias for alias in connections if connections.settings[alias]["ENGINE"] != "django.db.backends.dummy"]
