"""Every metric, declared once, in prometheus-client's default registry: a project's own appear beside them.

Counters and histograms are updated where things happen; gauges whose value some part already knows are
read from it when Prometheus asks.
"""

from __future__ import annotations

import platform
from bisect import bisect_left
from collections.abc import Callable
from typing import Protocol

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
rejected_requests = Counter(
    "twistserve_http_rejected_requests_total",
    "Requests refused before the application saw them. malformed and timeout point to clients, the others to limits.",
    ["reason"],
)
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


class Tally:
    """A histogram's observations of one thread, handed to prometheus-client when it is scraped.

    Its own `observe` takes a lock three times; with four of them a request, that was a tenth of the server's share.
    """

    def __init__(self, histogram: Histogram) -> None:
        self._histogram = histogram
        self._bounds = histogram._upper_bounds
        self._counts = [0] * len(self._bounds)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value; always from the same thread."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def flush(self) -> None:
        """Hand over what was counted since the last time; from that same thread."""
        counts, self._counts = self._counts, [0] * len(self._bounds)
        total, self._sum = self._sum, 0.0
        self._histogram._sum.inc(total)
        for bucket, count in zip(self._histogram._buckets, counts, strict=True):
            if count:
                bucket.inc(count)


class _RequestSeries:
    """The request metrics for one method and handler; looking labels up costs more than counting."""

    def __init__(self, method: str, handler: str) -> None:
        self._labels = (method, handler)
        self.duration = Tally(request_duration.labels(method, handler))
        self.by_status: dict[int, int] = {}

    def flush(self) -> None:
        self.duration.flush()
        counted, self.by_status = self.by_status, {}
        method, handler = self._labels
        for status, count in counted.items():
            requests_total.labels(method, str(status), handler).inc(count)


_series: dict[tuple[bytes, str], _RequestSeries] = {}
_others: dict[str, _RequestSeries] = {}
_queue, _received, _sent = Tally(request_queue), Tally(request_size), Tally(response_size)


class AnsweredRequest(Protocol):
    """What is counted of a request; times in seconds, sizes of bodies in bytes."""

    method: bytes
    code: int
    handler: str
    duration: float
    queue_time: float
    body_length: int
    sentLength: int


def record_request(request: AnsweredRequest) -> None:
    """Count an answered request. Reactor thread."""
    method, handler, status = request.method, request.handler, request.code
    series = _series.get((method, handler)) or _new_series(method, handler)
    series.by_status[status] = series.by_status.get(status, 0) + 1
    series.duration.observe(request.duration)
    if request.queue_time:
        _queue.observe(request.queue_time)
    _received.observe(request.body_length)
    _sent.observe(request.sentLength)


def _new_series(method: bytes, handler: str) -> _RequestSeries:
    label = method_label(method.decode("latin-1"))
    if label == "OTHER":
        return _others.setdefault(handler, _RequestSeries(label, handler))
    return _series.setdefault((method, handler), _RequestSeries(label, handler))


def flush() -> None:
    """Hand what was counted to prometheus-client. Reactor thread, before a scrape."""
    for series in (*_series.values(), *_others.values()):
        series.flush()
    for tally in (_queue, _received, _sent):
        tally.flush()


def describe_build(django_version: str) -> None:
    """Set the versions, known once Django is imported."""
    build_info.labels(__version__, platform.python_version(), django_version, twisted.__version__).set(1)


def read_from(gauge: Gauge, value: Callable[[], float]) -> None:
    """Let a gauge ask for its value when it is scraped; `value` may be called from any thread."""
    gauge.set_function(value)
