"""Every metric, declared once, in prometheus-client's default registry: a project's own appear beside them.

Counters and histograms are updated where things happen; those of the load when Prometheus asks.
"""

from __future__ import annotations

import platform
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Any, Protocol

from prometheus_client import Counter, Gauge, Histogram

import twisted
from twistserve import __version__
from twistserve.load import Load
from twistserve.logs.containment import tell
from twistserve.logs.queue import queue

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_VIEW_SECONDS = (0.001, 0.005, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60)
"""Fewer: there is a histogram for each route."""
_BYTES = (100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000)

METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"))


def method_label(method: str) -> str:
    """The method as a label: known ones as they are, anything a client made up as OTHER."""
    return method if method in METHODS else "OTHER"


# Of several processes, a gauge tells the sum or the greatest value.
_live_sum = partial(Gauge, multiprocess_mode="livesum")
_live_max = partial(Gauge, multiprocess_mode="livemax")
_durations = partial(Histogram, buckets=_SECONDS)
_sizes = partial(Histogram, buckets=_BYTES)

build_info = _live_max(
    "twistserve_build_info",
    "Always 1; the labels say which versions are running. Count it by version to watch a roll-out.",
    ["version", "python", "django", "twisted"],
)
startup_seconds = _live_max(
    "twistserve_startup_seconds",
    "Seconds from the start of the service until it was ready, 0 before. Let the startup probe allow twice as long.",
)
lifecycle_state = _live_max(
    "twistserve_lifecycle_state",
    "1 for the state the process is in, 0 for the others. Long in starting: /startup says at which step.",
    ["state"],
)

requests_total = Counter(
    "twistserve_http_requests_total",
    "Requests that got a response. Their rate is the load, the share of status 5xx the error rate: alert on it.",
    ["method", "status", "handler"],
)
request_duration = _durations(
    "twistserve_http_request_duration_seconds",
    "Seconds from the last byte of a request until the last byte of its response is handed to the kernel."
    " Make a quantile of it your objective; if it rises with twistserve_http_request_queue_seconds, scale.",
    ["method", "handler"],
)
request_queue = _durations(
    "twistserve_http_request_queue_seconds",
    "Seconds that requests waited for a thread. If it rises, add threads if the CPU is idle, replicas if it is not.",
)
requests_in_progress = _live_sum(
    "twistserve_http_requests_in_progress",
    "Requests whose response is not complete, waiting ones included. If it keeps rising, requests come too fast.",
)
request_queue_length = _live_sum(
    "twistserve_http_request_queue_length",
    "Requests waiting for a thread. Readiness fails at --req-queue-len, requests get 503 at --max-queue: scale before.",
)
request_size = _sizes(
    "twistserve_http_request_size_bytes",
    "Size of request bodies. Set --max-body-size above the largest that you expect.",
)
response_size = _sizes(
    "twistserve_http_response_size_bytes",
    "Size of response bodies. The rate of the sum is the traffic; cache or paginate large ones.",
)
connections = _live_sum(
    "twistserve_http_connections",
    "Open connections of the web port, idle ones included. At --max-connections new ones wait: raise it or scale.",
)
websockets = _live_sum(
    "twistserve_websockets",
    "Open WebSockets, which count as connections too. A drain closes them: clients have to reconnect by themselves.",
)
websocket_closes = Counter(
    "twistserve_websocket_closes_total",
    "WebSockets that have ended: closed by either side, or going_away in a drain. The log names the others: if many are"
    " too_slow, they are sent too much.",
    ["reason"],
)
for _reason in ("closed", "going_away", "too_slow", "silent", "too_big", "failed"):
    websocket_closes.labels(_reason)
websocket_texts_dropped = Counter(
    "twistserve_websocket_texts_dropped_total",
    "Texts of twistserve.websocket.send() that found no room. Above 0, a process reads them too slowly.",
)
rejected_requests = Counter(
    "twistserve_http_rejected_requests_total",
    "Requests refused before the application saw them. malformed and timeout point to clients, queue_full to too few"
    " replicas, the others to limits.",
    ["reason"],
)
for _reason in ("malformed", "head_too_large", "body_too_large", "timeout", "queue_full", "draining"):
    rejected_requests.labels(_reason)
