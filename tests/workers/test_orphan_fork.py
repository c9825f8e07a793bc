"""A process that is forked for the parent: it is the parent's own child, and hooks for forks run in it alone."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.support.functional.harness import UNTRACED

FORKS = """
import os, sys
from twistserve.workers import orphan_fork
orphan_fork.adopt_orphans()
os.register_at_fork(after_in_child=lambda: os.write(writing, b"forked "))
reading, writing = os.pipe()
forking = orphan_fork._fork_without_hooks()
if not forking:
    pid = orphan_fork.fork_orphan()
    if not pid:
        os.write(writing, f"{os.getppid()} ".encode())
        os._exit(3)
    os.write(writing, f"{pid} ".encode())
    os._exit(0)
os.waitpid(forking, 0)
pid, status = os.wait()
assert os.waitstatus_to_exitcode(status) == 3
print(sorted(os.read(reading, 100).decode().split()) == sorted(["forked", str(pid), str(os.getpid())]))
"""
KILLED = """
import os, signal, sys
from twistserve.workers import orphan_fork
orphan_fork.adopt_orphans()
reading, writing = os.pipe()
forking = os.fork()
if not forking:
    if not os.fork():
        orphan_fork.end_with_parent()
        os.write(writing, b"ready")
        signal.pause()
    os.read(reading, 5)
    os._exit(0)
os.waitpid(forking, 0)
_, status = os.wait()
print(os.waitstatus_to_exitcode(status) == -signal.SIGKILL)
"""


def run(program: str) -> str:
    """What a program prints, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **UNTRACED},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout


def test_a_forked_process_is_the_parents_own() -> None:
    """And what is registered for forks has run in it alone."""
    assert run(FORKS) == "True\n"


def test_a_process_that_ends_with_its_parent() -> None:
    """The kernel kills it, though nothing tells it."""
    assert run(KILLED) == "True\n"
