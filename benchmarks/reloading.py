"""How long a reload takes: from saving a file to the first page of the new code, beside runserver, on our example.

    python -m benchmarks.reloading [ROUNDS]

All servers run throughout, each on a copy of the project; in each round a module of each is saved once, in turn
forwards and backwards. A random pause comes first, so that a save meets the reloader anywhere between two looks.
"""

from __future__ import annotations

import argparse
import http.client
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.environments import ensure
from benchmarks.rounds import in_turn
from benchmarks.starting import PATIENCE, PAUSE, REQUIREMENTS, example, free_ports
from benchmarks.workers import CACHE

MODULE = "catalogue/urls.py"
ROUTE = 'urlpatterns += [path("version-{}", lambda request: HttpResponse("there"))]\n'


@dataclass
class Developed:
    """A server that reloads, and its copy of the project."""

    name: str
    directory: Path
    port: int
    process: subprocess.Popen[bytes]

    def reload(self, number: int) -> float:
        """Save the module with another route: the seconds until that is served. Raises AssertionError if it is not."""
        module = self.directory / MODULE
        original = module.read_text().partition("# Reloading\n")[0]
        text = f"{original}# Reloading\nfrom django.http import HttpResponse\n{ROUTE.format(number)}"
        began = time.monotonic()
        module.write_text(text)
        while self._status(f"/version-{number}") != 200:
            assert time.monotonic() < began + PATIENCE, f"{self.name} does not reload"
            time.sleep(PAUSE)
        return time.monotonic() - began

    def _status(self, path: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()


def begin(name: str, words: tuple[str, ...], programs: Path, scratch: Path) -> Developed:
    """Start a server on a copy of its own; `PORT` in the words stands for its port."""
    port = free_ports()
    place = scratch / name.replace(" ", "-")
    place.mkdir()
    project = example(programs, place)
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("TWISTSERVE_", "DJANGO_"))}
    environ["DJANGO_SETTINGS_MODULE"] = project.settings
    process = subprocess.Popen(
        [word.replace("PORT", str(port)) for word in words],
        cwd=project.directory,
        env=environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return Developed(name, project.directory, port, process)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rounds", nargs="?", type=int, default=15)
    parser.add_argument("--bin", type=Path, metavar="DIR", help="an environment that has twistserve")
    arguments = parser.parse_args()
    programs = arguments.bin.absolute() if arguments.bin else ensure(CACHE / "environments" / "starting", REQUIREMENTS)
    manage = (str(programs / "python"), "manage.py")
    twistd = (str(programs / "twistd"), "-n", "--pidfile=", "djangoserve")
    found: list[Developed] = []
    with tempfile.TemporaryDirectory() as scratch:
        try:
            for name, words in (
                ("runserver", (*manage, "runserver", "PORT")),
                ("manage.py serve --autoreload", (*manage, "serve", "--autoreload", "--port", "PORT")),
                ("twistd --autoreload", (*twistd, "--autoreload", "--port", "PORT")),
            ):
                found.append(begin(name, words, programs, Path(scratch)))
            seconds: dict[str, list[float]] = {each.name: [] for each in found}
            # The first of each is not counted.
            for number in range(arguments.rounds + 1):
                for each in in_turn(found, number):
                    time.sleep(random.uniform(1.0, 2.0))
                    took = each.reload(number)
                    if number:
                        seconds[each.name].append(took)
        finally:
            for each in found:
                each.process.terminate()
                each.process.wait(PATIENCE)
    [first, *_] = seconds.values()
    lines = ["| | to the new page, s | median of the ratios |", "| --- | ---: | ---: |"]
    for name, own in seconds.items():
        ratio = statistics.median(one / other for one, other in zip(own, first, strict=True))
        lines.append(f"| {name} | {statistics.median(own):.2f} | {ratio:.2f} |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
