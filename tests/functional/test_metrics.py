"""What /metrics answers: formats, bounded labels, routes, the reactor's lag, and nothing where it is switched off."""

from __future__ import annotations

import gzip
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.support.contract import CONTRACT
from tests.support.functional.harness import Reply, Serve, Server, raw, serving, wait_for, write_project

VIEWS = """
from django.http import HttpResponse
from django.urls import path
from prometheus_client import REGISTRY, generate_latest

def hello(request, **matched):
    return HttpResponse(b"hello")

def registry(request):
    return HttpResponse(generate_latest(REGISTRY))

urlpatterns = [path("", hello), path("hello/<slug:name>/", hello), path("registry/", registry)]
"""
SETTINGS = "MIDDLEWARE = ['twistserve.middleware.RouteMetricsMiddleware']\n"
COLLECTOR = """
import os, time
from prometheus_client import REGISTRY

class Gated:
    def describe(self):
        return []

    def collect(self):
        if os.path.exists("broken"):
            raise LookupError("the shelf is empty")
        while os.path.exists("gate"):
            time.sleep(0.02)
        return []

REGISTRY.register(Gated())
"""

MEASURED = tuple(f"twistserve_{name}" for name in ("http_", "view_", "threads", "reactor_"))
"""What the names of metrics begin with that requests and the reactor are measured by."""

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture(scope="module")
def hello(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of a few views, and of a collector that hangs while the file `gate` is there."""
    directory = tmp_path_factory.mktemp("metrics")
    cwd = write_project(directory / "project", VIEWS + COLLECTOR, SETTINGS)
    with serving(cwd=cwd, logs=directory, settings="site_settings") as server:
        yield server


def samples(reply: Reply) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse_text(reply.text)
        for sample in family.samples
    }


def value(server: Server, name: str, **labels: str) -> float:
    """A sample, 0 while it is not there."""
    return samples(server.probe("/metrics")).get((f"twistserve_{name}", frozenset(labels.items())), 0.0)


def labels_in(server: Server) -> set[str]:
    """Every value of a label of the server's own metrics, but the bounds of buckets."""
    return {
        text
        for name, labels in samples(server.probe("/metrics"))
        if name.startswith("twistserve_")
        for label, text in labels
        if label != "le"
    }


def test_the_whole_catalogue_is_exported(hello: Server) -> None:
    """Every metric of the contract is there with its type and its help, whether or not anything has happened yet."""
    families = {family.name: family for family in parse_text(hello.probe("/metrics").text)}
    for name, (kind, _) in CONTRACT.items():
        family = families[f"twistserve_{name.removesuffix('_total')}"]
        assert family.type == kind._type, name
        assert family.documentation, name


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text; version=1.0.0"])
def test_gzip_for_who_takes_it(hello: Server, accept: str) -> None:
    """The same metrics, less than half as large, in either format; nobody else gets them compressed."""
    plain = hello.probe("/metrics", headers={"Accept": accept})
    reply = hello.probe("/metrics", headers={"Accept": accept, "Accept-Encoding": "deflate, gzip;q=0.8"})
    assert plain.headers["Content-Encoding"] is None
    assert reply.headers["Content-Encoding"] == "gzip"
    assert reply.headers["Content-Type"] == plain.headers["Content-Type"]
    assert len(reply.body) * 2 < len(plain.body)
    parse = parse_openmetrics if accept else parse_text
    names = [family.name for family in parse(plain.text)]
    assert [family.name for family in parse(gzip.decompress(reply.body).decode())] == names


@pytest.mark.parametrize(
    "headers",
    [
        {"Accept": "application/openmetrics-text;version=abc"},
        {"Accept": "application/openmetrics-text;version=1.0.0.x;escaping=\xff"},
        {"Accept": ",;q=,;;==,"},
        {"Accept-Encoding": "gzip;q=much"},
        {"Host": "made-up.example"},
    ],
)
def test_no_header_of_a_scraper_is_an_error(hello: Server, headers: dict[str, str]) -> None:
    """Whatever a scraper or a kubelet says, it gets its answer."""
    assert hello.probe("/metrics", headers=headers).status == 200
    assert hello.probe("/ready", headers=headers).status == 200


def test_visitors_make_no_labels(hello: Server) -> None:
    """Methods, paths, queries, headers and host names that visitors make up never show."""
    hello.get("/")
    hello.get("/nowhere/")
    hello.get("/", method="PROPFIND")
    before = labels_in(hello)
    assert {"/", "none", "OTHER"} <= before
    for number in range(5):
        made_up = f"made-up-{number}"
        hello.get(f"/{made_up}/")
        hello.get(f"/hello/{made_up}/")
        hello.get(
            f'/?{made_up}="}}', headers={"Host": f"{made_up}.example", "User-Agent": made_up, "X-Method": made_up}
        )
        hello.get("/", headers={"X-HTTP-Method-Override": made_up, "X-Forwarded-Host": made_up})
    for method in ("PROPFIND", "M-SEARCH", "REPORT", "LINK"):
        hello.get("/", method=method)
    raw(hello.port, b"MADE-UP / HTTP/1.1\r\nHost: x\r\n\r\n")
    after = labels_in(hello)
    assert after - before <= {"hello/<slug:name>/", "400", "404", "405", "501"}
    assert "made-up" not in hello.probe("/metrics").text


def test_requests_are_counted_by_route(hello: Server) -> None:
    """The middleware's counts and durations, by the pattern that matched, while all requests count by handler."""
    labels = {"route": "hello/<slug:name>/", "method": "GET", "status": "200"}
    before = value(hello, "view_requests_total", **labels)
    timed = value(hello, "view_duration_seconds_count", route=labels["route"], method="GET")
    nowhere = value(hello, "view_requests_total", route="none", method="POST", status="404")
    for name in ("a", "b", "c"):
        assert hello.get(f"/hello/{name}/").status == 200
    assert hello.get("/nowhere/", method="POST").status == 404
    assert value(hello, "view_requests_total", **labels) == before + 3
    del labels["status"]
    assert value(hello, "view_duration_seconds_count", **labels) == timed + 3
    assert value(hello, "view_requests_total", route="none", method="POST", status="404") == nowhere + 1


def test_refused_requests_are_counted_by_reason(hello: Server) -> None:
    """Every reason is there from the start, with 0 until it happens."""
    reasons = {
        dict(labels)["reason"]: count
        for (name, labels), count in samples(hello.probe("/metrics")).items()
        if name == "twistserve_http_rejected_requests_total"
    }
    assert set(reasons) == {"malformed", "head_too_large", "body_too_large", "timeout", "queue_full", "draining"}
    raw(hello.port, b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n")
    raw(hello.port, b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 70_000 + b"\r\n\r\n")
    assert value(hello, "http_rejected_requests_total", reason="malformed") == reasons["malformed"] + 1
    assert value(hello, "http_rejected_requests_total", reason="head_too_large") == reasons["head_too_large"] + 1
    assert value(hello, "http_rejected_requests_total", reason="draining") == 0


def test_a_reactor_that_stands_still_is_seen(hello: Server) -> None:
    """The lag is measured all the time, and a process that was held up for two seconds says so."""
    count = value(hello, "reactor_lag_seconds_count")
    wait_for(lambda: value(hello, "reactor_lag_seconds_count") >= count + 4, "measurements")
    total = value(hello, "reactor_lag_seconds_sum")
    hello.signal(signal.SIGSTOP)
    time.sleep(2)
    hello.signal(signal.SIGCONT)
    wait_for(lambda: value(hello, "reactor_lag_seconds_sum") > total + 1, "the lag to be measured")


def test_a_collector_that_hangs_takes_nothing_else_with_it(hello: Server) -> None:
    """Scrapes that wait for it are bounded, further ones are refused; afterwards everything is as it was."""
    gate = hello.cwd / "gate"
    gate.touch()
    refused: list[Reply] = []

    def is_refused() -> bool:
        try:
            refused.append(hello.probe("/metrics", timeout=0.3))
        except TimeoutError:
            return False
        return True

    try:
        wait_for(is_refused, "a scrape to be refused")
        assert refused[0].status == 503
        assert "collector" in refused[0].text
        threads = [path.read_text() for path in Path(f"/proc/{hello.process.pid}/task").glob("*/comm")]
        assert len(threads) < 30
        assert hello.probe("/ready").status == 200
        assert hello.get("/").status == 200
    finally:
        gate.unlink()
    wait_for(lambda: hello.probe("/metrics").status == 200, "scrapes to work again")


def test_a_collector_that_fails_is_told(hello: Server) -> None:
    """A scrape answers 500 with the kind of the error, and the log has the traceback."""
    broken = hello.cwd / "broken"
    broken.touch()
    try:
        reply = hello.probe("/metrics", headers={"Accept-Encoding": "gzip"})
    finally:
        broken.unlink()
    assert (reply.status, reply.headers["Content-Encoding"]) == (500, None)
    assert "LookupError" in reply.text
    assert "shelf" not in reply.text
    wait_for(lambda: "the shelf is empty" in hello.output, "the traceback")
    assert hello.probe("/metrics").status == 200


@pytest.mark.parametrize("option", ["--no-metrics", "--no-probe"])
def test_nothing_is_counted_without_metrics(serve: Serve, project: Callable[..., Path], option: str) -> None:
    """With --no-metrics, or without a probe port, requests, views and the reactor's lag are not measured."""
    cwd = project(VIEWS, SETTINGS)
    until = "/ready" if option == "--no-metrics" else None
    server = serve(option, cwd=cwd, settings="site_settings", until=until)

    def is_up() -> bool:
        try:
            return server.get("/").status == 200
        except OSError:
            return False

    wait_for(is_up, "the server")
    for _ in range(10):
        assert server.get("/hello/x/").status == 200
    assert server.get("/", method="PROPFIND").status == 200
    raw(server.port, b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n")
    time.sleep(1)  # several measurements of the reactor's lag
    assert [
        (name, dict(labels))
        for (name, labels), value in samples(server.get("/registry/")).items()
        if name.startswith(MEASURED) and not name.endswith("_created") and value
    ] == []
