"""A real Prometheus server scrapes the probe port and is asked what it got; promtool reads the exposition."""

from __future__ import annotations

import platform
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import django
import pytest

import twisted
import twistserve
from tests.support.functional.harness import EXAMPLE, Serve, Server, free_port, wait_for
from tests.support.functional.prometheus import PROMTOOL, Scrape, Series

LOGO = EXAMPLE / "catalogue" / "static" / "catalogue" / "logo.png"


@pytest.fixture
def shop(example: Path) -> Path:
    """The example project with a media file."""
    covers = example / "media" / "covers"
    covers.mkdir(parents=True)
    (covers / "logo.png").write_bytes(LOGO.read_bytes())
    return example


TRAFFIC: dict[tuple[str, str, int], tuple[str, str]] = {
    ("GET", "/", 200): ("django", "GET"),
    ("HEAD", "/", 200): ("django", "HEAD"),
    ("GET", "/books/1/", 200): ("django", "GET"),
    ("GET", "/stream/?chunks=3", 200): ("django", "GET"),
    ("GET", "/admin/", 302): ("django", "GET"),
    ("GET", "/nowhere/", 404): ("django", "GET"),
    ("GET", "/slow/?seconds=never", 400): ("django", "GET"),
    ("GET", "/boom/", 500): ("django", "GET"),
    ("POST", "/echo/", 200): ("django", "POST"),
    ("GET", "/echo/", 405): ("django", "GET"),
    ("POST", "/upload/1/", 403): ("django", "POST"),
    ("PROPFIND", "/books/1/", 403): ("django", "OTHER"),
    ("GET", "/static/catalogue/style.css", 200): ("static", "GET"),
    ("HEAD", "/static/catalogue/logo.svg", 200): ("static", "HEAD"),
    ("GET", "/static/nowhere.css", 404): ("static", "GET"),
    ("GET", "/media/covers/logo.png", 200): ("media", "GET"),
    ("GET", "/media/covers/nowhere.png", 404): ("media", "GET"),
}
"""Requests with the status each is answered, and the handler and method they are counted under."""


def send_traffic(server: Server) -> Series:
    """Send one request of each kind; return what has to be counted, by handler, method and status."""
    counts: Series = {}
    for (method, path, status), (handler, label) in TRAFFIC.items():
        reply = server.get(path, method=method, body=b"x" * 1000 if method == "POST" else None)
        assert reply.status == status, f"{method} {path}\n{server.output}"
        key = (handler, label, str(status))
        counts[key] = counts.get(key, 0) + 1
    return counts


def by_handler(counts: Series) -> Series:
    """The same counts by handler only."""
    totals: Series = {}
    for (handler, *_), count in counts.items():
        totals[handler,] = totals.get((handler,), 0) + count
    return totals


@pytest.mark.parametrize("runner", ["twistd", "manage"])
def test_prometheus_counts_every_request_by_handler_method_and_status(
    serve: Serve, shop: Path, scrape: Scrape, runner: str
) -> None:
    """What Prometheus scraped tells how many requests of which kind there were, and for how many bytes."""
    server = serve("--static", "--media", "--threads", "3", cwd=shop, runner=runner)
    prometheus = scrape(server.probe_port)
    prometheus.wait_until_up_is(1)
    expected = send_traffic(server)
    labels = ("handler", "method", "status")

    prometheus.wait_until(
        lambda: prometheus.value("sum(twistserve_http_requests_total)") == len(TRAFFIC), "all requests to be counted"
    )
    assert prometheus.query("twistserve_http_requests_total", *labels) == expected

    totals = by_handler(expected)
    durations = "sum by (handler) (twistserve_http_request_duration_seconds_count)"
    assert prometheus.query(durations, "handler") == totals
    assert prometheus.value("twistserve_http_request_queue_seconds_count") == totals["django",]
    assert prometheus.value("twistserve_http_request_size_bytes_count") == len(TRAFFIC)
    assert prometheus.value("twistserve_http_request_size_bytes_sum") == 2 * 1000
    sent = prometheus.value("twistserve_http_response_size_bytes_sum")
    assert sent is not None
    assert sent > LOGO.stat().st_size
    assert prometheus.value("twistserve_threads") == 3
    assert prometheus.value("twistserve_http_requests_in_progress") == 0

    assert server.terminate() == 0
    prometheus.wait_until_up_is(0)


def test_prometheus_computes_how_long_requests_take(serve: Serve, shop: Path, scrape: Scrape) -> None:
    """histogram_quantile over the duration buckets gives about the time that requests took, for each handler."""
    server = serve("--static", cwd=shop)
    prometheus = scrape(server.probe_port)
    for _ in range(4):
        assert server.get("/slow/?seconds=0.3").status == 200
        assert server.get("/static/catalogue/style.css").status == 200

    count = "sum(twistserve_http_request_duration_seconds_count)"
    prometheus.wait_until(lambda: prometheus.value(count) == 8, "the requests to be scraped")
    buckets = "sum by (handler, le) (twistserve_http_request_duration_seconds_bucket)"
    median = prometheus.query(f"histogram_quantile(0.5, {buckets})", "handler")
    assert set(median) == {("django",), ("static",)}
    assert 0.1 < median["django",] < 3
    assert 0 <= median["static",] < median["django",]

    # What dashboards ask: a rate needs growth between two scrapes.
    for _ in range(4):
        assert server.get("/slow/?seconds=0.3").status == 200
    rates = 'sum by (le) (rate(twistserve_http_request_duration_seconds_bucket{handler="django"}[1m]))'
    recent = prometheus.wait_until(
        lambda: prometheus.value(f"histogram_quantile(0.5, {rates}) > 0"), "a quantile of the last minute"
    )
    assert 0.1 < recent < 3


