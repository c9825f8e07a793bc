"""Hides --cpu-affinity auto from the rest of the process.

Threads and processes inherit the affinity of the thread that starts them. Python calls audit hooks (PEP 578) before it
starts most of them, and before it loads an extension module, which may start threads.
"""

from __future__ import annotations

import _posixsubprocess
import _thread
import functools
import os
import sys
import threading
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

from twistserve.threads.cores import Cores

STARTS = frozenset(
    (
        *("_thread.start_new_thread", "_thread.start_joinable_thread", "subprocess.Popen", "os.fork", "os.forkpty"),
        *("os.posix_spawn", "os.system", "os.exec", "pty.spawn", "ctypes.dlopen"),
    )
)
"""Audit events before a thread, a process or a library starts; `hook` handles `import` too."""
WITHOUT_EVENT: tuple[tuple[ModuleType, str], ...] = (
    # Python 3.11 has no audit events for threads.
    (_thread, "start_new_thread"),
    (_thread, "start_joinable_thread"),
    (threading, "_start_new_thread"),
    (threading, "_start_joinable_thread"),
    # multiprocessing calls this.
    (_posixsubprocess, "fork_exec"),
)
"""Functions that start something without an audit event; some exist only in some Pythons."""


class AffinityHooks:
    """Lets a thread go before it starts something, and reports affinities as they would be without us. Any thread.

    Calls `give_up` with the reason when the application sets the affinity of a thread of this process.
    """

    def __init__(self, cores: Cores, give_up: Callable[[str], None]) -> None:
        self._cores: Cores | None = cores
        self._give_up = give_up
        self._get, self._set = os.sched_getaffinity, os.sched_setaffinity
        self._replaced: list[tuple[Any, str, Any, Any]] = []

    def install(self) -> None:
        """Install the hooks; an audit hook cannot be removed."""
        sys.addaudithook(self.hook())
        os.register_at_fork(after_in_child=self.forget)
        for module, name in WITHOUT_EVENT:
            if hasattr(module, name):
                self._replace(module, name, self._letting_go(getattr(module, name)))

        def sched_getaffinity(pid: int, /) -> set[int]:
            return self.get(pid)

        def sched_setaffinity(pid: int, mask: Iterable[int], /) -> None:
            self.set(pid, mask)

        for function in (sched_getaffinity, sched_setaffinity):
            name = function.__name__
            # Pickle finds a function by these.
            function.__module__, function.__qualname__, function.__doc__ = "os", name, getattr(os, name).__doc__
            self._replace(os, name, function)

    def uninstall(self) -> None:
        """Restore the functions; the audit hook stays, without effect."""
        self.forget()
        while self._replaced:
            module, name, ours, before = self._replaced.pop()
            if getattr(module, name) is ours:  # unless it has been replaced again
                setattr(module, name, before)

    def forget(self) -> None:
        """Do nothing from now on; also in a forked child, where no thread is kept."""
        self._cores = None

    def hook(self) -> Callable[[str, tuple[Any, ...]], None]:
        """The audit hook; Python calls it several times for each request, on any thread."""
        let_go = self._let_go

        # Not a method, which would take 0.45 us for each event instead of 0.1.
        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            # Only an extension module has a file name here.
            if event in STARTS or (event == "import" and arguments[1] is not None):
                let_go()

        return hook

    def get(self, pid: int) -> set[int]:
        """Replaces os.sched_getaffinity."""
        mask, cores = self._get(pid), self._cores
        return mask if cores is None else cores.reported(pid, mask)

    def set(self, pid: int, mask: Iterable[int]) -> None:
        """Replaces os.sched_setaffinity."""
        if self._cores is not None and (pid == 0 or os.path.exists(f"/proc/self/task/{pid}")):
            self._give_up("the application sets the affinity of a thread by os.sched_setaffinity, and that stays")
        self._set(pid, mask)

    def _letting_go(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def start(*arguments: Any, **named: Any) -> Any:
            self._let_go()
            return function(*arguments, **named)

        return start

    def _let_go(self) -> None:
        if (cores := self._cores) is not None:
            cores.let_go_of_this_thread()

    def _replace(self, module: Any, name: str, function: Any) -> None:
        self._replaced.append((module, name, function, getattr(module, name)))
        setattr(module, name, function)
