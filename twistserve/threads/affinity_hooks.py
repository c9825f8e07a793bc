"""What the rest of the process is to see of --cpu-affinity auto: nothing.

Threads and processes inherit the affinity of the thread that starts them. Python tells audit hooks (PEP 578) before it
starts most of them, and before it loads an extension module, which may start threads of its own.
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
"""Audit events before something starts; `import` besides."""
WITHOUT_EVENT: tuple[tuple[ModuleType, str], ...] = (
    # Of threads, Python 3.11 tells nothing.
    (_thread, "start_new_thread"),
    (_thread, "start_joinable_thread"),
    (threading, "_start_new_thread"),
    (threading, "_start_joinable_thread"),
    # multiprocessing calls it.
    (_posixsubprocess, "fork_exec"),
)
"""What starts something too, as far as this Python has it."""


class AffinityHooks:
    """Lets a thread go that is about to start something, and tells what affinity there is without ours.

    `give_up` is called with the reason when the application sets the affinity of a thread of this process.
    """

    def __init__(self, cores: Cores, give_up: Callable[[str], None]) -> None:
        self._cores: Cores | None = cores
        self._give_up = give_up
        self._get, self._set = os.sched_getaffinity, os.sched_setaffinity
        self._replaced: list[tuple[Any, str, Any, Any]] = []

    def install(self) -> None:
        """Begin; an audit hook cannot be taken back."""
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
            # So that pickle finds them.
            function.__module__, function.__qualname__, function.__doc__ = "os", name, getattr(os, name).__doc__
            self._replace(os, name, function)

    def uninstall(self) -> None:
        """End; only the audit hook stays, without effect."""
        self.forget()
        while self._replaced:
            module, name, ours, before = self._replaced.pop()
            if getattr(module, name) is ours:  # and not somebody else's by now
                setattr(module, name, before)

    def forget(self) -> None:
        """Nothing is kept on one core: in a forked child."""
        self._cores = None

    def hook(self) -> Callable[[str, tuple[Any, ...]], None]:
        """What is told of audit events, several of each request, on any thread."""
        let_go = self._let_go

        # Not a method, which would take 0.45 us for each of them instead of 0.1.
        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            # Only of an extension module it is told where it is.
            if event in STARTS or (event == "import" and arguments[1] is not None):
                let_go()

        return hook

    def get(self, pid: int) -> set[int]:
        """As os.sched_getaffinity."""
        mask, cores = self._get(pid), self._cores
        return mask if cores is None else cores.told(pid, mask)

    def set(self, pid: int, mask: Iterable[int]) -> None:
        """As os.sched_setaffinity."""
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
