"""Builds the image of deploy/docker and runs pods of it: `make test-containers`, as root, on Debian.

Needs the packages podman, buildah, runc, debootstrap, netavark and catatonit, HAProxy and PostgreSQL. A base image is
made once, from the archive that this machine's apt uses. `python -m tests.containers.check NAME ...` runs some of it.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.containers import first_process, image, project
from tests.containers.images import CACHE, clean, make_base, make_image
from tests.containers.scenarios import SCENARIOS, World, start
from tests.support.functional.harness import MOST_WORKERS
from tests.support.functional.postgresql import postgresql

HEAD = [
    "scenario",
    "requests",
    "lost",
    "restarts",
    "/ready, ms: p50 / p95 / max",
    "/alive, ms: the same",
    "what happens",
]

OTHERS = ("image", "first process")


def say(text: str) -> None:
    """Print at once, with the time it took for whoever waits."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Make the images, run the scenarios that the command line names or all, and print the table."""
    wanted = sys.argv[1:] or [*OTHERS, *SCENARIOS]
    if unknown := {*wanted} - {*OTHERS, *SCENARIOS}:
        sys.exit(f"no such part: {', '.join(unknown)}; there are {', '.join((*OTHERS, *SCENARIOS))}")
    if os.geteuid() != 0:
        sys.exit("the containers need root")
    # Whatever runs ends with us.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    # Ports that no functional test gets which runs at the same time.
    os.environ["PYTEST_XDIST_WORKER"] = f"gw{MOST_WORKERS - 1}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (
        (CACHE / "lock").open("w") as lock,
        tempfile.TemporaryDirectory(prefix="twistserve-containers-") as name,
        postgresql() as database,
    ):
        # Another run, of another checkout perhaps, has the same images.
        fcntl.flock(lock, fcntl.LOCK_EX)
        directory, began = Path(name), time.monotonic()
        clean()
        make_base()
        project.write(directory / "project", database.port)
        make_image(directory / "project", directory / "wheels")
        say(f"the image is built, {time.monotonic() - began:.0f} s")
        world = World(directory / "project", directory, database)
        rows = []
        for what, scenario in SCENARIOS.items():
            # The start fills the database for those that follow.
            if what in wanted or scenario is start:
                began = time.monotonic()
                rows.append([what, *scenario(world).cells()])
                say(f"{line(rows[-1])} {time.monotonic() - began:.0f} s")
        if "image" in wanted:
            say(f"the image holds what it should, {image.check()}")
        if "first process" in wanted:
            first_process.check()
            say("the first process behaves")
        say("\n".join(["", line(HEAD), line(["---", *["---:"] * 5, "---"]), *map(line, rows)]))


if __name__ == "__main__":
    main()
