"""Checks of databases' settings."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.checks import found, told
from twistserve.checks.databases import (
    kept_connections_are_checked,
    pools_have_a_connection_for_each_default_thread,
    pools_have_a_connection_for_each_thread,
)

POSTGRESQL = "django.db.backends.postgresql"


def databases(engine: str = POSTGRESQL, **values: Any) -> dict[str, Any]:
    """Settings with a database named shop beside the default."""
    return {"DATABASES": {"default": {"ENGINE": "django.db.backends.sqlite3"}, "shop": {"ENGINE": engine, **values}}}


@pytest.mark.parametrize("age", [60, None, -1])
def test_kept_connections_that_are_not_checked(age: int | None) -> None:
    """The database is named, and the setting that is missing."""
    [text] = told(found(kept_connections_are_checked, databases(CONN_MAX_AGE=age)))
    assert text.startswith(f"(twistserve.W008) The database 'shop' has CONN_MAX_AGE {age!r} without CONN_HEALTH_CHECKS")
    assert text.endswith("HINT: Set DATABASES['shop']['CONN_HEALTH_CHECKS'] = True.")


@pytest.mark.parametrize("pool", [True, {"max_size": 8}])
def test_pools_whose_connections_are_not_checked(pool: Any) -> None:
    """psycopg_pool gives out a connection as it is, unless Django tells it to look."""
    [text] = told(found(kept_connections_are_checked, databases(OPTIONS={"pool": pool})))
    assert text.startswith("(twistserve.W008) The database 'shop' has a pool without CONN_HEALTH_CHECKS")
    assert "a request of each connection of the pool fails" in text
    assert text.endswith("HINT: Set DATABASES['shop']['CONN_HEALTH_CHECKS'] = True.")


@pytest.mark.parametrize(
    "settings",
    [
        {},
        databases(),
        databases(CONN_MAX_AGE=0),
        databases(CONN_MAX_AGE=60, CONN_HEALTH_CHECKS=True),
        databases(CONN_HEALTH_CHECKS=True, OPTIONS={"pool": True}),
        databases(OPTIONS={"pool": {}}),
        databases("django.db.backends.oracle", OPTIONS={"pool": True}),
        databases("django.db.backends.sqlite3", CONN_MAX_AGE=None),
        databases("django_prometheus.db.backends.sqlite3", CONN_MAX_AGE=None),
        databases("django.contrib.gis.db.backends.spatialite", CONN_MAX_AGE=None),
        {"DATABASES": {"shop": "postgresql://shop"}},
    ],
)
def test_connections_that_are_as_they_should_be(settings: dict[str, Any]) -> None:
    """They are not kept, or checked, or Oracle's pool's, or a file's; what is no dictionary is Django's to refuse."""
    assert found(kept_connections_are_checked, settings) == []


def small(pool: Any, threads: int, engine: str = POSTGRESQL) -> list[Any]:
    settings = databases(engine, OPTIONS={"pool": pool})
    return found(pools_have_a_connection_for_each_thread, settings, server={"threads": threads})


@pytest.mark.parametrize(
    ("pool", "size"),
    [
        (True, 4),
        ({"timeout": 3}, 4),
        ({"min_size": 2}, 2),
        ({"min_size": 2, "max_size": None}, 2),
        ({"min_size": 2, "max_size": 7}, 7),
        ({"max_size": 7}, 7),
    ],
)
def test_a_pool_has_a_size(pool: Any, size: int) -> None:
    """As psycopg_pool has it: as many threads are served, one more is not."""
    assert small(pool, size) == []
    [text] = told(small(pool, size + 1))
    assert text.startswith(f"(twistserve.W009) The {size + 1} threads of --threads share the {size} connections that")
    assert f"{{'max_size': {size + 1}}} at least, or --threads to {size}." in text


@pytest.mark.parametrize("pool", [None, False, {}])
def test_no_pool(pool: Any) -> None:
    """Django takes these for none: each thread has a connection of its own."""
    assert small(pool, 100) == []
    assert found(pools_have_a_connection_for_each_thread, databases(OPTIONS=None), server={}) == []


def test_a_pool_of_another_kind() -> None:
    """Oracle's is not judged."""
    assert small(True, 100, "django.db.backends.oracle") == []


def test_threads_that_only_a_command_line_may_tell() -> None:
    """With the default the deployment check warns alone; with what is given, or in the server, the ordinary one."""
    ordinary, deployment = (
        pools_have_a_connection_for_each_thread,
        pools_have_a_connection_for_each_default_thread,
    )
    settings = databases(OPTIONS={"pool": True})
    environ = {"TWISTSERVE_THREADS": "8"}
    assert [len(found(check, settings)) for check in (ordinary, deployment)] == [0, 1]
    assert [len(found(check, settings, environ)) for check in (ordinary, deployment)] == [1, 0]
    assert [len(found(check, settings, server={})) for check in (ordinary, deployment)] == [1, 0]
