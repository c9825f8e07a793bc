"""The catalogue of metrics, and how requests are counted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import REGISTRY, Counter, Histogram
from prometheus_client.metrics import MetricWrapperBase

from tests.support.contract import CONTRACT
from tests.support.metrics import Request
from twistserve.load import Load
from twistserve.metrics import catalogue as metrics

DECLARED = {
    metric._name.removeprefix("twistserve_") + ("_total" if isinstance(metric, Counter) else ""): metric
    for metric in vars(metrics).values()
    if isinstance(metric, MetricWrapperBase)
}
HOSTILE_METHODS = [b"PROPFIND", b"get", b"GET ", b"", b'"}', b"\xff\xfe", b"A" * 10_000, b"M-SEARCH", b"OTHER"]


def value(name: str, **labels: str) -> float:
    """A sample of the default registry, 0 while it is not there."""
    return REGISTRY.get_sample_value(f"twistserve_{name}", labels) or 0.0


def test_the_catalogue_is_the_contract() -> None:
    """Every metric is there, under its name, with its type and its labels, and no other."""
    assert list(DECLARED) == list(CONTRACT)
    for name, (kind, labels) in CONTRACT.items():
        assert isinstance(DECLARED[name], kind), name
        assert DECLARED[name]._labelnames == labels, name


@pytest.mark.parametrize("name", CONTRACT)
def test_every_help_text_has_advice(name: str) -> None:
    """One sentence says what is measured, another what to do with it."""
    text = DECLARED[name]._documentation
    assert text.endswith(".")
    assert text.count(". ") >= 1
    assert "\n" not in text
    assert "|" not in text


@pytest.mark.parametrize("name", [name for name, (kind, _) in CONTRACT.items() if name.endswith("_seconds")])
def test_durations_are_told_from_a_millisecond_to_a_minute(name: str) -> None:
    """Every histogram of seconds has buckets from 1 ms to 60 s, those of a route at most twelve."""
    metric = DECLARED[name]
    if isinstance(metric, Histogram):
        *bounds, last = metrics.DURATION_BOUNDS
        assert (bounds[0], bounds[-1], last) == (0.001, 60, float("inf"))
        buckets = metric._kwargs["buckets"]
        if name == "view_duration_seconds":
            assert (buckets[0], buckets[-1]) == (0.001, 60)
            assert len(buckets) < 12
            assert {*buckets} < {*bounds}
        else:
            assert buckets == tuple(bounds)


def test_every_reason_to_refuse_is_there_from_the_start() -> None:
    """A rate needs the 0 before the first refusal."""
    for reason in ("malformed", "head_too_large", "body_too_large", "timeout", "queue_full", "draining"):
        sample = REGISTRY.get_sample_value("twistserve_http_rejected_requests_total", {"reason": reason})
        assert sample is not None, reason


def test_an_answered_request_is_counted() -> None:
    """By method, status and handler, its duration, wait and sizes in histograms."""
    labels = {"method": "POST", "handler": "unit"}
    names = ("http_request_queue_seconds_count", "http_request_size_bytes_sum", "http_response_size_bytes_sum")
    metrics.flush()
    before = [value(name) for name in names]
    created = Request(b"POST", 201, duration=0.3, queue_time=0.1, body_length=1000, sent=70)
    metrics.record_requests([created, Request(b"POST", 503, duration=90)])
    metrics.flush()
    metrics.flush()
    assert value("http_requests_total", status="201", **labels) == 1
    assert value("http_requests_total", status="503", **labels) == 1
    assert value("http_request_duration_seconds_bucket", le="0.25", **labels) == 0
    assert value("http_request_duration_seconds_bucket", le="0.5", **labels) == 1
    assert value("http_request_duration_seconds_bucket", le="60.0", **labels) == 1
    assert value("http_request_duration_seconds_bucket", le="+Inf", **labels) == 2
    assert value("http_request_duration_seconds_sum", **labels) == pytest.approx(90.3)
    assert [value(name) - was for name, was in zip(names, before, strict=True)] == [1, 1000, 70]


def test_no_method_becomes_a_label_or_takes_memory() -> None:
    """Whatever clients make up counts as OTHER, in one series."""
    before = len(metrics.requests_total._metrics)
    for method in HOSTILE_METHODS:
        metrics.record_requests([Request(method, handler="hostile")])
    metrics.flush()
    assert value("http_requests_total", method="OTHER", status="200", handler="hostile") == len(HOSTILE_METHODS)
    assert len(metrics.requests_total._metrics) == before + 1
    for method in HOSTILE_METHODS:
        metrics.record_view("hostile/", method.decode("latin-1"), 200, 0.1)
    assert value("view_requests_total", route="hostile/", method="OTHER", status="200") == len(HOSTILE_METHODS)
    assert len([key for key in metrics.view_requests._metrics if key[0] == "hostile/"]) == 1


def test_services_are_shown_as_they_are_now() -> None:
    """One of each worker is up if it is in all of them, and its numbers are added up; what is gone is shown no more."""

    def number(service: str, name: str) -> float | None:
        return REGISTRY.get_sample_value("twistserve_service_value", {"service": service, "name": name})

    cache = [{"name": "cache", "up": True, "values": {"size": size}} for size in (2.0, 3)]
    metrics.show_services([*cache, {"name": "feed", "up": True, "values": {"symbols": 7.0}}])
    assert (number("cache", "size"), number("feed", "symbols")) == (5, 7)
    assert value("service_up", service="cache") == value("service_up", service="feed") == 1
    metrics.show_services([cache[0], {**cache[1], "up": False}])
    assert value("service_up", service="cache") == 0
    assert number("feed", "symbols") is None


def test_gauges_show_the_load_of_the_moment() -> None:
    """Each its number; what is over is shown no more."""
    names = ["threads", "threads_busy", "threads_stuck"]
    names += ["http_request_queue_length", "http_requests_in_progress", "http_connections"]
    metrics.show_load(Load(threads=4, busy=3, queued=2, stuck=1, requests=6, connections=40, websockets=5))
    assert list(map(value, names)) == [4, 3, 1, 2, 6, 40]
    metrics.show_load(Load(threads=4))
    assert list(map(value, names)) == [4, 0, 0, 0, 0, 0]


WORKER = """
from tests.support.metrics import Request
from twistserve.load import Load
from twistserve.metrics import catalogue as metrics

