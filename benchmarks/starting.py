"""How long a start takes: from exec to /ready and to the first page, on the example project, beside gunicorn.

    python -m benchmarks.starting [ROUNDS] [--beside CHECKOUT]

Starts are interleaved, so that a disturbance of the machine meets all of them: each round starts every server once, in
turn forwards and backwards. `--beside` adds twistserve from another checkout, such as one of the commit before.
"""

from __future__ import annotations

import argparse
import http.client
import math
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.environments import ROOT, ensure
from benchmarks.rounds import in_turn
from benchmarks.workers import CACHE

PATIENCE = 60.0
"""Seconds a start may take."""
PAUSE = 0.002
"""Seconds between two questions, which bound the error of a figure."""


@dataclass(frozen=True)
class Way:
    """One way to start: its words, where `PORT` stands for the web port and `PROBE_PORT` for the probe port."""

    name: str
    words: tuple[str, ...]
    probe: bool = True
    checkout: Path | None = None
    """Where twistserve is imported from, if not from the environment."""


@dataclass(frozen=True)
class Start:
    """What one start took, in seconds; NaN for /ready where there is none."""

    ready: float
    page: float


def ways(bin_directory: Path, beside: Path | None) -> list[Way]:
    """What is started in each round."""
    twistd = (str(bin_directory / "twistd"), "-n", "--pidfile=", "djangoserve", "--port", "PORT")
    manage = (str(bin_directory / "python"), "manage.py", "serve", "--port", "PORT")
    gunicorn = (str(bin_directory / "gunicorn"), "--threads", "8", "--bind", "127.0.0.1:PORT", "bookshop.wsgi")
    found = [
        Way("gunicorn", gunicorn, probe=False),
        Way("twistd", twistd),
        Way("manage.py serve", manage),
        Way("manage.py serve --skip-checks", (*manage, "--skip-checks")),
    ]
    if beside is not None:
        found += [
            Way("twistd, beside", twistd, checkout=beside),
            Way("manage.py serve, beside", manage, checkout=beside),
        ]
    return found


def start(way: Way, project: Path) -> Start:
    """Start it once, and end it. Raises AssertionError where it does not serve."""
    port = _free_ports()
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("TWISTSERVE_", "DJANGO_"))}
    environ |= {"DJANGO_SETTINGS_MODULE": "bookshop.settings", "PYTHONPATH": str(way.checkout or "")}
    words = [word.replace("PORT", str(port)) for word in way.words]
    began = time.monotonic()
    process = subprocess.Popen(words, cwd=project, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        ready = _until(process, port + 1, "/ready") - began if way.probe else math.nan
        return Start(ready, _until(process, port, "/") - began)
    finally:
        process.terminate()
        process.wait(PATIENCE)


def _free_ports() -> int:
    """A free port whose successor is free too, below those of outgoing connections, which could take it meanwhile."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as one, socket.socket() as two:
            try:
                one.bind(("", port))
                two.bind(("", port + 1))
            except OSError:
                continue
            return port


def _until(process: subprocess.Popen[bytes], port: int, path: str) -> float:
    """When a path answers 200."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        try:
            connection.request("GET", path)
            if connection.getresponse().status == 200:
                return time.monotonic()
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        time.sleep(PAUSE)
    raise AssertionError(f"{process.args!r} does not serve {path}")


def measure(found: Sequence[Way], project: Path, rounds: int) -> dict[str, list[Start]]:
    """All starts by name, in the order of the rounds; the first start of each is not counted."""
    starts: dict[str, list[Start]] = {way.name: [] for way in found}
    for way in found:
        start(way, project)
    for number in range(rounds):
        for way in in_turn(list(found), number):
            starts[way.name].append(start(way, project))
    return starts


def table(starts: dict[str, list[Start]]) -> str:
    """Medians, and the median of the differences to the first way in the same rounds."""
    [first, *_] = starts.values()
    lines = ["| start | to /ready, s | to the first page, s | later than the first |", "| --- | ---: | ---: | ---: |"]
    for name, samples in starts.items():
        ready = statistics.median(each.ready for each in samples)
        page = statistics.median(each.page for each in samples)
        later = statistics.median(each.page - other.page for each, other in zip(samples, first, strict=True))
        lines.append(f"| {name} | {'' if math.isnan(ready) else f'{ready:.2f}'} | {page:.2f} | {later:+.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rounds", nargs="?", type=int, default=15)
    parser.add_argument("--beside", type=Path, metavar="CHECKOUT")
    parser.add_argument("--bin", type=Path, metavar="DIR", help="an environment that has twistserve and gunicorn")
    arguments = parser.parse_args()
    programs = arguments.bin or ensure(CACHE / "environments" / "starting", [str(ROOT), "gunicorn", "django~=5.2.0"])
    with tempfile.TemporaryDirectory() as scratch:
        ignored = shutil.ignore_patterns("__pycache__", "db.sqlite3*", "media", "static_root")
        project = Path(shutil.copytree(ROOT / "example", Path(scratch) / "example", ignore=ignored))
        for words in (["migrate", "-v0"], ["loaddata", "-v0", "books"]):
            subprocess.run([programs / "python", "manage.py", *words], cwd=project, check=True)
        sys.stdout.write(table(measure(ways(programs, arguments.beside), project, arguments.rounds)) + "\n")


if __name__ == "__main__":
    main()
