"""How the preloaded process forks a worker that becomes the parent's own child (--preload).

It forks an intermediate process, which forks the worker and ends. The kernel gives the orphan to the parent, which has
asked for the orphans among its descendants (PR_SET_CHILD_SUBREAPER, prctl(2)) and watches and reaps it like any other
worker.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import time

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent has ended. Raises OSError."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def end_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends. Raises OSError."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _prctl(option: int, argument: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, argument, 0, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def fork_orphan() -> int:
    """Fork a process that the parent adopts; returns when it has, 0 in the new one and its pid here. Raises OSError.

    The intermediate process is forked without Python's hooks, so that functions registered with `os.register_at_fork`
    run in the new process alone: they may start threads. This process must have one thread, and nothing else in it may
    wait for children.
    """
    reading, writing = os.pipe()
    try:
        intermediate = _fork_without_hooks()
        if not intermediate:
            return _fork_and_end(writing)
        os.close(writing)
        writing = -1
        os.waitpid(intermediate, 0)
        outcome = int(os.read(reading, 20) or -errno.ESRCH)
    finally:
        for each in (reading, writing):
            if each != -1:
                os.close(each)
    if outcome < 0:
        raise OSError(-outcome, os.strerror(-outcome))
    return outcome


def _fork_and_end(writing: int) -> int:
    """Fork the new process, write its pid or the negative number of the error, and end; returns in the new one."""
    intermediate = os.getpid()
    try:
        new = os.fork()
    except OSError as error:
        new = -(error.errno or errno.EAGAIN)
    if new:
        try:
            os.write(writing, str(new).encode())
        finally:
            os._exit(0)
    while os.getppid() == intermediate:
        time.sleep(0.0005)
    return 0


def _fork_without_hooks() -> int:
    """fork(3) without what Python does before and after it. Raises OSError."""
    libc = ctypes.PyDLL(None, use_errno=True)
    pid: int = libc.fork()
    if pid < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return pid
