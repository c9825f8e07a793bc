"""A project whose migrations the tests watch, hold up and break, on whatever databases it is given."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.functional.harness import Server, wait_for

MODELS = """
from django.db import models

class Shelf(models.Model):
    id = models.AutoField(primary_key=True)
"""
FIRST = """
from django.db import migrations, models

class Migration(migrations.Migration):
    initial = True
    operations = [migrations.CreateModel("Shelf", [("id", models.AutoField(primary_key=True))])]
"""
SECOND = """
import os, time
from pathlib import Path
from django.db import migrations

HERE = Path(__file__).resolve().parents[2]

def count(apps, schema_editor):
    with (HERE / "begun").open("a") as begun:
        begun.write(f"{schema_editor.connection.alias} {os.getpid()}\\n")
    while (HERE / "hold").exists():
        time.sleep(0.02)
    if (HERE / "broken").exists():
        raise RuntimeError("the shelves are broken")

class Migration(migrations.Migration):
    dependencies = [("stock", "0001_initial")]
    operations = [migrations.RunPython(count, migrations.RunPython.noop)]
"""


@dataclass
class Stockroom:
    """A project with the app `stock`, whose second migration notes that it has begun, and minds the files around it.

    It waits while there is a file `hold`, and fails where there is a file `broken`.
    """

    directory: Path

    @property
    def begun(self) -> list[tuple[str, int]]:
        """The database and the process of each time that the second migration was begun."""
        path = self.directory / "begun"
        words = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
        return [(alias, int(pid)) for alias, pid in words]

    def hold(self) -> None:
        (self.directory / "hold").touch()

    def go(self) -> None:
        (self.directory / "hold").unlink()

    def wait_until_begun(self, server: Server, times: int = 1) -> None:
        """Wait until the second migration has begun, for the nth time, in this server's process."""

        def begun() -> bool:
            assert server.process.poll() is None, server.output
            return len(self.begun) >= times

        wait_for(begun, "the migration to begin")
        assert self.begun[-1][1] == server.process.pid

    def manage(self, *words: str) -> str:
        """Run manage.py by hand and return what it prints."""
        done = subprocess.run(
            [sys.executable, "manage.py", *words],
            cwd=self.directory,
            env=os.environ | {"DJANGO_SETTINGS_MODULE": "site_settings"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout


def write_stockroom(project: Callable[..., Path], settings: str, **modules: str) -> Stockroom:
    """Write the project, as the fixture `project` does; `settings` must define DATABASES."""
    directory = project(settings=f"INSTALLED_APPS += ['stock']\n{settings}", **modules)
    write_app(directory, "stock", FIRST, SECOND)
    return Stockroom(directory)


def write_app(directory: Path, name: str, *migrations: str) -> None:
    """Write an app with one model and these migrations."""
    folder = directory / name / "migrations"
    folder.mkdir(parents=True, exist_ok=True)
    for package in (folder.parent, folder):
        (package / "__init__.py").touch()
    (folder.parent / "models.py").write_text(MODELS)
    for number, text in enumerate(migrations, start=1):
        (folder / ("0001_initial.py" if number == 1 else f"{number:04}_next.py")).write_text(text)


def starting(server: Server) -> dict[str, Any]:
    """What /startup says of the step that runs; empty while the probe port is not open yet."""
    assert server.process.poll() is None, f"the server ended early\n{server.output}"
    try:
        reply = server.probe("/startup")
    except OSError:
        return {}
    assert reply.status == 503, f"started already\n{server.output}"
    [entry] = reply.json()["checks"]["startup"]
    return dict(entry)


def wait_for_step(server: Server, *words: str) -> dict[str, Any]:
    """Wait until /startup names a step with all these words, and return its entry."""

    def named() -> dict[str, Any]:
        entry = starting(server)
        return entry if all(word in entry.get("output", "") for word in words) else {}

    return wait_for(named, f"/startup to name {words}")


def assert_waits(server: Server, *words: str) -> None:
    """What probes say of a start that waits: which step, and for how long; not ready, but alive."""
    first = wait_for_step(server, *words)
    wait_for(lambda: starting(server)["observedValue"] > first["observedValue"], "the step to age")
    assert server.probe("/ready").status == 503
    assert server.probe("/alive").status == 200
