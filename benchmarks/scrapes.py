"""``python -m benchmarks.scrapes [SCRAPES]``: what a scrape of the metrics costs, as Markdown.

Before, each route of a project with the middleware for metrics by route is requested from every worker. The server and
the scraper share two cores, without any other load. Scrapes are as Prometheus sends them: OpenMetrics, compressed.
"""

from __future__ import annotations

import gzip
import http.client
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from benchmarks.environments import ROOT, InstallError
from benchmarks.machine import describe
from benchmarks.probed import APPLICATION, SETTINGS, probed
from benchmarks.report import facts_list, plain_table
from benchmarks.servers import Server, checkout

CORES = "0,1"
HEADERS = {"Accept": "application/openmetrics-text;version=1.0.0", "Accept-Encoding": "gzip"}
CONNECTIONS = 12
"""Over each of which every route is asked: with two workers none is likely to be left out."""
MIDDLEWARE = 'MIDDLEWARE = ["twistserve.middleware.RouteMetricsMiddleware"]\n'
STATUSES = (200, 302, 404)
ROUTES = """
def answer(request):
    return HttpResponse(status=int(request.GET["status"]))


urlpatterns += [path(f"shop/department/{number}/", answer) for number in range(200)]
"""


@dataclass(frozen=True)
class Case:
    """How many processes serve, and what has been asked of them."""

    workers: int
    routes: int
    statuses: int


CASES = (Case(1, 0, 0), Case(1, 200, 1), Case(1, 200, 3), Case(2, 0, 0), Case(2, 200, 1), Case(2, 200, 3))


@dataclass(frozen=True)
class Measured:
    """What so many scrapes cost."""

    lines: int
    first: float
    """Seconds until the answer to the first scrape was there."""
    typical: float
    """The median of the others."""
    cpu: float
    """Seconds of CPU time of all processes for one of the others."""


def main(scrapes: int) -> None:
    """Measure each case with so many scrapes, and print."""
    try:
        installed = checkout(ROOT / "build" / "benchmarks" / "environments")
    except InstallError as error:
        raise SystemExit(str(error)) from error
    rows = []
    for case in CASES:
        one = measure(replace(installed, workers=case.workers), case, scrapes)
        times = (f"{seconds * 1000:.1f}" for seconds in (one.cpu, one.typical, one.first))
        rows.append((str(case.workers), str(case.routes), str(case.statuses), f"{one.lines:,}", *times))
    columns = ("workers", "routes", "statuses of each", "lines", "CPU ms", "median ms", "first ms")
    sys.stdout.write(plain_table(columns, rows) + "\n")
    with tempfile.TemporaryDirectory() as scratch:
        server = replace(installed, workers=2)
        facts = describe(f"python -m benchmarks.scrapes {scrapes}", [server], Path(scratch))
    sys.stdout.write(facts_list(facts))


def measure(server: Server, case: Case, scrapes: int) -> Measured:
    """Start the server, ask every route, and scrape."""
    with probed(server, core=CORES, settings=SETTINGS + MIDDLEWARE, application=APPLICATION + ROUTES) as parts:
        tree, port, probe_port = parts
        paths = [
            f"/shop/department/{route}/?status={status}"
            for route in range(case.routes)
            for status in STATUSES[: case.statuses]
        ]
        for _ in range(CONNECTIONS):
            ask_all(port, paths or ["/hello"])
        times, lines = [], 0
        for number in range(scrapes + 1):
            if number == 1:
                cpu = tree.cpu_seconds()
            began = time.monotonic()
            lines = scrape(probe_port)
            times.append(time.monotonic() - began)
        return Measured(lines, times[0], median(times[1:]), (tree.cpu_seconds() - cpu) / scrapes)


def ask_all(port: int, paths: Sequence[str]) -> None:
    """Ask for each path over one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    for path in paths:
        connection.request("GET", path)
        connection.getresponse().read()
    connection.close()


def scrape(port: int) -> int:
    """Scrape once; the lines of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    try:
        connection.request("GET", "/metrics", headers=HEADERS)
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    if response.status != 200:
        raise SystemExit(f"benchmarks: a scrape is answered with {response.status}")
    return gzip.decompress(body).count(b"\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50)
