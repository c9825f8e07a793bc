"""What /proc tells of a process."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from tests.support.functional.harness import Server


def resident(server: Server) -> int:
    """Bytes of memory that the server occupies."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


def descriptors(server: Server) -> int:
    """Files and sockets that the server has open."""
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def listening(pid: int) -> set[int]:
    """Ports that a process and those below it listen on."""
    links: set[str] = set()
    pids = [pid]
    while pids:
        below = pids.pop()
        pids += children(below)
        with suppress(OSError):
            links |= {os.readlink(path) for path in Path(f"/proc/{below}/fd").iterdir()}
    found: set[int] = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and f"socket:[{words[9]}]" in links:
                found.add(int(words[1].rpartition(":")[2], 16))
    return found


def children(pid: int) -> list[int]:
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            found += map(int, path.read_text().split())
    return found


def status(pid: int) -> dict[str, str]:
    """What /proc tells of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def title(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()


def is_running(pid: int) -> bool:
    """Whether the process lives; one that has ended may stay in the table until its parent looks."""
    try:
        return state(pid) != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def state(pid: int) -> str:
    """One letter: R running, S sleeping, T stopped, Z ended."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
