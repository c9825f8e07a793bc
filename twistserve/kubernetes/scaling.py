"""What the autoscalers go by that look at request threads: the metric, its query, the target and the behavior.

A request thread that is busy or a request that waits for one is work, whether it computes or waits for a database.
"""

from __future__ import annotations

from typing import Any

METRIC = "twistserve_thread_load"
"""The name under which prometheus-adapter serves each pod's work as a multiple of its threads."""
SELECTOR = "SELECTOR"
"""Stands in the query for the label matchers of a Deployment's pods."""
QUERY = (
    "(sum(avg_over_time(twistserve_threads_busy{SELECTOR}[1m]))"
    " + sum(avg_over_time(twistserve_http_request_queue_length{SELECTOR}[1m])))"
    " / avg(twistserve_threads{SELECTOR})"
)
"""The same for all pods together, for KEDA, which divides it by the target to get the number of pods."""
TARGET = 0.7
"""What one pod is to have of it: as with the CPU, what is left is for the minute until another pod is ready."""
BEHAVIOR: dict[str, Any] = {
    "scaleUp": {"stabilizationWindowSeconds": 0},
    "scaleDown": {"stabilizationWindowSeconds": 300},
}
"""The field of a HorizontalPodAutoscaler: pods are added at once, and taken away after five minutes of less work."""
