"""Measures the constants of measured.py: requests of the example one at a time, and its start in a container."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.autoscale.measured import THREADS, Request
from benchmarks.container import check_container, contained
from benchmarks.environments import ROOT
from benchmarks.postgresql import USER, postgresql
from benchmarks.probed import ready
from benchmarks.processes import Tree, free_port
from benchmarks.starting import example
from benchmarks.wrk import run

SERVER_CORE, OTHER_CORE = 0, 1
SECONDS = 3
"""Seconds of one measurement."""
STARTS = 5
PATIENCE = 60.0
PATHS = {"LIST": "/", "DETAIL": "/books/1/"}
SLOW_PATH = "/slow/?seconds=0.2"
SETTINGS = """
from bookshop.settings import *

DATABASES = {{"default": {{
    "ENGINE": "django.db.backends.postgresql", "NAME": "postgres", "USER": "{user}", "HOST": "127.0.0.1",
    "PORT": "{port}", "CONN_MAX_AGE": None,
}}}}
"""


def main(rounds: int) -> None:
    """Measure so many times, and print medians of the least disturbed half as constants."""
    check_container()
    programs = Path(sys.executable).parent
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        directory = example(programs, Path(scratch)).directory
        database = stack.enter_context(postgresql(ROOT / "build" / "benchmarks", str(OTHER_CORE)))
        (directory / "on_postgresql.py").write_text(SETTINGS.format(user=USER, port=database.port))
        for words in (("migrate", "-v0"), ("loaddata", "-v0", "books")):
            settings = {**os.environ, "DJANGO_SETTINGS_MODULE": "on_postgresql"}
            subprocess.run([programs / "python", "manage.py", *words], cwd=directory, env=settings, check=True)
        found: dict[str, list[Request]] = {}
        for _ in range(rounds):
            for prefix, module in (("", "bookshop.settings"), ("PG_", "on_postgresql")):
                with served(programs, directory, module) as (tree, port):
                    for name, path in PATHS.items():
                        found.setdefault(prefix + name, []).append(alone(tree, port, path))
                    if not prefix:
                        found.setdefault("SLOW", []).append(alone(tree, port, SLOW_PATH, connections=THREADS))
        starts = [start_in_container(programs, directory) for _ in range(STARTS)]
    for name, requests in found.items():
        least = sorted(requests, key=lambda request: request.cpu)[: (len(requests) + 1) // 2]
        cpu = statistics.median(request.cpu for request in least)
        wait = statistics.median(request.wait for request in least)
        sys.stdout.write(f"{name} = Request(cpu={cpu:.5f}, wait={wait:.5f})\n")
    sys.stdout.write(f"START = {statistics.median(starts):.1f}  # {', '.join(f'{each:.1f}' for each in starts)}\n")


@contextmanager
def served(programs: Path, directory: Path, settings: str) -> Iterator[tuple[Tree, int]]:
    """The example on a core of its own; yields its processes and its port once it is ready."""
    port, probe_port = free_port(), free_port()
    tree = Tree(command(programs, port, probe_port), core=SERVER_CORE, cwd=directory, env=environ(settings))
    try:
        wait_until_ready(tree, probe_port)
        yield tree, port
    finally:
        tree.end()


def alone(tree: Tree, port: int, path: str, connections: int = 1) -> Request:
    """CPU time of a request, and for how long it takes more than that.

    Several connections are for a view that does nothing but wait: one alone would hardly use any CPU to measure.
    """
    url = f"http://127.0.0.1:{port}{path}"
    run(url, core=OTHER_CORE, connections=connections, seconds=1)
    before = tree.cpu_seconds()
    result = run(url, core=OTHER_CORE, connections=connections, seconds=SECONDS)
    cpu = (tree.cpu_seconds() - before) / result.answers
    return Request(cpu, max(0.0, result.p50 - cpu))


def start_in_container(programs: Path, directory: Path) -> float:
    """Seconds from the start of a container with half a CPU until the example is ready there."""
    port, probe_port = free_port(), free_port()
    with tempfile.TemporaryDirectory() as bundle:
        words, env = command(programs, port, probe_port), environ("bookshop.settings")
        parts = {"programs": programs, "directory": directory, "bundle": Path(bundle)}
        with contained(words, **parts, env=env) as contained_words:
            began = time.monotonic()
            tree = Tree(contained_words, core=f"{SERVER_CORE},{OTHER_CORE}", cwd=directory, env=env)
            try:
                wait_until_ready(tree, probe_port)
                return time.monotonic() - began
            finally:
                tree.end()


def command(programs: Path, port: int, probe_port: int) -> list[str]:
    ports = (f"--port={port}", f"--probe-port={probe_port}")
    return [str(programs / "twistd"), "--nodaemon", "--pidfile=", "djangoserve", "--host=127.0.0.1", *ports]


def environ(settings: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "DJANGO_SETTINGS_MODULE": settings}


def wait_until_ready(tree: Tree, probe_port: int) -> None:
    """Raises SystemExit if it does not become ready."""
    deadline = time.monotonic() + PATIENCE
    while not ready(probe_port):
        if not tree.running or time.monotonic() > deadline:
            raise SystemExit("benchmarks: the example does not become ready")
        time.sleep(0.05)
