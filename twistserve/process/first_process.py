"""The first process of a container (pid 1): reaps orphans, forwards signals, and sees that the server ends in time.

The kernel makes pid 1 the parent of every process that lost its own, and only a parent can remove what is left of one
that has ended. Were the server itself the first, it would have to take the exit statuses of all its children, those of
`subprocess` and `multiprocessing` too. So the server is a child of the first process, as under tini.

The second half of this module runs as a program of its own, ``python -I -S first_process.py``, and imports nothing but
the standard library: the first process replaces itself by it and so holds neither memory, files nor threads.
"""

from __future__ import annotations

import math
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

UNTOLD = 10.0
"""Seconds for the end of a server that has not said yet how long its own may take."""
HURRY = 0.8
"""Seconds from a second signal until the server is killed."""
ASKS = (signal.SIGTERM, signal.SIGINT)
_PIPE = "_TWISTSERVE_FIRST_PROCESS"
"""The environment variable with the number of the pipe, where the server is started anew."""
_NOT_FORWARDED = {
    *(signal.SIGCHLD, signal.SIGKILL, signal.SIGSTOP, signal.SIGPIPE),
    *(signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGTRAP, signal.SIGSYS),
}


class FirstProcess:
    """What the server tells the first process, if there is one: how long its end may take."""

    def __init__(self, pipe: int = -1) -> None:
        self.pipe = pipe

    def tell_bound(self, seconds: float) -> None:
        """From the first signal on the end may take so long."""
        self._tell(f"bound {seconds:.3f}\n")

    def tell_end(self, seconds: float) -> None:
        """The end has begun by itself, and is over in so many seconds."""
        self._tell(f"end {seconds:.3f}\n")

    def _tell(self, line: str) -> None:
        if self.pipe != -1:
            with suppress(OSError):
                os.write(self.pipe, line.encode())


def leave_first_process() -> FirstProcess:
    """Where this is the first process, go on in a child of it; does nothing elsewhere.

    To be called before any thread is started. Where one runs already, the child is started anew by the same command.
    """
    if _PIPE in os.environ:
        return FirstProcess(_inherited_pipe(os.environ.pop(_PIPE)))
    if os.getpid() != 1:
        return FirstProcess()
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    # What comes in the meantime waits: pid 1 loses signals without a handler.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        server = _start_anew(writing, mask) if _has_threads() else os.fork()
    except OSError:
        # The system has no more processes for us: better to serve as the first than not at all.
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return FirstProcess()
    if not server:
        os.setpgid(0, 0)
        os.close(reading)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return FirstProcess(writing)
    os.close(writing)
    with suppress(OSError):
        os.setpgid(server, server)
    return _become_first(server, reading)


def _has_threads() -> bool:
    try:
        return len(os.listdir("/proc/self/task")) > 1
    except OSError:
        # Not for the program below.
        import threading

        return threading.active_count() > 1


def _start_anew(pipe: int, mask: set[int]) -> int:
    """Start the same command in another process: a fork of one with threads has what they were at, and none of them."""
    os.set_inheritable(pipe, True)
    environ = {**os.environ, _PIPE: str(pipe)}
    command = [sys.executable, *sys.orig_argv[1:]]
    return os.posix_spawn(sys.executable, command, environ, setpgroup=0, setsigmask=mask)


def _inherited_pipe(number: str) -> int:
    try:
        os.set_inheritable(int(number), False)
    except (OSError, ValueError):
        return -1
    return int(number)


def _become_first(server: int, pipe: int) -> NoReturn:
    """Go on as the program below, with no more than it needs, or here where that is not possible."""
    title = ""
    with suppress(ImportError):
        import setproctitle

        title = os.path.dirname(os.path.dirname(setproctitle.__file__))
    if _python_can_run_this():
        os.set_inheritable(pipe, True)
        with suppress(OSError):
            os.execv(sys.executable, [sys.executable, "-I", "-S", __file__, str(server), str(pipe), title])
    watch_over(server, pipe)


