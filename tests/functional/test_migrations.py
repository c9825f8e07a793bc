"""Commands and migrations before serving, on SQLite: waited for, or applied once."""

from __future__ import annotations

import re
import signal
import sqlite3
from collections.abc import Callable
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.functional.harness import PROMPT, Serve, Server, assert_failed, refuses, wait_for
from tests.support.functional.stockroom import (
    FIRST,
    Stockroom,
    assert_waits,
    starting,
    wait_for_step,
    write_app,
    write_stockroom,
)

TOGETHER = 10
"""Instances that start at the same time."""

SETTINGS = """
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "default.sqlite3"}}
"""
SEVERAL = """
INSTALLED_APPS += ["history"]
DATABASES = {
    alias: {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / f"{alias}.sqlite3"}
    for alias in ("default", "archive", "foreign")
}
DATABASE_ROUTERS = ["routers.Router"]
"""
BY_APP = """
class Router:
    def allow_migrate(self, db, app_label, **hints):
        return db == {"history": "archive"}.get(app_label, "default")
"""
BY_MODEL = """
class Router:
    def allow_migrate(self, db, app_label, model_name=None, **hints):
        if app_label == "history":
            return db == "archive" and model_name == "shelf"
        return db == "default"
"""
SAY = """
import time
from pathlib import Path
from django.core.management.base import BaseCommand

class Command(BaseCommand):
    def add_arguments(self, parser):
        parser.add_argument("words", nargs="+")

    def handle(self, *args, words, **options):
        for word in words:
            self.stdout.write(f"<{word}>")
        self.stdout.write("<one line in ", ending="")
        self.stdout.write("two parts>\\n<and the next>")
        self.stderr.write("<careful>")
        while Path("hold").exists():
            time.sleep(0.02)
        self.stdout.write("<an unended line>", ending="")
"""

Project = Callable[..., Path]


@pytest.fixture
def stock(project: Project) -> Stockroom:
    """The project with a database that does not exist yet."""
    return write_stockroom(project, SETTINGS)


@pytest.fixture
def begin(serve: Serve) -> Callable[..., Server]:
    """Start a server in a project and return at once: its start is what the test is about."""

    def starter(stock: Stockroom, *args: str, runner: str = "twistd") -> Server:
        return serve(*args, cwd=stock.directory, settings="site_settings", runner=runner, until=None)

    return starter


Begin = Callable[..., Server]


def tables(path: Path) -> set[str]:
    connection = sqlite3.connect(path)
    try:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    finally:
        connection.close()


def files_beside(stock: Stockroom) -> set[str]:
    """The files in the project's directory that are not of its own making."""
    own = {"site_settings.py", "site_urls.py", "site_wsgi.py", "manage.py", "routers.py", "begun", "hold", "broken"}
    return {path.name for path in stock.directory.iterdir() if path.is_file()} - own


# Commands


def test_the_output_of_a_command_is_logged_line_by_line(begin: Begin, stock: Stockroom) -> None:
    """A --command is quoted as for a shell; each line it writes is in the log as one line, and at once."""
    commands = stock.directory / "stock" / "management" / "commands"
    commands.mkdir(parents=True)
    (commands / "say.py").write_text(SAY)
    stock.hold()
    server = begin(stock, "--command", "say 'two words' one\\ word \"it's\" plain", "--command", "say again")
    wait_for_step(server, "say", "two words")
    wait_for(lambda: "<careful>" in server.stdout, "the command to speak")
    said = re.findall(r"^.* (INFO|WARNING) twistserve\S*: .*(<.*>)$", server.stdout, re.MULTILINE)
    lines = [*("two words", "one word", "it's", "plain"), "one line in two parts", "and the next"]
    assert said == [*(("INFO", f"<{line}>") for line in lines), ("WARNING", "<careful>")]
    assert "<again>" not in server.stdout
    stock.go()
    server.wait_until()
    assert server.stdout.count("<an unended line>\n") == 2


def test_commands_run_on_a_migrated_database(begin: Begin, stock: Stockroom) -> None:
    """--check-migrations-apply comes before every --command, which may need the tables."""
    begin(stock, "--command", "migrate --check", "--check-migrations-apply").wait_until()


def test_a_command_may_be_what_migrates(begin: Begin, stock: Stockroom) -> None:
    """--check-migrations comes after every --command, one of which may migrate."""
    begin(stock, "--check-migrations", "--command", "migrate --noinput").wait_until()


def test_the_error_of_a_failing_command_is_last_on_standard_error(begin: Begin, stock: Stockroom) -> None:
    """A --command that fails ends the start with status 1, and its own error is the last that is said."""
    (stock.directory / "broken").touch()
    server = begin(stock, "--command", "migrate --noinput", "--command", "check")
    assert_failed(server, "migrate --noinput", "the shelves are broken")
    assert "Applying stock.0001_initial... OK" in server.stdout