request_timeouts = Counter(
    "twistserve_http_request_timeouts_total",
    "Requests that exceeded --request-timeout. The log says which line of the view was running: start there.",
)
client_disconnects = Counter(
    "twistserve_http_client_disconnects_total",
    "Requests whose client left before the response was complete. If it rises with the duration, they lose patience.",
)
threads = _live_sum(
    "twistserve_threads",
    "Threads that run requests, stuck ones included. Compare twistserve_threads_busy with it.",
)
threads_busy = _live_sum(
    "twistserve_threads_busy",
    "Threads running a request now. All of them: add threads. Few, while requests wait: Python is busy, add replicas.",
)
threads_stuck = _live_sum(
    "twistserve_threads_stuck",
    "Threads whose request is past its deadline. The log says which line they are at: often a call without a timeout.",
)
core_changes = Counter(
    "twistserve_core_changes_total",
    "Times that --cpu-affinity auto took or freed a core. If many per second, other processes need the cores too.",
)
probe_status = Gauge(
    "twistserve_probe_status",
    "The probe's last result: 1 passing, 0 failing. Request a failing one yourself: its response names the reason.",
    ["probe"],
    multiprocess_mode="livemin",
)
service_up = Gauge(
    "twistserve_service_up",
    "Whether a service of --service runs: 1, or 0, also if one worker lacks it. At 0, the log says why it ended.",
    ["service"],
)
service_value = Gauge(
    "twistserve_service_value",
    "A number that a service of --service reports, summed over workers. The service chooses its name.",
    ["service", "name"],
)
check_duration = _durations(
    "twistserve_check_duration_seconds",
    "Seconds that a check of a probe took. At --check-timeout its probe fails: keep it well below.",
    ["check"],
)
reactor_lag = _durations(
    "twistserve_reactor_lag_seconds",
    "Seconds a timer of the reactor was late. Above 0.1, something blocks the reactor or the CPU limit is too low.",
)
log_lines_dropped = Counter(
    "twistserve_log_lines_dropped_total",
    "Log lines that could not be written. Above 0, standard output is not read fast enough, or a disk is full.",
)
worker_restarts = Counter(
    "twistserve_worker_restarts_total",
    "Worker processes replaced. Unless the reason is one you asked for, the log says how they ended.",
    ["reason"],
)
view_requests = Counter(
    "twistserve_view_requests_total",
    "Requests by route, none if nothing matched. Shows which route has the errors; needs RouteMetricsMiddleware.",
    ["route", "method", "status"],
)
view_duration = Histogram(
    "twistserve_view_duration_seconds",
    "Seconds until a route returned its response, without sending it. Optimise where the sum grows fastest;"
    " needs RouteMetricsMiddleware.",
    ["route", "method"],
    buckets=_VIEW_SECONDS,
)

views_counted = True
"""Whether `RouteMetricsMiddleware`, which Django makes, is to count."""


class Tally:
    """A histogram's observations of one thread, handed to prometheus-client when it is scraped.

    Its own `observe` takes a lock three times; with four of them a request, that was a tenth of the server's share.
    """

    def __init__(self, histogram: Histogram) -> None:
        self._histogram = histogram
        self._bounds = histogram._upper_bounds
        self.counts = [0] * len(self._bounds)
        """What was counted so far, by bucket."""
        self._flushed = self.counts.copy()
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value; always from the same thread."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def flush(self) -> None:
        """Hand over what was counted since the last time; from that same thread."""
        before, self._flushed = self._flushed, self.counts.copy()
        total, self._sum = self._sum, 0.0
        self._histogram._sum.inc(total)
        for bucket, count, flushed in zip(self._histogram._buckets, self._flushed, before, strict=True):
            if count > flushed:
                bucket.inc(count - flushed)


class _RequestSeries:
    """The request metrics for one method and handler; looking labels up costs more than counting."""

    def __init__(self, method: str, handler: str) -> None:
        self._labels = (method, handler)
        self.duration = Tally(request_duration.labels(method, handler))
        self.by_status: dict[int, int] = {}
        self._flushed: dict[int, int] = {}

    def flush(self) -> None:
        self.duration.flush()
        before, self._flushed = self._flushed, self.by_status.copy()
        method, handler = self._labels
        for status, count in self._flushed.items():
            requests_total.labels(method, str(status), handler).inc(count - before.get(status, 0))


