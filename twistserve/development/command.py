"""The command that this process was started by, to be started again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def again() -> list[str]:
    """The same program with the same arguments, run by ``python -m twistserve.development``."""
    import __main__

    # As multiprocessing does: what -O, -W, -X and the like have set.
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    spec = getattr(__main__, "__spec__", None)
    if spec is None or spec.name == "__main__":
        # The second is a directory or an archive with a __main__.py.
        program = [sys.argv[0]]
    else:
        name = spec.parent if spec.name.rpartition(".")[2] == "__main__" else spec.name
        program = ["-m", name]
    return [sys.executable, *flags, "-m", "twistserve.development", *program, *sys.argv[1:]]


def environment() -> dict[str, str]:
    """The environment that this process was started with (proc(5), environ).

    Settings and a manage.py add to it what they read from files, which may change.
    """
    try:
        entries = Path("/proc/self/environ").read_bytes().removesuffix(b"\0").split(b"\0")
    except OSError:
        entries = []
    if not all(b"=" in entry for entry in entries or [b""]):
        # There is none, or setproctitle has written the process's title over it.
        return dict(os.environ)
    pairs = (os.fsdecode(entry).partition("=") for entry in entries)
    return {name: value for name, equals, value in pairs}
