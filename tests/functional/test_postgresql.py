"""A real PostgreSQL: migrations under its lock, and servers that it leaves, comes back to, or keeps waiting."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support.functional.harness import PROMPT, Reply, Serve, Server, assert_failed, wait_for
from tests.support.functional.postgresql import Cluster, postgresql
from tests.support.functional.stockroom import (
    FIRST,
    Stockroom,
    assert_waits,
    starting,
    wait_for_step,
    write_app,
    write_stockroom,
)
from tests.support.functional.websockets import WebSocket

TOGETHER = 4
"""Instances that start at the same time."""

CONNECT_TIMEOUT = 2
"""Seconds that the project grants the database to accept a connection."""

NOISE = 4.0
"""Seconds that an answer may come late on a busy machine."""

VIEWS = """
from django.db import connections
from django.http import HttpResponse
from django.urls import path

def ask(request, alias):
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT 42")
        return HttpResponse(str(cursor.fetchone()[0]))

urlpatterns = [path("<alias>/", ask)]
"""
IN_SQL = """
import os
from pathlib import Path
from django.db import migrations

def count(apps, schema_editor):
    with (Path(__file__).resolve().parents[2] / "begun").open("a") as begun:
        begun.write(f"{{schema_editor.connection.alias}} {{os.getpid()}}\\n")

class Migration(migrations.Migration):
    dependencies = [("stock", "0001_initial")]
    operations = [migrations.RunPython(count), migrations.RunSQL({statement!r})]
"""


@pytest.fixture(scope="session")
def running_cluster() -> Iterator[Cluster]:
    with postgresql() as cluster:
        yield cluster


@pytest.fixture
def cluster(running_cluster: Cluster) -> Iterator[Cluster]:
    """The server, running, which the test may stop."""
    yield running_cluster
    if running_cluster.process is None:
        running_cluster.start()


@pytest.fixture
def database(cluster: Cluster) -> str:
    """The name of a new, empty database."""
    name = f"test_{time.monotonic_ns()}"
    with cluster.connect() as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return name


@pytest.fixture
def stock(project: Callable[..., Path], cluster: Cluster, database: str) -> Stockroom:
    """The project on the new database; its alias `kept` is the same, over connections that are kept open."""
    settings = f"""
DATABASES = {{
    "default": {{
        "ENGINE": "django.db.backends.postgresql",
        "HOST": "127.0.0.1",
        "PORT": {cluster.port},
        "USER": "postgres",
        "NAME": {database!r},
        "OPTIONS": {{"connect_timeout": {CONNECT_TIMEOUT}}},
    }}
}}
DATABASES["kept"] = DATABASES["default"] | {{"CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": True}}
DATABASE_ROUTERS = ["routers.OnlyDefault"]
"""
    routers = "class OnlyDefault:\n    def allow_migrate(self, db, *args, **kwargs):\n        return db == 'default'\n"
    return write_stockroom(project, settings, views=VIEWS, routers=routers)


@pytest.fixture
def begin(serve: Serve, stock: Stockroom) -> Callable[..., Server]:
    """Start a server in the project and return at once: its start is what the test is about."""

    def starter(*args: str) -> Server:
        return serve(*args, cwd=stock.directory, settings="site_settings", until=None)

    return starter


Begin = Callable[..., Server]


@pytest.fixture
def session(cluster: Cluster, database: str) -> Iterator[psycopg.Connection[Any]]:
    """A session of the test's own on the new database."""
    with cluster.connect(database) as connection:
        yield connection


def advisory_locks(session: psycopg.Connection[Any]) -> list[int]:
    """The keys of the advisory locks that are held on this database."""
    rows = session.execute(
        "SELECT (classid::bigint << 32) | objid::bigint FROM pg_locks JOIN pg_database ON pg_database.oid = database"
        " WHERE locktype = 'advisory' AND granted AND datname = current_database()"
    )
    return [key for (key,) in rows]


