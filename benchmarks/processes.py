"""A server's processes: started on a core, watched through /proc, ended."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

END_PATIENCE = 10.0
"""Seconds it may take to end before it is killed."""
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


class Tree:
    """A process that we started, with all its descendants."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        core: int | str,
        cwd: Path,
        env: Mapping[str, str],
        output: Path = Path(os.devnull),
        user: str | None = None,
    ) -> None:
        """Start it in a process group of its own; `output` takes all it prints, access log lines among it.

        `core` is a core, or a CPU list as for taskset. `user` runs the process, if it is not this program's user.

        Should this program be killed, the kernel sends the process a SIGTERM.
        """
        pinned = ["taskset", "--cpu-list", str(core), "setpriv", "--pdeathsig", "TERM"]
        pinned += [*as_user(user), "--", *command]
        with output.open("wb") as sink:
            self._process = subprocess.Popen(
                pinned,
                cwd=cwd,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The first process."""
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def status(self) -> int | None:
        """The exit status of the first process, negative for a signal; None while it runs."""
        return self._process.poll()

    def terminate(self) -> None:
        """Send SIGTERM to the first process, and return."""
        self._process.terminate()

    def cpu_seconds(self) -> float:
        """User and system time of the tree so far, ended and waited-for children included."""
        return sum(cpu_ticks(stat) for _, stat in self._stats()) / TICKS

    def resident_bytes(self) -> int:
        """Memory resident in the tree now; what its processes share is counted in each."""
        return sum(_resident_pages(pid) for pid, _ in self._stats()) * PAGE

    def memory(self) -> list[tuple[int, int]]:
        """Bytes resident in each process, the first one first: those it has alone (USS), and those it shares."""
        found = []
        for pid, _ in self._stats():
            with contextlib.suppress(OSError):
                found.append((pid, *private_and_shared(Path(f"/proc/{pid}/smaps_rollup").read_text())))
        return [(private, shared) for _, private, shared in sorted(found)]

    def end(self) -> None:
        """End the tree, politely first, and wait for it."""
        if self.running:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(END_PATIENCE)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # the group we made: its id is that of our child
        self._process.wait()

    def _stats(self) -> Iterator[tuple[int, str]]:
        """(pid, text of /proc/PID/stat) of each process of the tree that is alive."""
        for pid in descendants(self._process.pid):
            with contextlib.suppress(OSError):
                yield pid, Path(f"/proc/{pid}/stat").read_text()


def descendants(first: int) -> Iterator[int]:
    """A process and all its descendants, each before its children."""
    pids = [first]
    while pids:
        pid = pids.pop()
        yield pid
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                with contextlib.suppress(OSError):
                    pids += map(int, (task / "children").read_text().split())


def pss(first: int) -> float:
    """MiB of a process and its descendants together, by the proportional set size (PSS, proc(5))."""
    found = 0
    for pid in descendants(first):
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            found += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return found / 1024


def as_user(user: str | None) -> list[str]:
    """The options of setpriv that run a command as another user, who has a group of the same name."""
    return [f"--reuid={user}", f"--regid={user}", "--clear-groups"] if user else []


def cpu_list(cores: Sequence[int]) -> str:
    """A CPU list as for taskset."""
    return ",".join(map(str, cores))


def cpu_ticks(stat: str) -> int:
    """utime + stime + cutime + cstime of a /proc/PID/stat, whose second field may hold blanks and parentheses."""
    fields = stat.rpartition(")")[2].split()
    return sum(map(int, fields[11:15]))


def private_and_shared(smaps: str) -> tuple[int, int]:
    """The two parts of a /proc/PID/smaps_rollup's resident memory, in bytes."""
    fields = (line.split() for line in smaps.splitlines() if line.endswith(" kB"))
    kilobytes = {name: int(number) for name, number, _ in fields}
    private = kilobytes["Private_Clean:"] + kilobytes["Private_Dirty:"]
    return private * 1024, (kilobytes["Rss:"] - private) * 1024


def busy_seconds(stat: str, cores: Collection[int]) -> float:
    """Seconds that these cores have been busy, also for other guests of the hypervisor, by /proc/stat."""
    ticks = 0
    for line in stat.splitlines():
        name, *fields = line.split()
        if name in {f"cpu{core}" for core in cores}:
            user, nice, system, _idle, _iowait, *interrupts_and_steal = map(int, fields[:8])
            ticks += user + nice + system + sum(interrupts_and_steal)
    return ticks / TICKS


def _resident_pages(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0


def free_port() -> int:
    """A TCP port of 127.0.0.1 that is not in use now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
