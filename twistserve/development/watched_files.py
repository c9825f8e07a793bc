"""What the file system says of a tree of files, so that two readings tell what has changed between them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence

State = tuple[int, int, int]
"""Of a file its times of modification and of change, in nanoseconds, and its size."""
Reading = dict[str, State]
"""The states of files by path."""

_IGNORED = re.compile(r"\..*|.*~|#.*#|4913|.*\.(sw[a-z]|tmp|pyc)|.*___jb_(tmp|old)___|__pycache__", re.DOTALL)
"""Hidden files, and what editors put beside a file while they save it; vim writes 4913."""


def read(paths: Sequence[str], excluded: Iterable[str] = ()) -> Reading:
    """Read files, and all below directories but those that are `excluded`. Blocks.

    What is not there, or may not be read, has no files. A directory is read once, however many links lead to it.
    """
    seen = {identity for path in excluded if (identity := _identity(path)) is not None}
    reading: Reading = {}
    for path in paths:
        directories = [path]
        while directories:
            directory = directories.pop()
            try:
                with os.scandir(directory) as entries:
                    for entry in entries:
                        if _IGNORED.fullmatch(entry.name):
                            continue
                        if not entry.is_dir():
                            _note(entry.path, reading)
                        elif (identity := _identity(entry.path)) is not None and identity not in seen:
                            seen.add(identity)
                            directories.append(entry.path)
            except NotADirectoryError:
                _note(directory, reading)
            except OSError:
                # It has gone, or comes back later.
                continue
    return reading


def changes(before: Reading, after: Reading) -> list[str]:
    """The paths of files that are new, changed or gone."""
    return sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))


def state_of(path: str) -> State | None:
    """What the file system says of a file; None of one that is not there. Blocks."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    # Who sets an older time of modification, as `touch -d` and `cp -p`, changes the time of change.
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size


def _note(path: str, reading: Reading) -> None:
    if (state := state_of(path)) is not None:
        reading[path] = state


def _identity(directory: str) -> tuple[int, int] | None:
    try:
        found = os.stat(directory)
    except OSError:
        return None
    return found.st_dev, found.st_ino