@dataclass
class Visits:
    """Requests made one after another while a test goes on: their statuses and how long each took, in seconds."""

    statuses: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def wait_for(self, status: int) -> None:
        """Wait until a request made from now on is answered with this status."""
        made = len(self.statuses)
        wait_for(lambda: status in self.statuses[made + 1 :], f"an answer with {status}")


@contextmanager
def visiting(get: Callable[[], Reply]) -> Iterator[Visits]:
    """Make requests until the block ends; one that gets no answer counts as status 0."""
    visits, enough = Visits(), threading.Event()

    def visit() -> None:
        while not enough.wait(0.05):
            began = time.monotonic()
            try:
                status = get().status
            except OSError:
                status = 0
            visits.seconds.append(time.monotonic() - began)
            visits.statuses.append(status)

    visitor = threading.Thread(target=visit)
    visitor.start()
    try:
        yield visits
    finally:
        enough.set()
        visitor.join()


# Migrations


def test_waiting_for_the_database_and_then_for_its_migrations(begin: Begin, stock: Stockroom, cluster: Cluster) -> None:
    """A start waits for a database that is down, for its migrations, and for the database again when it leaves."""
    cluster.stop()
    server = begin("--check-migrations")
    assert_waits(server, "waiting for migrations", "'default'", "does not answer")
    assert str(cluster.port) not in starting(server)["output"]
    assert "connection refused" in server.stdout.lower()
    cluster.start()
    assert_waits(server, "waiting for migrations", "'default'", "stock.0001_initial")
    cluster.stop()
    wait_for_step(server, "'default'", "does not answer")
    cluster.start()
    stock.manage("migrate")
    server.wait_until()


def test_many_that_start_together_migrate_once(
    begin: Begin, stock: Stockroom, session: psycopg.Connection[Any]
) -> None:
    """Of many instances that start together one migrates, and all serve."""
    stock.hold()
    servers = [begin("--check-migrations-apply") for _ in range(TOGETHER)]
    for server in servers:
        wait_for_step(server, "applying migrations", "'default'")
    wait_for(lambda: stock.begun, "the migration to begin")
    assert len(advisory_locks(session)) == 1
    stock.go()
    for server in servers:
        server.wait_until()
        assert server.get("/default/").text == "42"
    assert len(stock.begun) == 1
    assert advisory_locks(session) == []


def test_the_lock_is_asked_for_only_where_something_is_unapplied(
    begin: Begin, stock: Stockroom, session: psycopg.Connection[Any]
) -> None:
    """While somebody else holds the lock, an instance with nothing to do starts; another waits, and can be ended."""
    stock.hold()
    first = begin("--check-migrations-apply")
    stock.wait_until_begun(first)
    [key] = advisory_locks(session)
    stock.go()
    first.wait_until()
    assert session.execute("SELECT pg_try_advisory_lock(%s)", [key]).fetchone() == (True,)
    begin("--check-migrations-apply").wait_until()

    stock.manage("migrate", "stock", "zero")
    ended, waiting = begin("--check-migrations-apply"), begin("--check-migrations-apply")
    for server in (ended, waiting):
        assert_waits(server, "applying migrations", "another instance", "'default'")
    ended.signal(signal.SIGTERM)
    assert ended.wait(PROMPT) == 0, ended.output
    assert ended.stderr == ""
    assert len(stock.begun) == 1
    session.execute("SELECT pg_advisory_unlock(%s)", [key])
    waiting.wait_until()
    assert len(stock.begun) == 2


def test_another_takes_over_from_one_that_is_killed(begin: Begin, stock: Stockroom) -> None:
    """When the instance that migrates dies half-way, one that waits migrates in its place."""
    stock.hold()
    first = begin("--check-migrations-apply")
    stock.wait_until_begun(first)
    second = begin("--check-migrations-apply")
    wait_for_step(second, "another instance", "'default'")
    first.kill()
    stock.wait_until_begun(second, 2)
    stock.go()
    second.wait_until()
    assert len(stock.begun) == 2


