"""The limit of open files: raised as far as it may be, and divided so that connections leave room for everything else.

Every connection is a file, and so is what is sent, what is received beyond a megabyte, each of a database's sockets
and each probe. The last few are for the probe port alone: the soft limit stays below the hard one by those, and only
while that port accepts is it lifted.
"""

from __future__ import annotations

import os
import resource
from contextlib import suppress

from twistserve.logs import get_logger

logger = get_logger(__name__)

HEADROOM = 16
"""Descriptors that only the probe port may take, or an eighth of few."""
PROBES = 100
"""Connections of the probe port, or an eighth of few."""
PER_THREAD = 3
"""Descriptors for each request thread: a database, which is three files with SQLite."""
KEPT = 64
"""Large static files that stay open, or a sixteenth of few."""
SPARE = 16
"""Descriptors for checks, webhooks, and what the application opens besides."""
_FEW = 8


def headroom(hard: int) -> int:
    """Descriptors that only the probe port may take, under a hard limit."""
    return min(HEADROOM, hard // _FEW)


def most_probes() -> int:
    """How many connections the probe port may have."""
    return min(PROBES, _hard_limit() // _FEW)


def most_kept() -> int:
    """How many static files may stay open for the next request."""
    return min(KEPT, _hard_limit() // _FEW // 2)


def raise_limit() -> int:
    """Raise the soft limit, often 1,024, to the hard one but for the probe port's headroom; returns it."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    hard = _hard_limit()
    wanted = hard - headroom(hard)
    if soft != wanted:
        # The hard limit itself may be infinite, and stays as it is.
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    if soft < wanted:
        logger.info("raised the limit of open files from %d to %d", soft, wanted)
    return wanted


def bound_connections(wanted: int, threads: int) -> int:
    """How many connections the limit of open files allows, at most `wanted`; says so if that is less.

    To be called when the application is loaded: what it has open by then is not there for connections. With probes on
    the web port it is called before; then what is left for the probe port is for the application.
    """
    hard = _hard_limit()
    usable = hard - headroom(hard)
    possible = connections_of(usable, count_open(), most_probes(), threads)
    if possible >= wanted:
        return wanted
    logger.warning(
        "the limit of open files is %d: at most %d connections are served at a time, not the %d of --max-connections;"
        " more of them wait. What is left is for files, databases and the probe port. Raise the limit"
        " (ulimit -Hn, LimitNOFILE=, the container runtime's default), or lower --max-connections",
        hard,
        possible,
        wanted,
    )
    return possible


def connections_of(usable: int, taken: int, probes: int, threads: int) -> int:
    """How many connections fit: two thirds of what is left, as the files that are sent and received want the rest.

    With very few descriptors an eighth of all, so that somebody is served whatever the reserve should be.
    """
    left = usable - taken - probes - PER_THREAD * threads - SPARE
    return max(left * 2 // 3, usable // _FEW, 1)


def count_open() -> int:
    """How many descriptors this process has open; 0 where that cannot be told."""
    with suppress(OSError):
        # The directory that is read is one of them.
        return len(os.listdir("/proc/self/fd")) - 1
    return 0


def _hard_limit() -> int:
    """The hard limit; without one, what the kernel lets a process have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        with suppress(OSError, ValueError), open("/proc/sys/fs/nr_open") as file:
            return int(file.read())
        return 1 << 20
    return hard


class Headroom:
    """Lifts the soft limit to the hard one while the block runs: for accepting a probe whatever else has leaked."""

    def __enter__(self) -> None:
        self._soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if self._soft != hard:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    def __exit__(self, *error: object) -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if self._soft != hard:
            resource.setrlimit(resource.RLIMIT_NOFILE, (self._soft, hard))


def is_scarce(descriptor: int) -> bool:
    """Whether a descriptor is of the headroom: everything below is taken."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft != resource.RLIM_INFINITY and descriptor >= soft
