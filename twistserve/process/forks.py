"""What a process that the application forks gets of the service: nothing.

Such a child, of multiprocessing for instance, begins as a copy of this process: with handlers that hand its signals to
a reactor which does not run in it, and with open sockets, which would keep a port in use and clients waiting.
"""

from __future__ import annotations

import os
import signal
import socket
import stat
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

from twistserve.net.reactor import descriptors_of
from twistserve.process.signals import Signals, is_ours

_STANDARD = 2
"""The highest descriptor that every process has."""
_ANY = ("0.0.0.0", "::")


class ForkGuard:
    """Gives forked children Python's own handling of signals, and /dev/null in the place of the service's files.

    `names` are the addresses that the service listens at, `descriptors` what it has open otherwise. The application's
    handlers in `signals` stay.
    """

    def __init__(
        self,
        reactor: Any,
        names: Callable[[], Iterable[Any]],
        descriptors: Callable[[], Iterable[int]],
        signals: Signals,
    ) -> None:
        self._signals = signals
        self._reactor = reactor
        self._names = names
        self._descriptors = descriptors
        self._active = False
        self._before = threading.local()

    def install(self) -> None:
        """Act from now on: called when the service has started, for twistd forks before that. Main thread."""
        self._active = True
        os.register_at_fork(before=self._hold, after_in_parent=self._go_on, after_in_child=self._in_child)

    def _hold(self) -> None:
        """Keep signals from the child until it has its own handling: ours would tell the parent of them."""
        if self._active:
            taken = {number for number in signal.valid_signals() if is_ours(signal.getsignal(number))}
            self._before.mask = signal.pthread_sigmask(signal.SIG_BLOCK, taken)

    def _go_on(self) -> None:
        mask = self._before.__dict__.pop("mask", None)
        if mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _in_child(self) -> None:
        if not self._active:
            return
        # What this child forks, and has opened by then, is its own.
        self._active = False
        try:
            self._signals.let_go()
            signal.set_wakeup_fd(-1)
            for number in signal.valid_signals():
                if is_ours(signal.getsignal(number)):
                    signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
            self._let_go()
        finally:
            self._go_on()

    def _let_go(self) -> None:
        """Put /dev/null in the place of each file. Closing them would leave their numbers to others.

        The reactor's epoll comes first: the child shares it with its parent, and could take connections out of it.
        """
        ours = [*self._descriptors()]
        with suppress(Exception):
            ours += descriptors_of(self._reactor)
        # There may be no /proc, after a chroot for instance.
        with suppress(OSError):
            ours += _connected_to(list(self._names()))
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in ours:
            if descriptor > _STANDARD:
                with suppress(OSError):
                    os.dup2(null, descriptor, inheritable=False)
        os.close(null)


def _connected_to(names: list[Any]) -> Iterator[int]:
    """The sockets whose own address is one of these: those that listen, and the connections that were accepted."""
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        name = name_of(descriptor)
        if name and any(_same(name, each) for each in names):
            yield descriptor


def name_of(descriptor: int) -> Any:
    """The address of a socket of its own side, None for another file."""
    with suppress(OSError):
        if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            borrowed = socket.socket(fileno=descriptor)
            try:
                return borrowed.getsockname()
            finally:
                borrowed.detach()
    return None


def _same(name: Any, listening: Any) -> bool:
    """Whether a socket's address is one that is listened at, of which the host may be any."""
    if isinstance(name, tuple) and isinstance(listening, tuple):
        return bool(name[1] == listening[1] and (listening[0] in _ANY or name[0] == listening[0]))
    if isinstance(name, str | bytes) and isinstance(listening, str | bytes):
        return os.fsencode(name) == os.fsencode(listening)
    return False