def test_nobody_takes_over_while_the_statement_of_one_that_is_killed_still_runs(
    begin: Begin, stock: Stockroom, session: psycopg.Connection[Any]
) -> None:
    """What a dead instance has asked the database for goes on in there; until it ends, nobody else migrates."""
    write_app(stock.directory, "stock", FIRST, IN_SQL.format(statement="SELECT pg_advisory_xact_lock(42)"))
    session.execute("SELECT pg_advisory_lock(42)")
    first = begin("--check-migrations-apply")
    stock.wait_until_begun(first)

    def attempts() -> set[object]:
        """When sessions last asked for the lock, as far as the database remembers."""
        return {
            began
            for (began,) in session.execute(
                "SELECT query_start FROM pg_stat_activity WHERE query LIKE '%pg_try_advisory_lock%' AND datname ="
                " current_database() AND pid <> pg_backend_pid()"
            )
        }

    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 42 AND NOT granted"
    wait_for(lambda: session.execute(waiting).fetchone() == (1,), "the statement to run")
    second = begin("--check-migrations-apply")
    wait_for_step(second, "another instance", "'default'")
    first.kill()
    for _ in range(3):
        before = attempts()
        wait_for(lambda before=before: attempts() - before, "the second instance to ask for the lock again")  # type: ignore[misc]
    assert session.execute(waiting).fetchone() == (1,)
    assert len(stock.begun) == 1
    session.execute("SELECT pg_advisory_unlock(42)")
    second.wait_until()
    assert len(stock.begun) == 2


def test_another_takes_over_after_the_database_has_gone(begin: Begin, stock: Stockroom, cluster: Cluster) -> None:
    """When the database goes, the instance that migrates fails; one that waits for the lock waits for the database."""
    stock.hold()
    first = begin("--check-migrations-apply")
    stock.wait_until_begun(first)
    second, third = begin("--check-migrations-apply"), begin("--check-migrations-apply")
    for server in (second, third):
        wait_for_step(server, "another instance", "'default'")
    cluster.stop()
    stock.go()
    assert_failed(first, "--check-migrations-apply", "'default'", "OperationalError")
    for server in (second, third):
        assert_waits(server, "applying migrations", "'default'", "does not answer")
    third.signal(signal.SIGTERM)
    assert third.wait(PROMPT) == 0, third.output
    cluster.start()
    second.wait_until()
    assert len(stock.begun) == 2


def test_a_migration_that_fails(begin: Begin, stock: Stockroom, session: psycopg.Connection[Any]) -> None:
    """A migration that fails ends the start with status 1 and the database's own error; the lock is free again."""
    write_app(stock.directory, "stock", FIRST, IN_SQL.format(statement="INSERT INTO boxes VALUES (1)"))
    server = begin("--check-migrations-apply")
    assert_failed(server, "--check-migrations-apply", "'default'", 'relation "boxes" does not exist')
    wait_for(lambda: not advisory_locks(session), "the lock to be free")
    session.execute("CREATE TABLE boxes (number integer)")
    begin("--check-migrations-apply").wait_until()
    assert session.execute("SELECT number FROM boxes").fetchall() == [(1,)]


def test_a_database_that_hangs_while_starting(begin: Begin, stock: Stockroom, cluster: Cluster) -> None:
    """A database that hangs is waited for too, new or in the middle of a session; SIGTERM ends the wait, with 0."""
    stock.hold()
    first = begin("--check-migrations-apply")
    stock.wait_until_begun(first)
    locked_out = begin("--check-migrations-apply")
    wait_for_step(locked_out, "another instance", "'default'")
    with cluster.frozen():
        ended, waiting = begin("--check-migrations"), begin("--check-migrations")
        for server in (ended, waiting):
            assert_waits(server, "waiting for migrations", "'default'", "does not answer")
        for server in (ended, locked_out):
            server.signal(signal.SIGTERM)
        for server in (ended, locked_out):
            assert server.wait(PROMPT) == 0, server.output
            assert server.stderr == ""
    stock.go()
    for server in (first, waiting):
        server.wait_until()
    assert len(stock.begun) == 1


# While serving


