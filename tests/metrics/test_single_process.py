"""What a process counts although PROMETHEUS_MULTIPROC_DIR is set; each case in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import os
import prometheus_client
import twistserve.metrics.single_process
assert not [name for name in os.environ if name.lower() == "prometheus_multiproc_dir"]
for kind in (prometheus_client.Counter, prometheus_client.Gauge):
    metric = kind(f"a_{kind.__name__.lower()}", "of the project")
    metric.inc()
assert prometheus_client.REGISTRY.get_sample_value("a_counter_total") == 1
assert prometheus_client.REGISTRY.get_sample_value("a_gauge") == 1
"""


@pytest.mark.parametrize("name", ["PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"])
def test_metrics_are_in_memory(tmp_path: Path, name: str) -> None:
    """The project's too, and though prometheus-client was imported first; children do not see the directory either."""
    # The older of the names is deprecated: prometheus-client warns.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", PROGRAM]
    environment = {**os.environ, name: str(tmp_path)}
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []
