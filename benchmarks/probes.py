"""``python -m benchmarks.probes [SECONDS]``: how long probes take while every request thread computes, on one core.

Readiness has a database and three checks of Django's, liveness has none. Each probe is a new connection, as a
kubelet's is.
"""

from __future__ import annotations

import http.client
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.processes import Tree, free_port

PROBES = ("/startup", "/alive", "/ready")
CLIENTS = 12
"""Visitors, for eight threads: all of them always have something to do."""
PAUSE = 1.05
"""Seconds between rounds: no result of a check is from the round before."""
PATIENCE = 60.0
SERVER_CORE, LOAD_CORE = 0, 1

SETTINGS = """
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}}
INSTALLED_APPS = ["burning"]
ROOT_URLCONF = "burning"
SECRET_KEY = "no secret: the benchmarks serve on loopback only"
ALLOWED_HOSTS = ["*"]
"""
APPLICATION = """
import time

from django.core.checks import register
from django.http import HttpResponse
from django.urls import path

for number in range(3):

    @register("readiness")
    def check(number=number, **kwargs):
        return []


def burn(request):
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        sum(range(2000))
    return HttpResponse("burnt")


urlpatterns = [path("", burn)]
"""


@contextmanager
def burning() -> Iterator[int]:
    """A server whose threads compute as long as the block runs; its probe port."""
    port, probe_port = free_port(), free_port()
    options = ("--settings=burning_settings", "--host=127.0.0.1", f"--port={port}", f"--probe-port={probe_port}")
    twistd = Path(sys.executable).parent / "twistd"
    stop = threading.Event()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "burning_settings.py").write_text(SETTINGS)
        (directory / "burning.py").write_text(APPLICATION)
        command = [str(twistd), "-n", "--pidfile=", "djangoserve", "--no-access-log", *options]
        tree = Tree(command, core=SERVER_CORE, cwd=directory, env=os.environ)
        clients = [threading.Thread(target=_visit, args=(port, stop)) for _ in range(CLIENTS)]
        try:
            deadline = time.monotonic() + PATIENCE
            while tree.running and not _passes(probe_port):
                if time.monotonic() > deadline:
                    raise TimeoutError(f"not ready within {PATIENCE:g} s")
                time.sleep(0.1)
            for client in clients:
                client.start()
            yield probe_port
        finally:
            stop.set()
            tree.end()
            for client in clients:
                if client.ident is not None:
                    client.join()


def ask(port: int, path: str) -> int:
    """The status of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


def _passes(port: int) -> bool:
    try:
        return ask(port, "/ready") == 200
    except OSError:
        return False


def _visit(port: int, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            ask(port, "/")
        except (OSError, http.client.HTTPException):
            time.sleep(0.1)


def main(seconds: float) -> None:
    """Measure for that long, and print."""
    os.sched_setaffinity(0, {LOAD_CORE})
    took: dict[str, list[float]] = {path: [] for path in PROBES}
    with burning() as port:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(PAUSE)
            for path, times in took.items():
                began = time.monotonic()
                if ask(port, path) != 200:
                    raise SystemExit(f"{path} does not pass")
                times.append(time.monotonic() - began)
    for path in PROBES:
        ordered = sorted(took[path])
        p50, p95, longest = (ordered[int(share * (len(ordered) - 1))] * 1000 for share in (0.5, 0.95, 1))
        sys.stdout.write(
            f"{path:9} {len(ordered)} probes: p50 {p50:.0f} ms, p95 {p95:.0f} ms, longest {longest:.0f} ms\n"
        )


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 60.0)