def test_a_database_that_is_stopped_and_started(begin: Begin, cluster: Cluster) -> None:
    """While the database is down requests fail in time and readiness says why; all recovers by itself, always alive."""
    server = begin().wait_until()
    with (
        visiting(lambda: server.probe("/alive")) as alive,
        visiting(lambda: server.get("/default/")) as fresh,
        visiting(lambda: server.get("/kept/")) as kept,
    ):
        for visits in (fresh, kept):
            visits.wait_for(200)
        cluster.stop()
        server.wait_until("/ready", 503)
        checks = server.probe("/ready").json()["checks"]
        assert {checks[name][0]["status"] for name in ("database:default", "database:kept")} == {"fail"}
        for visits in (fresh, kept):
            visits.wait_for(500)
        cluster.start()
        server.wait_until("/ready")
        for visits in (fresh, kept):
            visits.wait_for(200)
        recovered = {server.get(path).status for path in 2 * 8 * ["/default/", "/kept/"]}
    assert recovered == {200}
    assert set(alive.statuses) == {200}
    assert set(fresh.statuses) == set(kept.statuses) == {200, 500}
    assert max(fresh.seconds + kept.seconds) < CONNECT_TIMEOUT + NOISE


def test_a_database_that_hangs(begin: Begin, cluster: Cluster) -> None:
    """A database that accepts connections and says nothing fails readiness in time, and requests after its timeout."""
    server = begin("--check-timeout", "1").wait_until()

    def hangs() -> dict[str, Any]:
        began = time.monotonic()
        reply = server.probe("/ready")
        assert time.monotonic() - began < 1 + NOISE
        return reply.json()["checks"] if reply.status == 503 else {}

    with visiting(lambda: server.probe("/alive")) as alive, visiting(lambda: server.get("/default/")) as fresh:
        fresh.wait_for(200)
        with cluster.frozen():
            unready = wait_for(hangs, "readiness to fail", 2 + NOISE)
            assert "no answer within 1 s" in unready["database:default"][0]["output"]
            fresh.wait_for(500)
            alive.wait_for(200)
        server.wait_until("/ready")
        fresh.wait_for(200)
    assert set(alive.statuses) == {200}
    assert max(alive.seconds) < NOISE
    assert max(fresh.seconds) < CONNECT_TIMEOUT + NOISE


LISTENING = """
import os
import threading

import psycopg
from twistserve.websocket import deliver, group_resource


def news():
    threading.Thread(target=listen, daemon=True).start()
    return group_resource("news")


def listen():
    with psycopg.connect(os.environ["DSN"], autocommit=True) as connection:
        connection.execute("LISTEN news")
        for notice in connection.notifies():
            deliver("news", notice.payload)
"""
NOTIFYING = """
import os
import psycopg
from django.http import HttpResponse
from django.urls import path


def publish(request):
    with psycopg.connect(os.environ["DSN"], autocommit=True) as connection:
        connection.execute("SELECT pg_notify('news', %s)", [request.GET["text"]])
    return HttpResponse()


urlpatterns = [path("publish", publish)]
"""


def test_websockets_across_replicas(
    serve: Serve, project: Callable[..., Path], cluster: Cluster, database: str
) -> None:
    """As docs/mounts.md shows: what one publishes reaches each WebSocket of both once, of all workers."""
    directory = project(NOTIFYING, live=LISTENING)
    env = {"DSN": f"host=127.0.0.1 port={cluster.port} user=postgres dbname={database}"}
    words = ["--mount", "/news=live.news"]
    one = serve(*words, cwd=directory, settings="site_settings", env=env)
    two = serve(*words, "--workers", "2", cwd=directory, settings="site_settings", env=env)
    with cluster.connect(database) as session, ExitStack() as stack:
        count = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND query = 'LISTEN news'"
        wait_for(lambda: session.execute(count, [database]).fetchone() == (3,), "all of them to listen")
        clients = [stack.enter_context(WebSocket(server.port, "/news")) for server in (one, two) for _ in range(5)]
        for text in ("first", "second"):
            one.get(f"/publish?text={text}")
        assert [[client.receive(), client.receive()] for client in clients] == [["first", "second"]] * 10
    assert (one.terminate(), two.terminate()) == (0, 0)
