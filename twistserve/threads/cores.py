"""The system calls that keep threads on one core and let them go, see sched_setaffinity(2)."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

Mask = frozenset[int]
_CORE = 38
"""The place of the core in /proc/self/task/TID/stat, counted from 0, see proc(5)."""


class Member(Protocol):
    """A thread that runs requests."""

    native_id: int
    """0 while it does not run."""
    job: Callable[[], None] | None
    since: float


class AffinityChanged(Exception):
    """Somebody else has set the affinity of one of the threads."""


def core_of(thread: int) -> int:
    """The core that a thread of this process runs on, or ran on last. Raises OSError where nobody knows."""
    with open(f"/proc/self/task/{thread}/stat") as stat:
        # The name may hold anything.
        return int(stat.read().rpartition(")")[2].split()[_CORE - 2])


@dataclass(frozen=True)
class System:
    """The calls; those of `os` are replaced later for everybody else."""

    get: Callable[[int], set[int]] = field(default_factory=lambda: os.sched_getaffinity)
    set: Callable[[int, Iterable[int]], None] = field(default_factory=lambda: os.sched_setaffinity)
    core_of: Callable[[int], int] = core_of
    thread: Callable[[], int] = threading.get_native_id
    """The calling thread."""
    process: Callable[[], int] = os.getpid
    """The process, which is its main thread too."""
    threads: Callable[[], Iterable[int]] = lambda: map(int, os.listdir("/proc/self/task"))


class Cores:
    """Keeps the threads that run requests, and the reactor's, on one core.

    A thread that is about to start another one, or a process, is let go before: affinity is inherited. All its methods
    may be called from any thread, but those that say otherwise; they raise OSError where the system forbids it.
    """

    def __init__(self, members: Callable[[], Sequence[Member]], system: System | None = None) -> None:
        self.core: int | None = None
        """The core that threads are kept on."""
        self._ended = False
        self._members = members
        self._system = system or System()
        # A thread may be interrupted by what starts another one.
        self._lock = threading.RLock()
        self._reactor = 0
        self._all = self._given = self._read_all()
        """What the process may use, and what threads were given when they were let go last."""
        self._kept: set[int] = set()
        self._let_go: dict[int, float] = {}
        """Threads that may use all cores until their jobs end, and when those began."""
        self._strays: set[int] = set()
        """Threads of others that had to be let go."""

    def take(self, core_of: int) -> bool:
        """Keep to the core that this thread is on; False where there is one alone. Reactor thread.

        Raises `AffinityChanged`.
        """
        with self._lock:
            self._all = self._read_all()
            try:
                core = self._system.core_of(core_of)
            except (FileNotFoundError, ProcessLookupError):  # it has ended
                return False
            if self._ended or len(self._all) < 2 or core not in self._all:
                return False
            self._reactor = self._system.thread()
            for thread in (self._reactor, *(member.native_id for member in self._members() if member.native_id)):
                with suppress(ProcessLookupError):
                    if self._read(thread) not in (self._all, self._given, self._given & self._all):
                        raise AffinityChanged
            self.core = core
            self.keep()
            return self.core is not None

    def keep(self) -> None:
        """Have on the core those too that have begun since, or whose jobs have ended.

        Lets go of all where the process may not use the core any more.
        """
        with self._lock:
            try:
                self._keep_all()
            except OSError:
                core = self.core
                self._release()
                if core in self._all:
                    raise

    def _keep_all(self) -> None:
        if self.core is not None:
            if self._reactor not in self._kept:
                self._keep(self._reactor)
            for member in self._members():
                thread = member.native_id
                if not thread or thread in self._kept:
                    continue
                if member.job is None or self._let_go.get(thread) != member.since:
                    self._let_go.pop(thread, None)
                    self._keep(thread)

    def refresh(self) -> None:
        """Let threads have the cores that the process was given since, or that are left to it."""
        with self._lock:
            before, self._all = self._given, self._read_all()
            if self.core is not None or self._all == before:
                return
            self._given = self._all
            for thread in (self._reactor, *(member.native_id for member in self._members())):
                with suppress(OSError):
                    if thread and self._read(thread) <= before:
                        self._system.set(thread, self._all)

    def release(self) -> None:
        """Let all threads use all cores. Raises nothing."""
        with self._lock:
            if self.core is not None:
                self._release()

    def end(self) -> None:
        """Let all threads use all cores from now on: nothing is taken any more. Raises nothing."""
        with self._lock:
            self._ended = True
            self.release()

    def let_go_of_this_thread(self) -> None:
        """The calling thread is about to start something: it may use all cores, and so may that.

        A thread that runs a request is kept again after it, the reactor's with the next `keep`.
        """
        thread = self._system.thread()
        with self._lock:
            for member in self._members():
                if member.native_id == thread:
                    self._let_go[thread] = member.since
                    break
            if thread in self._kept:
                self._kept.discard(thread)
                with suppress(OSError):
                    self._system.set(thread, self._all)

    def look(self) -> bool:
        """Let threads go that others have started on the core; whether all is as it was.

        It is not where the cores that the process may use have changed. Raises `AffinityChanged`.
        """
        with self._lock:
            if self.core is None:
                return True
            self._let_strays_go()
            if self._read_all() != self._all:
                return False
            for thread in tuple(self._kept):
                try:
                    if self._read(thread) != {self.core}:
                        raise AffinityChanged
                except ProcessLookupError:
                    self._kept.discard(thread)
            return True

    def told(self, process: int, mask: set[int]) -> set[int]:
        """What an affinity is that a process or thread was found to have: that of ours, without what we do to it."""
        with self._lock:
            kept = mask == {self.core} and (process or self._system.thread()) in self._kept
            return set(self._all) if kept else mask

    def _release(self) -> None:
        """With the lock."""
        self._all = self._given = self._read_all()
        for thread in tuple(self._kept):
            with suppress(OSError):
                if self._read(thread) == {self.core}:
                    self._system.set(thread, self._all)
        with suppress(OSError):
            self._let_strays_go()
        self._kept.clear()
        self.core = None

    def _let_strays_go(self) -> None:
        """Threads that C code has started have the affinity of those that started them."""
        ours = {self._reactor, *(member.native_id for member in self._members())}
        threads = set(self._system.threads())
        self._strays &= threads
        for thread in threads - ours - self._strays:
            with suppress(OSError):
                if self._read(thread) == {self.core}:
                    self._strays.add(thread)
                    self._system.set(thread, self._all)

    def _keep(self, thread: int) -> None:
        assert self.core is not None
        with suppress(ProcessLookupError):  # it has ended
            self._system.set(thread, {self.core})
            self._kept.add(thread)

    def _read(self, thread: int) -> Mask:
        return frozenset(self._system.get(thread))

    def _read_all(self) -> Mask:
        # The main thread is never kept, and follows what is done to the process from outside.
        return self._read(self._system.process())
