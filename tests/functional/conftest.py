"""Fixtures: a copy of the example project, and servers that end with the test that started them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.functional.browser import Browser, chromium
from tests.support.functional.harness import EXAMPLE, Serve, Server, start, wait_for, write_project
from tests.support.functional.prometheus import Prometheus, Scrape


@pytest.fixture(scope="session")
def prepared_example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example project, copied, migrated and filled once for the whole run."""
    copy = tmp_path_factory.mktemp("example") / "example"
    ignore = shutil.ignore_patterns("__pycache__", "db.sqlite3*", "media", "static_root")
    shutil.copytree(EXAMPLE, copy, ignore=ignore)
    for words in (["migrate", "-v0"], ["loaddata", "-v0", "books"], ["collectstatic", "-v0", "--noinput"]):
        subprocess.run([sys.executable, "manage.py", *words], cwd=copy, check=True)
    return copy


@pytest.fixture
def example(prepared_example: Path, tmp_path: Path) -> Path:
    """A copy of the prepared example that the test may change as it likes."""
    return Path(shutil.copytree(prepared_example, tmp_path / "example"))


@pytest.fixture
def serve(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Serve]:
    """Start servers: `serve("--static", runner="manage", until="/ready", cwd=...)`.

    By default in a copy of the example project, and waiting until /ready answers 200; `until=None`
    returns at once, for a start that is meant to fail or to be watched.
    """
    servers: list[Server] = []

    def starter(*args: str, until: str | None = "/ready", cwd: Path | None = None, **kwargs: Any) -> Server:
        where = cwd if cwd is not None else request.getfixturevalue("example")
        server = start(*args, cwd=where, logs=tmp_path, **kwargs)
        servers.append(server)
        return server.wait_until(until) if until is not None else server

    yield starter
    for server in servers:
        server.kill()
        # pytest shows this with a test that fails.
        sys.stdout.write(server.output)


@pytest.fixture
def scrape(tmp_path: Path) -> Iterator[Scrape]:
    """Start a Prometheus that scrapes a port: `scrape(server.probe_port)`, with files of rules as further arguments.

    `labels` are those of the target.
    """
    started: list[Prometheus] = []

    def starter(target: int, *rules: Path, labels: Mapping[str, str] | None = None) -> Prometheus:
        prometheus = Prometheus(target, tmp_path, *rules, labels=labels)
        started.append(prometheus)
        wait_for(prometheus.is_ready, "Prometheus to be ready")
        return prometheus

    yield starter
    for prometheus in started:
        prometheus.end()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    """A Chromium with a fresh profile, for one test."""
    with chromium(tmp_path) as started:
        yield started


@pytest.fixture
def project(tmp_path: Path) -> Callable[..., Path]:
    """Write a one-module Django project: `project(views="...", settings="...")`; its settings are `site_settings`.

    `views` is the text of `site_urls.py`, which must define `urlpatterns`; `settings` is appended to the settings.
    """

    def write(views: str = "urlpatterns = []\n", settings: str = "", **modules: str) -> Path:
        return write_project(tmp_path / "project", views, settings, **modules)

    return write
