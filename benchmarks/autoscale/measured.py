"""What the simulation takes from measurements: requests of the example project, and the start of its pod.

`python -m benchmarks.autoscale --measure 5` measures them and prints these constants, here rounded from three runs of
2026-11-26 on two shared cores. They are kept here so that the simulation gives the same result everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

THREADS = 8
"""Request threads of a pod, the default of --threads."""


@dataclass(frozen=True, order=True)
class Request:
    """One kind of request; times in seconds."""

    cpu: float
    """CPU time of the pod, the server's own included."""
    wait: float = 0.0
    """Time in which its thread waits for another machine."""


LIST, DETAIL = Request(cpu=0.0016, wait=0.0001), Request(cpu=0.0012, wait=0.0001)
"""The example's list of books and one book, on SQLite."""
PG_LIST, PG_DETAIL = Request(cpu=0.0014, wait=0.0003), Request(cpu=0.0010, wait=0.0002)
"""The same on PostgreSQL."""
SLOW = Request(cpu=0.00065, wait=0.202)
"""The example's view that waits 0.2 s, as one that asks a slow API would."""
START = 0.7
"""Seconds from the start of the container, with half a CPU, until the pod is ready."""

MIXES: dict[str, tuple[Request, ...]] = {
    "SQLite": (LIST, DETAIL),
    "PostgreSQL": (PG_LIST, PG_DETAIL),
    "a tenth slow": (*(PG_LIST, PG_DETAIL) * 9, SLOW, SLOW),
    "half slow": (PG_LIST, PG_DETAIL, SLOW, SLOW),
}
"""Kinds of load: each of the requests is as frequent as the others of its mix."""