# Waiting for migrations


@pytest.mark.parametrize("runner", ["twistd", "twist", "manage"])
def test_waiting_until_somebody_migrates(begin: Begin, stock: Stockroom, runner: str) -> None:
    """With --check-migrations a start waits, probes answering and the web port closed, until somebody migrates."""
    server = begin(stock, "--check-migrations", runner=runner)
    assert_waits(server, "migrations", "'default'", "stock.0001_initial")
    assert refuses(server.port)
    stock.manage("migrate")
    server.wait_until("/startup").wait_until("/ready")
    assert "unapplied" in server.stdout
    assert server.get("/").status == 404


def test_nothing_is_waited_for_where_nothing_is_unapplied(begin: Begin, stock: Stockroom) -> None:
    """With all migrations applied a start does not wait, and does not write to the database."""
    stock.manage("migrate")
    before = (stock.directory / "default.sqlite3").read_bytes()
    server = begin(stock, "--check-migrations").wait_until()
    assert "unapplied" not in server.output
    assert (stock.directory / "default.sqlite3").read_bytes() == before


@pytest.mark.parametrize("option", ["--check-migrations", "--check-migrations-apply"])
def test_a_project_without_a_database(begin: Begin, project: Project, option: str) -> None:
    """Where there is no database there is nothing to wait for."""
    begin(write_stockroom(project, ""), option).wait_until()


@pytest.mark.parametrize("routers", [BY_APP, BY_MODEL], ids=["by-app", "by-model"])
def test_each_database_is_waited_for_with_what_its_routers_allow(begin: Begin, project: Project, routers: str) -> None:
    """A database has the migrations of the apps that routers allow there; one without any is not waited for."""
    stock = write_stockroom(project, SEVERAL, routers=routers)
    write_app(stock.directory, "history", FIRST)
    server = begin(stock, "--check-migrations")
    assert_waits(server, "2 unapplied", "'default'", "stock.0001_initial")
    stock.manage("migrate", "stock")
    assert_waits(server, "1 unapplied", "'archive'", "history.0001_initial")
    stock.manage("migrate", "--database", "archive", "history")
    server.wait_until()
    assert "'foreign'" not in server.output
    assert not tables(stock.directory / "foreign.sqlite3")


def test_a_database_that_is_not_up_yet_is_waited_for(begin: Begin, project: Project) -> None:
    """A database that does not answer is asked again after pauses that grow, and the log says so each time."""
    stock = write_stockroom(project, SETTINGS.replace('"default.sqlite3"', '"volume/default.sqlite3"'))
    server = begin(stock, "--check-migrations-apply")

    def attempts() -> list[datetime]:
        lines = re.findall(
            r"^(\S+ \S+) WARNING .*'default'.*: unable to open database file", server.stdout, re.MULTILINE
        )
        return [datetime.fromisoformat(line) for line in lines]

    wait_for_step(server, "migrations", "'default'", "does not answer")
    wait_for(lambda: len(attempts()) >= 4, "four attempts")
    pauses = [later - earlier for earlier, later in pairwise(attempts())]
    assert pauses[0] < pauses[-1]
    assert_waits(server, "migrations", "'default'")
    assert "unable to open" not in starting(server)["output"]
    (stock.directory / "volume").mkdir()
    server.wait_until()
    assert len(stock.begun) == 1


# Applying migrations


@pytest.mark.parametrize("runner", ["twistd", "twist", "manage"])
def test_applying_what_is_unapplied(begin: Begin, project: Project, runner: str) -> None:
    """--check-migrations-apply migrates each database that has migrations, and leaves nothing else behind."""
    stock = write_stockroom(project, SEVERAL, routers=BY_APP)
    write_app(stock.directory, "history", FIRST)
    stock.hold()
    server = begin(stock, "--check-migrations-apply", runner=runner)
    stock.wait_until_begun(server)
    assert_waits(server, "applying", "'default'")
    assert refuses(server.port)
    assert "Applying stock.0001_initial... OK" in server.stdout
    stock.go()
    server.wait_until()
    assert "Applying history.0001_initial... OK" in server.stdout
    assert "stock_shelf" in tables(stock.directory / "default.sqlite3")
    assert "history_shelf" in tables(stock.directory / "archive.sqlite3")
    assert not tables(stock.directory / "foreign.sqlite3")
    assert stock.begun == [("default", server.process.pid)]
    assert files_beside(stock) == {"default.sqlite3", "archive.sqlite3", "foreign.sqlite3"}


