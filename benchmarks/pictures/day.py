"""A day of the example shop in a few minutes: load that comes and goes, then a bad hour, watched by Prometheus.

Three pictures are of it: the status page before and after things went wrong, and the dashboard over all of it.
"""

from __future__ import annotations

import http.client
import math
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.pictures import dashboard, status_page
from tests.support.functional.browser import chromium
from tests.support.functional.harness import EXAMPLE, PATIENCE, Server, fetch, serving, wait_for
from tests.support.functional.prometheus import Prometheus

NAMES = ("status-page.png", "status-page-ready.png", "dashboard.svg")
GOOD = 300.0
"""Seconds until the first picture: what the charts of the status page show."""
BAD = 45.0
"""Seconds of the bad hour at least: what is past its deadline has to get there."""
DEADLINE = 20
"""--request-timeout."""
CLIENTS = 12
PAUSE = 0.2
"""Seconds that a client waits between two requests, on average."""
WAVE = 95.0
"""Seconds in which the load rises and falls; the first picture is taken when it is high."""
POD = "bookshop-7d9f6c5b4-x2lqz"
"""What the page calls its host, as it would in a cluster."""
PATHS = (
    *("/", "/books/1/", "/static/catalogue/style.css", "/books/2/", "/count/", "/stream/?chunks=40", "/books/3/", "/"),
    *("/api/books", "/static/catalogue/logo.svg", "/slow/?seconds=0.15", "/books/4/", "/nowhere/", "/count/"),
)
OPTIONS = (
    *(f"--request-timeout={DEADLINE}", "--static", "--check-migrations", "--app-version=2.7.1"),
    "--no-access-log",
)


def draw(docs: Path, *, short: bool = False) -> None:
    """Run the shop and write the three pictures; about six minutes, or one with few values if `short`."""
    good = GOOD / 10 if short else GOOD
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        environment = {
            "BOOKSHOP_LIVE": "1",
            "BOOKSHOP_DEBUG": "0",
            "TWISTSERVE_THREADS": "8",
            "PYTHONPATH": str(_named(directory)),
        }
        with serving(*OPTIONS, cwd=_example(directory), logs=directory, env=environment) as server:
            prometheus = Prometheus(server.probe_port, directory)
            try:
                wait_for(prometheus.is_ready, "Prometheus to be ready")
                began = time.time()
                with _load(server) as load, chromium(directory) as browser:
                    time.sleep(good)
                    with _slow(server, 1, seconds=12):
                        time.sleep(6)
                        status_page.shoot(browser, server, docs / "status-page-ready.png", whole=False)
                    load.bad = True
                    (server.cwd / "dusty").touch()
                    with _slow(server, 1, seconds=30):
                        time.sleep(BAD / 3)
                        with _slow(server, 2, seconds=14):
                            time.sleep(DEADLINE - BAD / 3 + 3)
                            status_page.shoot(browser, server, docs / "status-page.png", whole=True)
                    time.sleep(5)
                found = dashboard.queried(prometheus, began, time.time())
                (docs / "dashboard.svg").write_text(dashboard.drawn(found))
            finally:
                prometheus.end()


def _example(directory: Path) -> Path:
    """A copy of the example, filled."""
    ignore = shutil.ignore_patterns("__pycache__", "db.sqlite3*", "media", "static_root")
    copy = shutil.copytree(EXAMPLE, directory / "example", ignore=ignore)
    for words in (["migrate", "-v0"], ["loaddata", "-v0", "books"], ["collectstatic", "-v0", "--noinput"]):
        subprocess.run([sys.executable, "manage.py", *words], cwd=copy, check=True)
    return copy


def _named(directory: Path) -> Path:
    """A directory for PYTHONPATH that gives the host another name."""
    path = directory / "named"
    path.mkdir()
    (path / "sitecustomize.py").write_text(f"import socket\nsocket.gethostname = lambda: {POD!r}\n")
    return path


class Load:
    """Clients that ask for the pages of the shop."""

    def __init__(self, server: Server) -> None:
        self.bad = False
        """Whether views fail, too."""
        self.ended = threading.Event()
        self._server = server
        self._began = time.monotonic()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(CLIENTS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self.ended.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=PATIENCE)
        paths = PATHS[number:] + PATHS[:number]
        asked = 0
        while not self.ended.wait(PAUSE / (1 + 0.6 * math.sin((time.monotonic() - self._began) / WAVE * math.tau))):
            asked += 1
            path = "/boom/" if self.bad and asked % 9 == 0 else paths[asked % len(paths)]
            try:
                if asked % 10 == 0:
                    connection.request("POST", "/echo/", os.urandom(2000))
                else:
                    connection.request("GET", path)
                connection.getresponse().read()
                if number == 0:
                    for probe in ("/startup", "/ready", "/alive"):
                        fetch(self._server.probe_port, probe)
            except (OSError, http.client.HTTPException):
                connection.close()
        connection.close()


@contextmanager
def _load(server: Server) -> Iterator[Load]:
    load = Load(server)
    load.start()
    try:
        yield load
    finally:
        load.stop()


@contextmanager
def _slow(server: Server, number: int, *, seconds: float) -> Iterator[None]:
    """Requests that are slow for so long; the block is left when they have their responses."""

    def ask() -> None:
        with suppress(OSError):
            server.get(f"/slow/?seconds={seconds:g}")

    threads = [threading.Thread(target=ask) for _ in range(number)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.join()
