"""The metrics that are promised: each with its kind and labels."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

CONTRACT: dict[str, tuple[type[MetricWrapperBase], tuple[str, ...]]] = {
    "build_info": (Gauge, ("version", "python", "django", "twisted")),
    "startup_seconds": (Gauge, ()),
    "lifecycle_state": (Gauge, ("state",)),
    "http_requests_total": (Counter, ("method", "status", "handler")),
    "http_request_duration_seconds": (Histogram, ("method", "handler")),
    "http_request_queue_seconds": (Histogram, ()),
    "http_requests_in_progress": (Gauge, ()),
    "http_request_queue_length": (Gauge, ()),
    "http_request_size_bytes": (Histogram, ()),
    "http_response_size_bytes": (Histogram, ()),
    "http_connections": (Gauge, ()),
    "websockets": (Gauge, ()),
    "websocket_closes_total": (Counter, ("reason",)),
    "websocket_texts_dropped_total": (Counter, ()),
    "http_rejected_requests_total": (Counter, ("reason",)),
    "http_request_timeouts_total": (Counter, ()),
    "http_client_disconnects_total": (Counter, ()),
    "threads": (Gauge, ()),
    "threads_busy": (Gauge, ()),
    "threads_stuck": (Gauge, ()),
    "core_changes_total": (Counter, ()),
    "probe_status": (Gauge, ("probe",)),
    "service_up": (Gauge, ("service",)),
    "service_value": (Gauge, ("service", "name")),
    "check_duration_seconds": (Histogram, ("check",)),
    "reactor_lag_seconds": (Histogram, ()),
    "log_lines_dropped_total": (Counter, ()),
    "worker_restarts_total": (Counter, ("reason",)),
    "view_requests_total": (Counter, ("route", "method", "status")),
    "view_duration_seconds": (Histogram, ("route", "method")),
}
"""What dashboards and alerts of users rely on: type and labels by the name without its prefix."""