def _python_can_run_this() -> bool:
    """Whether the interpreter is an ordinary one, and finds the standard library by itself."""
    frozen = getattr(sys, "frozen", False) or not os.path.isfile(__file__)
    return bool(sys.executable) and not frozen and not os.environ.get("PYTHONHOME")


# The program


class Deadline:
    """The moment at which the server must be gone: `seconds` after the first signal, `hurry` after the second."""

    def __init__(self, seconds: float, hurry: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.at = math.inf
        self._seconds = seconds
        self._hurry = hurry
        self._clock = clock
        self._asked = False

    @property
    def left(self) -> float:
        """Seconds, infinite as long as nothing has begun."""
        return self.at - self._clock()

    def no_later_than(self, moment: float) -> bool:
        """Bring the moment forward; whether that changed anything."""
        earlier = moment < self.at
        self.at = min(self.at, moment)
        return earlier

    def within(self, seconds: float) -> bool:
        """Leave no more than so many seconds; whether that changed anything."""
        return self.no_later_than(self._clock() + seconds)

    def ask(self) -> bool:
        """A signal to end has come: the second leaves no time for anything. Whether that changed anything."""
        seconds = self._hurry if self._asked else self._seconds
        self._asked = True
        return self.within(seconds)


class Bound(Deadline):
    """How long the server may still be there: the same bounds that it keeps by itself while it can."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(UNTOLD, HURRY, clock)
        self._partial = b""

    def told(self, data: bytes) -> None:
        """The server has said something, by lines of `FirstProcess`."""
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            word, _, seconds = line.partition(b" ")
            if word == b"bound":
                self._seconds = float(seconds)
            elif word == b"end":
                self.within(float(seconds))


def watch_over(server: int, pipe: int) -> NoReturn:
    """Do what a first process does until the server has ended, and end with its status. All signals are blocked."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    for number in signal.valid_signals() - _NOT_FORWARDED | {signal.SIGCHLD}:
        # The C library has some for itself.
        with suppress(OSError, ValueError):
            signal.signal(number, lambda number, frame: None)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    _give_terminal(server)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    bound = Bound()
    poll = select.poll()
    poll.register(reading, select.POLLIN)
    poll.register(pipe, select.POLLIN)
    while True:
        _reap(server)
        if bound.left <= 0:
            os.kill(server, signal.SIGKILL)
            bound = Bound()
        for descriptor, _ in poll.poll(None if bound.at == math.inf else math.ceil(bound.left * 1000)):
            data = os.read(descriptor, 4096)
            if descriptor == reading:
                _forward(data, server, bound)
            elif data:
                bound.told(data)
            else:
                poll.unregister(pipe)


def _give_terminal(server: int) -> None:
    """Have the terminal, if there is one, send Ctrl-C to the server's group alone: we forward what is sent to us."""
    with suppress(OSError):
        os.tcsetpgrp(0, server)


def _reap(server: int) -> None:
    """Take leave of every process that has ended; with the server's status if that is among them."""
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            if pid == server:
                code = os.waitstatus_to_exitcode(status)
                os._exit(code if code >= 0 else 128 - code)


def _forward(numbers: bytes, server: int, bound: Bound) -> None:
    for number in numbers:
        if number != signal.SIGCHLD:
            if number in ASKS:
                bound.ask()
            os.kill(server, number)


def main(server: int, pipe: int, title: str) -> NoReturn:
    """Be the first process."""
    with suppress(OSError):
        # There may be no /proc.
        for name in os.listdir("/proc/self/fd"):
            if int(name) > 2 and int(name) != pipe:
                with suppress(OSError):
                    os.close(int(name))
    if title:
        sys.path.append(title)
        with suppress(ImportError):
            from setproctitle import setproctitle

            setproctitle("twistserve: init")
    watch_over(server, pipe)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
