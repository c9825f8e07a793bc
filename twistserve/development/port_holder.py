"""Which process listens at a TCP port of this machine, as /proc tells it (Linux)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_LISTEN = "0A"
"""The state of a socket that listens, in /proc/net/tcp (the kernel's tcp_states.h)."""


class Holder(NamedTuple):
    """A process that listens."""

    pid: int
    name: str
    """As the kernel has it: a command line may have secrets."""
    words: tuple[str, ...]
    """Its command line, which is not to be logged."""

    @property
    def is_adapter(self) -> bool:
        """Whether it is the process that debugpy starts to listen for its clients."""
        return any(word.endswith("/debugpy/adapter") for word in self.words[:3])


def find_holder(port: int, proc: Path = Path("/proc")) -> Holder | None:
    """The process that listens at the port, None if there is none, or if it is another user's. Blocks for a moment."""
    wanted = {f"socket:[{inode}]" for inode in _inodes(port, proc)}
    for directory in proc.iterdir() if wanted else ():
        if directory.name.isdigit() and not wanted.isdisjoint(_files(directory / "fd")):
            with suppress(OSError):
                name = (directory / "comm").read_text().strip()
                words = (directory / "cmdline").read_bytes().decode(errors="replace").split("\0")
                return Holder(int(directory.name), name, tuple(words))
    return None


def _inodes(port: int, proc: Path) -> Iterator[str]:
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in (proc / "net" / table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                    yield fields[9]


def _files(directory: Path) -> Iterator[str]:
    """What the descriptors of a process are; nothing of a process that is another user's or has ended."""
    with suppress(OSError):
        for descriptor in directory.iterdir():
            with suppress(OSError):
                yield os.readlink(descriptor)