_series: dict[tuple[bytes, str], _RequestSeries] = {}
_queue, _received, _sent = Tally(request_queue), Tally(request_size), Tally(response_size)
_views: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}


class CountedRequest(Protocol):
    """What is counted of a request; times in seconds, sizes of bodies in bytes."""

    method: bytes
    status: int
    handler: str
    duration: float
    queue_time: float
    body_length: int
    sent: int
    left: bool
    """Whether its client left before the response was complete."""


def record_requests(requests: Sequence[CountedRequest]) -> None:
    """Count requests; what fails with one does not keep the others from being counted. Reactor thread."""
    for request in requests:
        try:
            _record(request)
        except BaseException as error:
            tell(error)


def _record(request: CountedRequest) -> None:
    if request.left:
        client_disconnects.inc()
        return
    method, handler, status = request.method, request.handler, request.status
    series = _series.get((method, handler)) or _new_series(method, handler)
    series.by_status[status] = series.by_status.get(status, 0) + 1
    series.duration.observe(request.duration)
    if request.queue_time:
        _queue.observe(request.queue_time)
    _received.observe(request.body_length)
    _sent.observe(request.sent)


def _new_series(method: bytes, handler: str) -> _RequestSeries:
    label = method_label(method.decode("latin-1"))
    return _series.setdefault((label.encode(), handler), _RequestSeries(label, handler))


def record_view(route: str, method: str, status: int, seconds: float) -> None:
    """Count a route's response; callable from any thread."""
    key = route, method_label(method), status
    series = _views.get(key)
    if series is None:
        series = _views[key] = view_requests.labels(*key), view_duration.labels(*key[:2])
    requests, duration = series
    requests.inc()
    duration.observe(seconds)


_lost_lines = 0


def flush() -> None:
    """Hand what was counted to prometheus-client. Reactor thread, before a scrape."""
    flush_log()
    for series in _series.values():
        series.flush()
    for tally in (_queue, _received, _sent):
        tally.flush()


def show_load(load: Load) -> None:
    """Let the gauges show how busy the process is. Reactor thread, before a scrape."""
    threads.set(load.threads)
    threads_busy.set(load.busy)
    threads_stuck.set(load.stuck)
    request_queue_length.set(load.queued)
    requests_in_progress.set(load.requests)
    connections.set(load.connections)
    websockets.set(load.websockets)


def show_services(described: Iterable[Mapping[str, Any]]) -> None:
    """Let the gauges show the services; one that runs in each worker is described by each. Before a scrape."""
    up: dict[str, bool] = {}
    values: dict[tuple[str, str], float] = {}
    for each in described:
        name = each["name"]
        up[name] = up.get(name, True) and each["up"]
        for key, value in each["values"].items():
            values[name, key] = values.get((name, key), 0.0) + value
    service_value.clear()
    for labels, value in values.items():
        service_value.labels(*labels).set(value)
    for name, is_up in up.items():
        service_up.labels(name).set(is_up)


def flush_log() -> None:
    """The same for the lines of the log that are lost, which a process without requests has too."""
    global _lost_lines
    before, _lost_lines = _lost_lines, queue.dropped
    log_lines_dropped.inc(_lost_lines - before)


DURATION_BOUNDS = (*_SECONDS, inf)
"""Upper bounds of the buckets of durations, in seconds."""


@dataclass(frozen=True)
class Totals:
    """What was answered since the process began: all requests, by bucket of their duration, those of status 5xx.

    Without metrics there are no buckets and no errors to tell of.
    """

    requests: int
    durations: list[int]
    server_errors: int | None


def totals() -> Totals:
    """What was counted so far, of all methods and handlers. Reactor thread."""
    durations = [sum(counts) for counts in zip(*(each.duration.counts for each in _series.values()), strict=True)]
    errors = sum(count for each in _series.values() for status, count in each.by_status.items() if status >= 500)
    return Totals(sum(durations), durations or [0] * len(DURATION_BOUNDS), errors)


def describe_build(django_version: str) -> None:
    """Set the versions, known once Django is imported."""
    build_info.labels(__version__, platform.python_version(), django_version, twisted.__version__).set(1)
