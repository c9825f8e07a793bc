"""The C library's allocator (glibc's malloc), for a process whose threads take turns.

glibc gives each thread an arena, which keeps what was freed there. Threads that hold the GIL one after the other need
no more than one: that is 1 to 2 MiB less in a process with eight request threads, for the same CPU time of a request
(docs/workers.md).
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
    """Have all threads of this process share one arena; before there are any, for glibc decides when the first come.

    What the environment says of arenas stays, as does another C library.
    """
    if gil is None:
        gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    if gil and "MALLOC_ARENA_MAX" not in environ and "arena_max" not in environ.get("GLIBC_TUNABLES", ""):
        mallopt = getattr(library(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_M_ARENA_MAX, 1)
