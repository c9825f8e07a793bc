"""The directory of the workers' metrics. Each process that uses it holds a lock on it, which ends with the process.

flock(2) on the directory itself. A pid in its name would not do: pids are used again, and containers that share the
file system may have the same ones.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

PREFIX = "twistserve-metrics-"


def make_directory() -> str:
    """A new directory, held by this process. Raises OSError."""
    while True:
        path = tempfile.mkdtemp(prefix=PREFIX)
        hold(path)
        # Another process may have removed it as abandoned before it was locked.
        if os.path.isdir(path):
            return path


def hold(path: str) -> None:
    """Keep a directory from being removed as long as this process runs."""
    # It may be gone, and some file systems have no locks.
    with suppress(OSError):
        fcntl.flock(os.open(path, os.O_RDONLY), fcntl.LOCK_SH)


def remove_abandoned() -> None:
    """Remove this user's directories that no process holds: a parent that was killed could not remove its own."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            if os.fstat(descriptor).st_uid == os.geteuid():
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
        except OSError:
            continue
        finally:
            os.close(descriptor)
