"""What a pod is given: CPU, memory and room for temporary files."""

from __future__ import annotations

import math
from typing import Any

from twistserve.errors import StartError
from twistserve.kubernetes.chosen import Chosen
from twistserve.kubernetes.yaml import Remark
from twistserve.options import Configuration

MIB = 1 << 20
ONE_PROCESS, EACH_PROCESS = 69, 56
"""MiB that the example project takes in one process, and in each of a parent and its workers: docs/workers.md."""
TIMES = 3
"""How much of that is given: other projects are larger, and the kernel ends what takes more."""
STEP = 64
"""MiB that memory is rounded up to."""
CPU = 500
"""Thousandths of a CPU for each worker."""
BUSY = 70
"""Per cent of the CPU requested at which pods are added."""
METRICS = 1
"""MiB of temporary files for the metrics of each worker: docs/workers.md."""
OTHER_FILES = 16
"""MiB of temporary files for whatever else there is."""

_REPLACE = "Measured on a small project, and no more than a beginning: replace by what yours takes."


def memory(configuration: Configuration, chosen: Chosen) -> int:
    """Bytes that a pod requests and may not exceed. Raises `StartError` for less than --max-memory."""
    workers, most = configuration.workers, configuration.max_memory
    processes = 1 if workers == 1 else workers + 1
    if chosen.memory is None:
        example = ONE_PROCESS if workers == 1 else EACH_PROCESS * processes
        # The kernel is to come after --max-memory, whose replacement starts while the old worker drains.
        needed = max(TIMES * example, math.ceil(1.25 * most * processes))
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
    """Thousandths of a CPU that a pod requests."""
    return chosen.cpu or CPU * configuration.workers


def busy(configuration: Configuration, chosen: Chosen) -> int:
    """Per cent of the CPU requested at which pods are added.

    Python computes on one CPU for each worker: of a pod that requests more the rest cannot be used.
    """
    return max(1, int(BUSY * min(1, 1000 * configuration.workers / cpu(configuration, chosen))))


def temporary_files(configuration: Configuration) -> int:
    """MiB for TMPDIR: the bodies of all requests that run, and of each what Django writes of it."""
    bodies = 2 * configuration.threads * configuration.workers * configuration.max_body_size
    metrics = METRICS * configuration.workers if configuration.workers > 1 else 0
    return math.ceil(bodies / MIB) + metrics + OTHER_FILES


def resources(configuration: Configuration, chosen: Chosen) -> dict[str, Any]:
    """The container's resources. A limit of CPU would stop the probes too, for the rest of each tenth of a second."""
    size, thousandths = memory(configuration, chosen), cpu(configuration, chosen)
    quantity = str(size) if size % MIB else f"{size // MIB}Mi"
    requests = {"cpu": f"{thousandths}m" if thousandths % 1000 else thousandths // 1000, "memory": quantity}
    measured = chosen.cpu is None or chosen.memory is None
    return {"requests": Remark(_REPLACE, requests) if measured else requests, "limits": {"memory": quantity}}
