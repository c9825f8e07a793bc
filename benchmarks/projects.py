"""The Django projects that are served: ours, and the one that `wagtail start` makes.

The package of each is called bench, so that one command line of a server serves all of them.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
SCRIPTS = HERE / "scripts"


@dataclass(frozen=True)
class Project:
    """A Django project with a module `bench.wsgi`."""

    name: str
    settings: str
    """The module of its settings."""
    prepare: tuple[str, ...]
    """The script that fills its database, with arguments."""
    requirements: tuple[str, ...] = ()
    """What it needs beside Django."""
    source: Path | None = None
    """Where it is; None for one that is made below the directory of data."""
    sqlite: bool = True
    """Whether it is served with SQLite too."""

    def directory(self, data: Path) -> Path:
        """Where its manage.py is, given the directory of data."""
        return self.source or data / self.name


BENCH = Project("bench", "bench.settings", ("direct.py", "prepare"), source=HERE / "project")
WAGTAIL = Project(
    "wagtail", "bench.settings.production", ("prepare_wagtail.py",), requirements=("wagtail~=8.0.0",), sqlite=False
)
"""Wagtail 8.0 is the last release with Django 5.2, the Django of all benchmarks."""


def requirements(projects: Iterable[Project]) -> tuple[str, ...]:
    """What these projects need, each once."""
    return tuple(dict.fromkeys(one for project in projects for one in project.requirements))


def package_name(requirement: str) -> str:
    """The package of a requirement, without extras and versions."""
    return re.split(r"[\[~<>=! ]", requirement, maxsplit=1)[0]


def start_commands(bin_directory: Path, directory: Path) -> list[list[str]]:
    """Begin the Wagtail project there, and return the commands that make the rest, to be run in it, in turn.

    The settings are those of Wagtail's template for production, which import `local.py`: that is ours.
    """
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    local = SCRIPTS / "wagtail_settings.py"
    return [
        [str(bin_directory / "wagtail"), "start", "bench", "."],
        ["cp", str(local), "bench/settings/local.py"],
        [str(bin_directory / "python"), "manage.py", "collectstatic", "--noinput", "--verbosity=0"],
    ]
