"""What the C library is told of arenas."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from twistserve.allocator import share_arena

ARENAS = """
import ctypes, re, threading
from twistserve.allocator import share_arena
share_arena()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
blocks, ready = [], threading.Barrier(5)
def allocate():
    ready.wait()
    blocks.append(libc.malloc(100_000))
    ready.wait()
for _ in range(4):
    threading.Thread(target=allocate, daemon=True).start()
ready.wait()
ready.wait()
heap = next(line for line in open("/proc/self/maps") if "[heap]" in line)
start, end = (int(word, 16) for word in re.match("([0-9a-f]+)-([0-9a-f]+)", heap).groups())
print(sum(start <= block < end for block in blocks))
"""


@pytest.mark.parametrize(
    ("variables", "gil", "told"),
    [
        ({}, True, [(-8, 1)]),
        ({"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=128"}, True, [(-8, 1)]),
        ({"MALLOC_ARENA_MAX": "4"}, True, []),
        ({"GLIBC_TUNABLES": "glibc.malloc.arena_max=4"}, True, []),
        ({}, False, []),
    ],
)
def test_one_arena_unless_somebody_says_otherwise(
    variables: dict[str, str], gil: bool, told: list[tuple[int, int]]
) -> None:
    """Or threads run at the same time, each of which needs its own."""
    heard: list[tuple[int, int]] = []
    library: Any = lambda name: SimpleNamespace(mallopt=lambda *words: heard.append(words))  # noqa: E731
    share_arena(variables, library, gil)
    assert heard == told


def test_another_c_library_is_left_alone() -> None:
    """musl has no mallopt."""
    library: Any = lambda name: SimpleNamespace()  # noqa: E731
    share_arena({}, library, gil=True)


def test_threads_allocate_in_the_arena_of_the_process() -> None:
    """With glibc; each would have one of its own, elsewhere in memory."""
    environ = {name: value for name, value in os.environ.items() if name not in ("MALLOC_ARENA_MAX", "GLIBC_TUNABLES")}
    done = subprocess.run(
        [sys.executable, "-c", ARENAS], env=environ, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["4"]
