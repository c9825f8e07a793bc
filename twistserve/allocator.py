"""The C library's allocator (glibc's malloc), for a process whose threads take turns.

glibc gives each thread an arena, which keeps freed memory. Threads that take turns with the GIL need only one: a
process with eight request threads takes 1 to 2 MiB less, and a request the same CPU time (docs/workers.md).
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

_M_ARENA_MAX = -8
"""See mallopt(3)."""


def share_arena(
    environ: Mapping[str, str] = os.environ, library: Callable[[None], Any] = ctypes.CDLL, gil: bool | None = None
) -> None:
    """Have all threads of this process share one arena. Call it before there are threads: glibc decides at the first.

    Does nothing without the GIL, with another C library, or if the environment sets the number of arenas.
    """
    if gil is None:
        gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    if gil and "MALLOC_ARENA_MAX" not in environ and "arena_max" not in environ.get("GLIBC_TUNABLES", ""):
        mallopt = getattr(library(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_M_ARENA_MAX, 1)
