"""The resources of a pod: CPU, memory and space for temporary files."""

from __future__ import annotations

import math
from typing import Any

from twistserve.errors import StartError
from twistserve.kubernetes.chosen import Chosen
from twistserve.kubernetes.yaml import Remark
from twistserve.options import Configuration

MIB = 1 << 20
ONE_PROCESS, EACH_PROCESS = 69, 56
"""MiB of the example project: the only process, and each of a parent and its workers. See docs/workers.md, where later
measurements are lower."""
TIMES = 3
"""Multiple of that for the limit: other projects are larger, and the kernel kills a pod that exceeds it."""
OVER_MAX_MEMORY = 1.25
"""Multiple of --max-memory for the limit: its replacement starts while the old worker drains."""
STEP = 64
"""MiB; memory is rounded up to a multiple of it."""
CPU = 500
"""Thousandths of a CPU for each worker."""
BUSY = 70
"""Percentage of the requested CPU at which the autoscaler adds pods."""
METRICS = 1
"""MiB of temporary files for the metrics of each worker: docs/workers.md."""
OTHER_FILES = 16
"""MiB for all other temporary files."""

_REPLACE = "Measured on a small project, and only a starting point: replace it with what your project uses."


def memory(configuration: Configuration, chosen: Chosen) -> int:
    """Bytes; the pod's request and limit. Raises `StartError` if --max-memory does not fit into it."""
    workers, most = configuration.workers, configuration.max_memory
    processes = 1 if workers == 1 else workers + 1
    if chosen.memory is None:
        example = ONE_PROCESS if workers == 1 else EACH_PROCESS * processes
        # --max-memory must act before the kernel does.
        needed = max(TIMES * example, math.ceil(OVER_MAX_MEMORY * most * processes))
        return math.ceil(needed / STEP) * STEP * MIB
    if most * workers * MIB >= chosen.memory:
        times = f" times {workers} workers" if workers > 1 else ""
        raise StartError(
            f"--max-memory: {most} MB from {configuration.source('max_memory')}{times} are not less than the"
            f" {chosen.memory // MIB} MB of --set memory, at which the kernel ends the pod: give one less or the other"
            " more"
        )
    return chosen.memory


def cpu(configuration: Configuration, chosen: Chosen) -> int:
    """Thousandths of a CPU; the pod's request."""
    return chosen.cpu or CPU * configuration.workers


def busy(configuration: Configuration, chosen: Chosen) -> int:
    """Percentage of the requested CPU at which the autoscaler adds pods.

    Each worker computes on one CPU, so a pod that requests more never uses the rest.
    """
    return max(1, int(BUSY * min(1, 1000 * configuration.workers / cpu(configuration, chosen))))


def temporary_files(configuration: Configuration) -> int:
    """MiB for TMPDIR: for each running request its body, and the copy that Django makes of an upload."""
    bodies = 2 * configuration.threads * configuration.workers * configuration.max_body_size
    metrics = METRICS * configuration.workers if configuration.workers > 1 else 0
    return math.ceil(bodies / MIB) + metrics + OTHER_FILES


def resources(configuration: Configuration, chosen: Chosen) -> dict[str, Any]:
    """The container's resources. No CPU limit: it would suspend the probes too, for the rest of each 100 ms."""
    size, thousandths = memory(configuration, chosen), cpu(configuration, chosen)
    quantity = str(size) if size % MIB else f"{size // MIB}Mi"
    requests = {"cpu": f"{thousandths}m" if thousandths % 1000 else thousandths // 1000, "memory": quantity}
    measured = chosen.cpu is None or chosen.memory is None
    return {"requests": Remark(_REPLACE, requests) if measured else requests, "limits": {"memory": quantity}}
