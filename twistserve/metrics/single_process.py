"""Imported before anything declares a metric, where a service starts: what this process counts is its own.

PROMETHEUS_MULTIPROC_DIR, which other servers need, has prometheus-client keep every number in files there: next to
those of others, of processes that had this one's pid, or in a directory that is gone. Workers are given a directory by
their parent.
"""

from __future__ import annotations

import os

from prometheus_client import values

for _name in ("PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"):
    os.environ.pop(_name, None)
values.ValueClass = values.MutexValue