@pytest.mark.parametrize("words", [[], ["--workers", "2"]], ids=["alone", "workers"])
def test_the_migration_that_runs_is_named(begin: Begin, stock: Stockroom, words: list[str]) -> None:
    """/startup names the migration that runs, and how many there are; the log has one line for it."""
    stock.hold()
    server = begin(stock, "--check-migrations-apply", *words)
    entry = wait_for_step(server, "stock.0002_next")
    assert re.fullmatch(
        r"applying migrations: stock\.0002_next \(2 of 2 on 'default'\), for \d+\.\d s", entry["output"]
    )
    stock.go()
    server.wait_until()
    assert len(re.findall(r"stock\.0002_next", server.stdout)) == 1
    assert "Applying stock.0002_next... OK" in server.stdout


def test_many_that_start_together_migrate_once(begin: Begin, stock: Stockroom) -> None:
    """Of many instances that start together one migrates, and all serve."""
    stock.hold()
    servers = [begin(stock, "--check-migrations-apply") for _ in range(TOGETHER)]
    for server in servers:
        wait_for_step(server, "applying migrations", "'default'")
    wait_for(lambda: stock.begun, "the migration to begin")
    stock.go()
    for server in servers:
        server.wait_until()
        assert server.get("/").status == 404
    assert len(stock.begun) == 1
    assert files_beside(stock) == {"default.sqlite3"}


def test_another_takes_over_from_one_that_is_killed(begin: Begin, stock: Stockroom) -> None:
    """When the instance that migrates dies half-way, one that waits migrates in its place."""
    stock.hold()
    first = begin(stock, "--check-migrations-apply")
    stock.wait_until_begun(first)
    second = begin(stock, "--check-migrations-apply")
    assert_waits(second, "applying migrations", "another instance", "'default'")
    first.kill()
    stock.wait_until_begun(second, 2)
    stock.go()
    second.wait_until()
    assert len(stock.begun) == 2
    assert files_beside(stock) == {"default.sqlite3"}


def test_another_takes_over_from_one_that_fails(begin: Begin, stock: Stockroom) -> None:
    """When a migration fails, one that waits tries again: what stood in the way may be gone."""
    stock.hold()
    (stock.directory / "broken").touch()
    first = begin(stock, "--check-migrations-apply")
    stock.wait_until_begun(first)
    second = begin(stock, "--check-migrations-apply")
    wait_for_step(second, "another instance")
    stock.go()
    assert_failed(first, "'default'", "the shelves are broken")
    assert_failed(second, "'default'", "the shelves are broken")
    assert len(stock.begun) == 2
    assert files_beside(stock) == {"default.sqlite3"}


@pytest.mark.parametrize("runner", ["twistd", "twist", "manage"])
def test_a_migration_that_fails(begin: Begin, stock: Stockroom, runner: str) -> None:
    """A migration that fails ends the start with status 1 and its own error, and leaves no lock in the way."""
    (stock.directory / "broken").touch()
    server = begin(stock, "--check-migrations-apply", runner=runner)
    assert_failed(server, "--check-migrations-apply", "'default'", "the shelves are broken")
    assert files_beside(stock) == {"default.sqlite3"}
    (stock.directory / "broken").unlink()
    begin(stock, "--check-migrations-apply", runner=runner).wait_until()
    assert len(stock.begun) == 2


# Ending early


@pytest.mark.parametrize("runner", ["twistd", "twist", "manage"])
def test_sigterm_while_waiting(begin: Begin, project: Project, runner: str) -> None:
    """SIGTERM ends a start that waits, soon and with status 0: for migrations, for the lock, or for the database."""
    stock = write_stockroom(project, SETTINGS)
    stock.hold()
    applying = begin(stock, "--check-migrations-apply", runner=runner)
    stock.wait_until_begun(applying)
    absent = stock.directory / "absent_settings.py"
    absent.write_text("from site_settings import *\nDATABASES['default']['NAME'] = BASE_DIR / 'absent' / 'db'\n")
    waiting = {
        "another instance": begin(stock, "--check-migrations-apply", runner=runner),
        "unapplied": begin(stock, "--check-migrations", runner=runner),
        "does not answer": begin(stock, "--check-migrations", "--settings", "absent_settings", runner=runner),
    }
    for words, server in waiting.items():
        wait_for_step(server, words)
        server.signal(signal.SIGTERM)
    for server in waiting.values():
        assert server.wait(PROMPT) == 0
        assert server.stderr == ""
    stock.go()
    applying.wait_until()
    assert len(stock.begun) == 1


def test_sigterm_while_migrating(begin: Begin, stock: Stockroom) -> None:
    """SIGTERM in the middle of a migration ends the process soon, with status 0, and the next one starts over."""
    stock.hold()
    first = begin(stock, "--check-migrations-apply")
    stock.wait_until_begun(first)
    first.signal(signal.SIGTERM)
    assert first.wait(PROMPT) == 0, first.output
    stock.go()
    begin(stock, "--check-migrations-apply").wait_until()
    assert len(stock.begun) == 2
    assert files_beside(stock) == {"default.sqlite3"}
