"""The memory of workers, and how soon a dead one is replaced, with --preload and without, on the example project.

    python -m benchmarks.memory [ROUNDS] [--bin DIR]

Memory is the proportional set size (PSS, proc(5)) of all processes of the service together: a page shared by several
counts once. Other Python processes would share pages with them, so do not run any.
"""

from __future__ import annotations

import argparse
import http.client
import math
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.environments import ensure
from benchmarks.processes import descendants, pss
from benchmarks.report import plain_table
from benchmarks.rounds import in_turn
from benchmarks.starting import PATIENCE, REQUIREMENTS, Project, example, free_ports
from benchmarks.workers import CACHE

WAYS = {
    "one process": (),
    "2 workers": ("--workers", "2"),
    "2 workers, --preload": ("--workers", "2", "--preload"),
    "the same after SIGHUP": ("--workers", "2", "--preload"),
    "4 workers": ("--workers", "4"),
    "4 workers, --preload": ("--workers", "4", "--preload"),
}
REQUESTS = 200
"""Requests for each serving process."""
SETTLED = 1.0
"""Seconds between readiness and the measurement of memory."""
LOOK_EVERY = 0.002


@contextmanager
def serving(
    words: Sequence[str], programs: Path, project: Project
) -> Iterator[tuple[subprocess.Popen[bytes], int, Path]]:
    """Start the service, and end it after the block; yields its process, its web port and its log."""
    port, log = free_ports(), project.directory / "log"
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("TWISTSERVE_", "DJANGO_"))}
    environ |= {"DJANGO_SETTINGS_MODULE": project.settings}
    command = [str(programs / "twistd"), "-n", "--pidfile=", "djangoserve", "--no-access-log", "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen([*command, *words], cwd=project.directory, env=environ, stdout=output, stderr=output)
    try:
        yield process, port, log
    finally:
        process.terminate()
        process.wait(PATIENCE)


def wait_for_ready(log: Path, number: int) -> float:
    """Wait until the log has so many lines of ready workers; 0 for the only process. Returns the monotonic time."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        text = log.read_text()
        if text.count(") is ready after ") >= number or (not number and "start-up is complete" in text):
            return time.monotonic()
        time.sleep(LOOK_EVERY)
    raise AssertionError(f"{number} workers are not ready:\n{log.read_text()}")


def measure(name: str, programs: Path, project: Project) -> tuple[float, float, float]:
    """Start once. Returns MiB when idle, MiB after requests, and seconds from a worker's death to its replacement."""
    words = WAYS[name]
    number = int(words[1]) if words else 0
    with serving(words, programs, project) as (process, port, log):
        wait_for_ready(log, number)
        ready = number
        if "SIGHUP" in name:
            process.send_signal(signal.SIGHUP)
            ready += number
            wait_for_ready(log, ready)
            time.sleep(SETTLED)
        time.sleep(SETTLED)
        idle = pss(process.pid)
        for _ in range(REQUESTS * max(number, 1)):
            ask(port)
        used = pss(process.pid)
        if not number:
            return idle, used, math.nan
        victim = next(pid for pid in descendants(process.pid) if b"twistserve: worker" in command_line(pid))
        began = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        return idle, used, wait_for_ready(log, ready + 1) - began


def ask(port: int) -> None:
    """Request a page, over a new connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    connection.request("GET", "/")
    response = connection.getresponse()
    response.read()
    connection.close()
    assert response.status == 200


def command_line(pid: int) -> bytes:
    """The command line of a process, or its title if it has set one."""
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def table(found: dict[str, list[tuple[float, float, float]]]) -> str:
    """Medians, and their ratios to a single process."""
    medians = {name: [*map(statistics.median, zip(*rounds, strict=True))] for name, rounds in found.items()}
    one_idle, one_used, _ = next(iter(medians.values()))
    heading = (
        "",
        "idle, MiB",
        "of one",
        f"after {REQUESTS} requests each, MiB",
        "of one",
        "a dead worker is replaced, s",
    )
    rows = []
    for name, (idle, used, replaced) in medians.items():
        sizes = (f"{idle:.0f}", f"{idle / one_idle:.2f}", f"{used:.0f}", f"{used / one_used:.2f}")
        rows.append((name, *sizes, "" if math.isnan(replaced) else f"{replaced:.2f}"))
    return plain_table(heading, rows)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rounds", nargs="?", type=int, default=5)
    parser.add_argument("--bin", type=Path, metavar="DIR", help="an environment that has twistserve")
    arguments = parser.parse_args()
    programs = (arguments.bin or ensure(CACHE / "environments" / "starting", REQUIREMENTS)).absolute()
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in WAYS}
    with tempfile.TemporaryDirectory() as scratch:
        project = example(programs, Path(scratch))
        for number in range(arguments.rounds):
            for name in in_turn(list(WAYS), number):
                found[name].append(measure(name, programs, project))
    sys.stdout.write(table(found) + "\n")


if __name__ == "__main__":
    main()
