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
"""Index of the core in /proc/self/task/TID/stat, counted from 0: see proc(5)."""


class Member(Protocol):
    """A thread that runs requests."""

    native_id: int
    """0 while it does not run."""
    job: Callable[[], None] | None
    since: float


class AffinityChanged(Exception):
    """Other code has set the affinity of one of the threads."""


def core_of(thread: int) -> int:
    """The core that a thread of this process runs on, or last ran on. Raises OSError if it is unknown."""
    with open(f"/proc/self/task/{thread}/stat") as stat:
        # The name before it may contain blanks and parentheses.
        return int(stat.read().rpartition(")")[2].split()[_CORE - 2])


@dataclass(frozen=True)
class System:
    """The system calls; `AffinityHooks` later replaces those in `os`, so keep the originals."""

    get: Callable[[int], set[int]] = field(default_factory=lambda: os.sched_getaffinity)
    set: Callable[[int, Iterable[int]], None] = field(default_factory=lambda: os.sched_setaffinity)
    core_of: Callable[[int], int] = core_of
    thread: Callable[[], int] = threading.get_native_id
    """The calling thread."""
    process: Callable[[], int] = os.getpid
    """The process, whose id is also that of its main thread."""
    threads: Callable[[], Iterable[int]] = lambda: map(int, os.listdir("/proc/self/task"))


class Cores:
    """Keeps the threads that run requests, and the reactor's, on one core.

    Threads and processes inherit affinity, so a thread is let go before it starts one. Methods may be called from any
    thread unless they say otherwise, and raise OSError where the system forbids the call.
    """

    def __init__(self, members: Callable[[], Sequence[Member]], system: System | None = None) -> None:
        self.core: int | None = None
        """The core that threads are kept on."""
        self._ended = False
        self._members = members
        self._system = system or System()
        # Reentrant: a signal handler may start a thread or a process while this thread holds the lock.
        self._lock = threading.RLock()
        self._reactor = 0
        self._all = self._given = self._read_all()
        """The cores that the process may use, and those that threads got when they were last let go."""
        self._kept: set[int] = set()
        self._let_go: dict[int, float] = {}
        """Threads that may use all cores until their jobs end, and when these jobs began."""
        self._strays: set[int] = set()
        """Other threads that inherited the affinity and were let go."""

    def take(self, core_of: int) -> bool:
        """Keep all threads on the core of this one; False if that is not possible, as with one core. Reactor thread.

        Raises `AffinityChanged`.
        """
        with self._lock:
            self._all = self._read_all()
            try:
                core = self._system.core_of(core_of)
            except (FileNotFoundError, ProcessLookupError):  # the thread has ended
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
        """Move threads to the core that have begun since, or whose jobs have ended.

        Lets all of them go if the process may no longer use the core.
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
        """Give threads the cores that the process may use now, if these have changed."""
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
        """Let all threads use all cores for good: `take` returns False from now on. Raises nothing."""
        with self._lock:
            self._ended = True
            self.release()

    def let_go_of_this_thread(self) -> None:
        """Let the calling thread, which is about to start a thread or a process, use all cores.

        A request thread is kept again after its request, the reactor's at the next `keep`.
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

    def check(self) -> bool:
        """Let threads go that C code has started on the core; False if the process may use other cores than before.

        Raises `AffinityChanged`.
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

    def reported(self, process: int, mask: set[int]) -> set[int]:
        """The affinity to report for a process or thread that has `mask`: all cores for a thread that is kept."""
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
        """Let threads go that C code has started: they inherited their affinity."""
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
        with suppress(ProcessLookupError):  # the thread has ended
            self._system.set(thread, {self.core})
            self._kept.add(thread)

    def _read(self, thread: int) -> Mask:
        return frozenset(self._system.get(thread))

    def _read_all(self) -> Mask:
        # The main thread is never kept, so its affinity shows what is set from outside.
        return self._read(self._system.process())
