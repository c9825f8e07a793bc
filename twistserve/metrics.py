"""Every metric, declared once, in prometheus-client's default registry: a project's own appear beside them.

Counters and histograms are updated where things happen; gauges whose value some part already knows are
read from it when Prometheus asks.
"""

from __future__ import annotations

import platform
from collections.abc import Callable

from prometheus_client import Counter, Gauge, Histogram

import twisted
from twistserve import __version__

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_BYTES = (100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000)

METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"))


def method_label(method: str) -> str:
    """The method as a label: known ones as they are, anything a client made up as OTHER."""
    return method if method in METHODS else "OTHER"


build_info = Gauge(
    "twistserve_build_info",
    "Always 1; the labels tell which versions serve.",
    ["version", "python", "django", "twisted"],
)
startup_seconds = Gauge("twistserve_startup_seconds", "Seconds from the start of the service until it was ready.")
lifecycle_state = Gauge("twistserve_lifecycle_state", "1 for the state the process is in, 0 for the others.", ["state"])

requests_total = Counter(
    "twistserve_http_requests_total",
    "Requests answered. The rate of status 5xx among them is the error rate.",
    ["method", "status", "handler"],
)
request_duration = Histogram(
    "twistserve_http_request_duration_seconds",
    "Seconds from the last byte of a request to the last byte of its answer handed to the kernel.",
    ["method", "handler"],
    buckets=_SECONDS,
)
request_queue = Histogram(
    "twistserve_http_request_queue_seconds",
    "Seconds requests waited for a thread. Rising values ask for more threads or more replicas.",
    buckets=_SECONDS,
)
requests_in_progress = Gauge("twistserve_http_requests_in_progress", "Requests received and not yet answered.")
request_queue_length = Gauge("twistserve_http_request_queue_length", "Requests waiting for a thread.")
request_size = Histogram("twistserve_http_request_size_bytes", "Size of request bodies.", buckets=_BYTES)
response_size = Histogram("twistserve_http_response_size_bytes", "Size of answers' bodies.", buckets=_BYTES)
connections = Gauge("twistserve_http_connections", "Open connections of the web port.")
client_disconnects = Counter(
    "twistserve_http_client_disconnects_total",
    "Requests whose client went away before its answer was complete.",
)
threads = Gauge("twistserve_threads", "Threads that run requests.")
threads_busy = Gauge(
    "twistserve_threads_busy",
    "Threads running a request now. Always near twistserve_threads means saturation.",
)

probe_status = Gauge("twistserve_probe_status", "What the probe answered last: 1 passing, 0 failing.", ["probe"])
check_duration = Histogram(
    "twistserve_check_duration_seconds", "Seconds a check of a probe took.", ["check"], buckets=_SECONDS
)


def describe_build(django_version: str) -> None:
    """Set the versions, known once Django is imported."""
    build_info.labels(__version__, platform.python_version(), django_version, twisted.__version__).set(1)


def read_from(gauge: Gauge, value: Callable[[], float]) -> None:
    """Let a gauge ask for its value when it is scraped; `value` may be called from any thread."""
    gauge.set_function(value)
