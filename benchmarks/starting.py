"""How long a start takes: from exec to the first page, beside gunicorn, on our example and Wagtail's start project.

    python -m benchmarks.starting [ROUNDS] [--project example|wagtail|both] [--beside CHECKOUT]

Starts are interleaved, so that a disturbance of the machine meets all of them: each round starts every server once, in
turn forwards and backwards. `--beside` adds twistserve from another checkout, such as one of the commit before. Probes
are not asked meanwhile: twistserve would spend a part of the start on its answers.
"""

from __future__ import annotations

import argparse
import http.client
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.environments import ROOT, ensure
from benchmarks.rounds import in_turn
from benchmarks.workers import CACHE

PATIENCE = 60.0
"""Seconds a start may take."""
PAUSE = 0.002
"""Seconds between two questions, which bound the error of a figure."""
REQUIREMENTS = (str(ROOT), "gunicorn", "django~=5.2.0", "wagtail~=8.0.0")


@dataclass(frozen=True)
class Project:
    """A Django project that is ready to be served."""

    directory: Path
    package: str
    """What has its settings and its WSGI application."""
    settings: str


def example(programs: Path, scratch: Path) -> Project:
    """Our example, with its books."""
    ignored = shutil.ignore_patterns("__pycache__", "db.sqlite3*", "media", "static_root")
    directory = Path(shutil.copytree(ROOT / "example", scratch / "example", ignore=ignored))
    manage(programs, directory, "migrate", "-v0")
    manage(programs, directory, "loaddata", "-v0", "books")
    return Project(directory, "bookshop", "bookshop.settings")


def wagtail(programs: Path, scratch: Path) -> Project:
    """What `wagtail start` makes, with manage.py serve."""
    subprocess.run([programs / "wagtail", "start", "mysite"], cwd=scratch, check=True, stdout=subprocess.DEVNULL)
    directory = scratch / "mysite"
    with (directory / "mysite" / "settings" / "base.py").open("a") as settings:
        settings.write("INSTALLED_APPS.append('twistserve')\n")
    manage(programs, directory, "migrate", "-v0")
    return Project(directory, "mysite", "mysite.settings.dev")


def manage(programs: Path, directory: Path, *words: str) -> None:
    """Run a management command of the project there."""
    subprocess.run([programs / "python", "manage.py", *words], cwd=directory, check=True)


PROJECTS: dict[str, Callable[[Path, Path], Project]] = {"example": example, "wagtail": wagtail}


@dataclass(frozen=True)
class Way:
    """One way to start: its words, where `PORT` stands for the web port."""

    name: str
    words: tuple[str, ...]
    checkout: Path | None = None
    """Where twistserve is imported from, if not from the environment."""


def ways(programs: Path, project: Project, beside: Path | None) -> list[Way]:
    """What is started in each round."""
    twistd = (str(programs / "twistd"), "-n", "--pidfile=", "djangoserve", "--port", "PORT")
    serve = (str(programs / "python"), "manage.py", "serve", "--port", "PORT")
    bind = ("--threads", "8", "--bind", "127.0.0.1:PORT")
    found = [
        Way("gunicorn", (str(programs / "gunicorn"), *bind, f"{project.package}.wsgi")),
        Way("twistd", twistd),
        Way("manage.py serve", serve),
        Way("manage.py serve --skip-checks", (*serve, "--skip-checks")),
    ]
    if beside is not None:
        found += [Way("twistd, beside", twistd, beside), Way("manage.py serve, beside", serve, beside)]
    return found


def start(way: Way, project: Project) -> float:
    """Start it once, and end it: the seconds to the first page. Raises AssertionError where it does not serve."""
    port = free_ports()
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("TWISTSERVE_", "DJANGO_"))}
    environ |= {"DJANGO_SETTINGS_MODULE": project.settings, "PYTHONPATH": str(way.checkout or "")}
    words = [word.replace("PORT", str(port)) for word in way.words]
    began = time.monotonic()
    process = subprocess.Popen(
        words, cwd=project.directory, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        return _until(process, port, "/") - began
    finally:
        process.terminate()
        process.wait(PATIENCE)


def free_ports() -> int:
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


def measure(found: Sequence[Way], project: Project, rounds: int) -> dict[str, list[float]]:
    """All starts by name, in the order of the rounds; the first start of each is not counted."""
    starts: dict[str, list[float]] = {way.name: [] for way in found}
    for way in found:
        start(way, project)
    for number in range(rounds):
        for way in in_turn(list(found), number):
            starts[way.name].append(start(way, project))
    return starts


def table(title: str, starts: dict[str, list[float]]) -> str:
    """Medians, and the median of the differences to the first way in the same rounds."""
    [first, *_] = starts.values()
    lines = [f"| {title} | to the first page, s | later than the first, s |", "| --- | ---: | ---: |"]
    for name, seconds in starts.items():
        later = statistics.median(one - other for one, other in zip(seconds, first, strict=True))
        lines.append(f"| {name} | {statistics.median(seconds):.2f} | {later:+.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, and print a table for each project."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rounds", nargs="?", type=int, default=15)
    parser.add_argument("--project", choices=[*PROJECTS, "both"], default="both")
    parser.add_argument("--beside", type=Path, metavar="CHECKOUT")
    parser.add_argument("--bin", type=Path, metavar="DIR", help="an environment that has what is served and gunicorn")
    arguments = parser.parse_args()
    programs = arguments.bin or ensure(CACHE / "environments" / "starting", REQUIREMENTS)
    with tempfile.TemporaryDirectory() as scratch:
        for name in PROJECTS if arguments.project == "both" else [arguments.project]:
            project = PROJECTS[name](programs, Path(scratch))
            starts = measure(ways(programs, project, arguments.beside), project, arguments.rounds)
            sys.stdout.write(table(name, starts) + "\n\n")


if __name__ == "__main__":
    main()