metrics.show_load(Load(threads=4))
metrics.record_requests([Request(duration=0.3)])
metrics.record_view("books/", "GET", 200, 0.3)
metrics.probe_status.labels("readiness").set({passing})
metrics.startup_seconds.set({passing} + 1)
metrics.flush()
"""
READER = """
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

registry = CollectorRegistry()
MultiProcessCollector(registry)
print(generate_latest(registry).decode())
"""


def test_several_processes_add_up(tmp_path: Path) -> None:
    """In prometheus-client's multiprocess mode counts and threads are summed, and the worst probe is told."""
    environ = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}

    def python(code: str) -> str:
        root = Path(__file__).resolve().parents[2]
        words = [sys.executable, "-c", code]
        return subprocess.run(words, env=environ, cwd=root, check=True, capture_output=True, text=True).stdout

    python(WORKER.format(passing=1))
    python(WORKER.format(passing=0))
    lines = python(READER).splitlines()
    for line in (
        "twistserve_threads 8.0",
        'twistserve_http_requests_total{handler="unit",method="GET",status="200"} 2.0',
        'twistserve_http_request_duration_seconds_bucket{handler="unit",le="0.5",method="GET"} 2.0',
        'twistserve_http_request_duration_seconds_bucket{handler="unit",le="0.25",method="GET"} 0.0',
        'twistserve_view_requests_total{method="GET",route="books/",status="200"} 2.0',
        'twistserve_view_duration_seconds_count{method="GET",route="books/"} 2.0',
        'twistserve_http_rejected_requests_total{reason="timeout"} 0.0',
        'twistserve_probe_status{probe="readiness"} 0.0',
        "twistserve_startup_seconds 2.0",
    ):
        assert line in lines
    assert not any("pid=" in line for line in lines)
