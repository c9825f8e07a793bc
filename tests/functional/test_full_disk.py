"""A temporary directory without room: workers serve on, and are counted as far as there is room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.functional.harness import Serve, Server, wait_for
from tests.support.functional.mounts import namespaced
from tests.support.functional.workers import workers

VIEWS = """
import os, tempfile
from django.http import HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from prometheus_client import Counter, Histogram
calls = Counter("shop_calls", "Calls. " * 40, ["who"])
took = Histogram("shop_took_seconds", "Time. " * 40, ["who"])

def fill(request):
    with open(os.path.join(tempfile.gettempdir(), "upload"), "ab", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError as error:
            return HttpResponse(error.strerror)

def empty(request):
    os.unlink(os.path.join(tempfile.gettempdir(), "upload"))
    return HttpResponse("emptied")

def count(request):
    for number in range(int(request.GET["first"]), int(request.GET["last"])):
        calls.labels(f"customer {number}").inc()
        took.labels(f"customer {number}").observe(1)
    return HttpResponse(f"{os.getpid()} counted")

@csrf_exempt
def upload(request):
    return HttpResponse(len(request.body))

urlpatterns = [path(f"{view.__name__}/", view) for view in (fill, empty, count, upload)]
"""
SETTINGS = """
MIDDLEWARE = ["twistserve.middleware.RouteMetricsMiddleware", "django.middleware.common.CommonMiddleware"]
"""


@pytest.fixture
def shop(serve: Serve, project: Callable[..., Path], tmp_path: Path) -> Callable[..., Server]:
    """Start two workers whose temporary directory is a small file system of their own."""
    directory = project(VIEWS, SETTINGS)
    small = tmp_path / "small"
    small.mkdir()

    def start(kilobytes: int, *args: str) -> Server:
        mount = f"mount -t tmpfs -o size={kilobytes}k none '{small}'"
        return serve(
            *("--workers", "2", "--threads", "2", *args),
            cwd=directory,
            settings="site_settings",
            env={"TMPDIR": str(small)},
            prefix=namespaced(mount),
        )

    return start


def both_ready(server: Server) -> set[int]:
    """The pids of two workers, once both are ready."""
    wait_for(lambda: server.stdout.count("is ready after") + server.stderr.count("is ready after") == 2, "workers")
    return set(workers(server))


def number(server: Server, sample: str) -> float:
    found = [line for line in server.probe("/metrics").text.splitlines() if line.startswith(f"{sample} ")]
    return float(found[0].rpartition(" ")[2]) if found else 0.0


def test_a_temporary_directory_that_fills_up(shop: Callable[..., Server]) -> None:
    """No worker dies, what has room is counted on, and each says once that something has none."""
    server = shop(4096)
    before = both_ready(server)
    assert server.get("/count/?first=0&last=3").status == 200
    answered = 'twistserve_http_requests_total{handler="django",method="GET",status="200"}'
    wait_for(lambda: number(server, answered), "the request to be counted")
    assert server.get("/fill/").text == "No space left on device"
    # More series than fit into what was allocated, in both workers.
    counted: set[str] = set()
    wait_for(
        lambda: counted.add(server.get("/count/?first=0&last=2000").text) or len(counted) == 2,  # type: ignore[func-returns-value]
        "both workers to have counted",
    )
    for _ in range(20):
        assert server.get("/count/?first=0&last=5").text.endswith("counted")
    assert set(workers(server)) == before
    assert number(server, 'shop_calls_total{who="customer 0"}') >= 20
    assert number(server, 'shop_took_seconds_count{who="customer 1"}') >= 20
    # A worker that had not written its own before its file was full has none.
    assert number(server, answered) > 1
    for path in ("/startup", "/ready", "/alive", "/metrics"):
        assert server.probe(path).status == 200
    said = "there is no room for metrics in"
    wait_for(lambda: server.output.count(said) == 2, "both workers to say so")
    assert server.get("/empty/").text == "emptied"
    server.terminate()
    assert server.output.count(said) == 2
    assert "SIGBUS" not in server.output
    assert "Traceback" not in server.output


def test_a_temporary_directory_too_small_for_any_metrics(shop: Callable[..., Server]) -> None:
    """Workers start and serve uncounted, and the probes are answered."""
    server = shop(32)
    before = both_ready(server)
    for _ in range(10):
        assert server.get("/count/?first=0&last=3").text.endswith("counted")
    assert server.probe("/metrics").status == 200
    assert server.probe("/ready").status == 200
    wait_for(lambda: server.output.count("there is no room for metrics in") == 2, "both workers to say so")
    assert set(workers(server)) == before
    assert server.terminate() == 0
    assert "Traceback" not in server.output


def test_nothing_can_be_written(serve: Serve, project: Callable[..., Path]) -> None:
    """Without any place for the directory of the metrics the start goes on, and says what is missing."""
    directory = project(VIEWS, SETTINGS)
    script = "\n".join(
        f"if [ -d {place} ]; then mount --bind {place} {place}; mount -o remount,bind,ro {place}; fi"
        for place in ("/tmp", "/var/tmp", "/usr/tmp", f"'{directory}'")
    )
    server = serve("--workers", "2", cwd=directory, settings="site_settings", prefix=namespaced(f"{script}\ncd ."))
    both_ready(server)
    assert server.get("/count/?first=0&last=3").text.endswith("counted")
    assert server.probe("/metrics").status == 200
    assert server.probe("/ready").status == 200
    assert "there is no room for a directory of the workers' metrics" in server.output
    assert server.terminate() == 0
    assert "Traceback" not in server.output


def test_one_process_needs_no_room(shop: Callable[..., Server]) -> None:
    """It counts in memory."""
    server = shop(16, "--workers", "1")
    assert server.get("/fill/").text == "No space left on device"
    assert server.get("/count/?first=0&last=500").status == 200
    assert number(server, 'shop_calls_total{who="customer 499"}') == 1
    assert server.get("/upload/", method="POST", body=b"x" * 2_000_000).status == 507