def test_prometheus_sees_the_whole_life_of_the_service(serve: Serve, shop: Path, scrape: Scrape) -> None:
    """Scrapes tell starting, ready, draining and gone apart: one state is 1 at any time, and in this order."""
    port = free_port()
    prometheus = scrape(port + 1)
    prometheus.wait_until_up_is(0)
    state = "twistserve_lifecycle_state"

    def seen(name: str) -> bool:
        return prometheus.value(f'max_over_time({state}{{state="{name}"}}[5m])') == 1

    words = ("--port", str(port), "--command", "prepare --seconds 4")
    server = serve(*words, cwd=shop, port=port, runner="manage", until=None)
    prometheus.wait_until(lambda: prometheus.query(f"{state} == 1", "state") == {("starting",): 1}, "starting")
    prometheus.wait_until(lambda: prometheus.query(f"{state} == 1", "state") == {("ready",): 1}, "ready")
    assert not seen("draining")
    assert not seen("stopped")
    took = prometheus.value("twistserve_startup_seconds")
    assert took is not None
    assert took >= 4
    assert set(prometheus.query("twistserve_build_info == 1", "django", "twisted", "python", "version")) == {versions()}
    prometheus.wait_until(lambda: prometheus.value("twistserve_threads") == 8, "the threads")

    with ThreadPoolExecutor(1) as client:
        in_flight = client.submit(server.get, "/slow/?seconds=6")
        prometheus.wait_until(lambda: prometheus.value("twistserve_http_requests_in_progress") == 1, "the request")
        assert prometheus.value("twistserve_threads_busy") == 1
        server.signal(signal.SIGTERM)
        prometheus.wait_until(lambda: prometheus.query(f"{state} == 1", "state") == {("draining",): 1}, "draining")
        assert in_flight.result().status == 200
    assert server.wait() == 0
    prometheus.wait_until_up_is(0)
    assert prometheus.value(f"min_over_time(sum({state})[5m:1s])") == 1
    assert prometheus.value(f"max_over_time(sum({state})[5m:1s])") == 1


def versions() -> tuple[str, ...]:
    """The versions that twistserve_build_info is to tell."""
    return django.__version__, twisted.__version__, platform.python_version(), twistserve.__version__


def test_prometheus_knows_the_type_and_the_meaning_of_every_metric(serve: Serve, shop: Path, scrape: Scrape) -> None:
    """Each metric reaches Prometheus with the type of the contract and a help text."""
    types = {
        "build_info": "gauge",
        "startup_seconds": "gauge",
        "lifecycle_state": "gauge",
        "http_requests": "counter",
        "http_request_duration_seconds": "histogram",
        "http_request_queue_seconds": "histogram",
        "http_requests_in_progress": "gauge",
        "http_request_queue_length": "gauge",
        "http_request_size_bytes": "histogram",
        "http_response_size_bytes": "histogram",
        "http_connections": "gauge",
        "http_rejected_requests": "counter",
        "http_request_timeouts": "counter",
        "http_client_disconnects": "counter",
        "threads": "gauge",
        "threads_busy": "gauge",
        "threads_stuck": "gauge",
        "probe_status": "gauge",
        "check_duration_seconds": "histogram",
        "reactor_lag_seconds": "histogram",
        "worker_restarts": "counter",
        "view_requests": "counter",
        "view_duration_seconds": "histogram",
    }
    server = serve(cwd=shop)
    prometheus = scrape(server.probe_port)
    prometheus.wait_until_up_is(1)
    metadata = prometheus.wait_until(lambda: prometheus.api("metadata"), "metadata")
    found = {name.removeprefix("twistserve_"): entries for name, entries in metadata.items()}
    assert {name: [entry["type"] for entry in found.get(name, [])] for name in types} == {
        name: [kind] for name, kind in types.items()
    }
    assert [name for name in types if not found[name][0]["help"]] == []


@pytest.mark.parametrize("debug", ["1", "0"])
def test_promtool_has_nothing_to_say_about_the_metrics(serve: Serve, shop: Path, debug: str) -> None:
    """`promtool check metrics` finds the exposition valid and well-named, before any traffic and after all kinds."""
    server = serve("--static", "--media", cwd=shop, env={"BOOKSHOP_DEBUG": debug})
    assert promtool(server) == (0, "")
    expected = send_traffic(server)
    series = "\ntwistserve_http_requests_total{"
    wait_for(lambda: server.probe("/metrics").text.count(series) == len(expected), "all kinds to be counted")
    for path in ("/startup", "/ready", "/alive"):
        assert server.probe(path).status == 200
    assert promtool(server) == (0, "")


def promtool(server: Server) -> tuple[int, str]:
    """The exit status and the words of `promtool check metrics` about what /metrics shows now."""
    reply = server.probe("/metrics")
    assert reply.status == 200
    assert b"\ntwistserve_lifecycle_state{" in reply.body
    finished = subprocess.run([PROMTOOL, "check", "metrics"], input=reply.body, capture_output=True, check=False)
    return finished.returncode, (finished.stdout + finished.stderr).decode()
