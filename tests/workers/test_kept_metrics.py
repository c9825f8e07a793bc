"""What is counted before a fork: it is in the worker's files then, once, whatever is there already."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.functional.harness import UNTRACED

DECLARED = """
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.multiprocess import MultiProcessCollector
from twistserve.workers import kept_metrics
{before}
orders = Counter("orders", "Orders.", ["kind"])
tills = Gauge("tills", "Tills.", multiprocess_mode="livesum")
waits = Histogram("waits", "Waits.", buckets=(1,))
orders.labels("book").inc(2)
tills.set(3)
waits.observe(0.5)
{after}
import os, sys
os.environ["PROMETHEUS_MULTIPROC_DIR"] = sys.argv[1]
for name in ("worker-1", "worker-2", "worker-2"):
    if not os.fork():
        kept_metrics.go_on_as(name)
        orders.labels("book").inc()
        os._exit(0)
    os.wait()
registry = CollectorRegistry()
MultiProcessCollector(registry)
value = registry.get_sample_value
print(value("orders_total", {{"kind": "book"}}), value("tills"), value("waits_count"), value("waits_sum"))
print(*sorted(os.listdir(sys.argv[1])))
"""


@pytest.mark.parametrize(
    ("before", "after"),
    [("kept_metrics.keep()", ""), ("", "kept_metrics.keep_what_is_declared()")],
    ids=["started", "forked"],
)
def test_workers_go_on_from_what_was_counted(tmp_path: Path, before: str, after: str) -> None:
    """Each as if it had imported the application itself; a replacement adds to what its number has counted."""
    program = DECLARED.format(before=before, after=after)
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        env={name: value for name, value in {**os.environ, **UNTRACED}.items() if not name.startswith("PROMETHEUS")},
        capture_output=True,
        text=True,
        check=True,
    )
    numbers, files = done.stdout.splitlines()
    assert numbers == "9.0 6.0 3.0 1.5"
    assert {name.rpartition("_")[2] for name in files.split()} == {"1.db", "2.db"}
