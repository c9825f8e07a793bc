"""The rule by which an autoscaler follows the load of the request threads.

docs/kubernetes.md says how it was found (`python -m benchmarks.autoscale`); deploy/prometheus/adapter.yaml has it for
prometheus-adapter, and a test holds that both are the same.
"""

from __future__ import annotations

from typing import Any

CPU, THREADS = WAYS = ("cpu", "threads")
"""What an autoscaler may follow: the values of --scale-by."""

METRIC = "twistserve_thread_load"
"""The name of the metric of pods: requests that run or wait, for each request thread."""
TARGET = 0.5
"""What the autoscaler keeps it at with 8 threads, on average over the pods."""
TARGETS = ((5, 0.4), (11, TARGET), (22, 0.4))
MANY = 0.25
"""The same for up to so many threads, and for more: 4, 8, 16 and 32 were simulated. With few of them, all are busy by
chance more often; where requests compute, more threads do no more work, so that the same load is a longer queue."""
WINDOW = "1m"
"""The time over which Prometheus averages: four scrapes of 15 s, two of 30 s."""
MOST = 1
"""The greatest value of a pod: a long queue does not need more pods in proportion to its length."""
SELECTOR = "SELECTOR"
"""Stands in the queries for the label matchers of a Deployment's pods."""
POD_QUERY = (
    f"clamp_max((sum by (pod) (avg_over_time(twistserve_threads_busy{{{SELECTOR}}}[{WINDOW}]))"
    f" + sum by (pod) (avg_over_time(twistserve_http_request_queue_length{{{SELECTOR}}}[{WINDOW}])))"
    f" / sum by (pod) (avg_over_time(twistserve_threads{{{SELECTOR}}}[{WINDOW}])), {MOST})"
)
"""PromQL for the value of each pod, as prometheus-adapter asks for it."""
QUERY = f"sum({POD_QUERY})"
"""The same for all pods together, for KEDA, which divides it by the target to get the number of pods."""

BEHAVIOR: dict[str, Any] = {
    "scaleDown": {
        "stabilizationWindowSeconds": 300,
        "policies": [{"type": "Percent", "value": 10, "periodSeconds": 60}],
    }
}
"""The field `behavior` of the autoscaler: a tenth of the pods a minute at most is taken away. Half as many pods have
more than twice the queue, so that the metric asks for too few after a peak."""


def target(threads: int) -> float:
    """What the autoscaler keeps the metric at."""
    return next((value for most, value in TARGETS if threads <= most), MANY)


def metric(threads: int) -> dict[str, Any]:
    """The metric for the field `metrics` of a HorizontalPodAutoscaler. Quantities are in thousandths."""
    wanted = {"type": "AverageValue", "averageValue": f"{target(threads) * 1000:.0f}m"}
    return {"type": "Pods", "pods": {"metric": {"name": METRIC}, "target": wanted}}
