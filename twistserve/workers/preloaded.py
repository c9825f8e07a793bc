"""What the process with the application and the parent say to one another, and how it forks a worker (--preload).

They speak over a Unix socket that keeps messages apart: one line of JSON each, with descriptors (unix(7)).

A worker becomes the parent's own child, so that it is watched and reaped as any other: the process forks one that
forks the worker and ends, and the parent has asked the kernel for orphans of its descendants (PR_SET_CHILD_SUBREAPER,
prctl(2)).
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import signal
import socket
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

MOST = 200_000
"""Bytes of a message, which are a little less than the kernel takes at once."""
MOST_DESCRIPTORS = 250
"""Descriptors that Linux passes with a message are 253 (unix(7), SCM_RIGHTS)."""
_LONGEST = 10_000
"""Characters of a text in a message."""
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


class Message(NamedTuple):
    """A word and what belongs to it."""

    word: str
    content: dict[str, Any]
    descriptors: list[int]


def send(control: socket.socket, word: str, descriptors: Sequence[int] = (), **content: Any) -> None:
    """Send a message. Raises OSError."""
    said = {name: each[:_LONGEST] if isinstance(each, str) else each for name, each in content.items()}
    data = json.dumps([word, said]).encode()
    if descriptors:
        socket.send_fds(control, [data], list(descriptors))
    else:
        control.send(data)


def receive(control: socket.socket) -> Message | None:
    """The next message, None at the end. Raises OSError, BlockingIOError where there is none yet."""
    data, descriptors, _, _ = socket.recv_fds(control, MOST, MOST_DESCRIPTORS)
    for each in descriptors:
        # As Python has its own; it takes flags here, but does not pass them on.
        os.set_inheritable(each, False)
    if not data:
        return None
    word, content = json.loads(data)
    return Message(word, content, descriptors)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent has ended. Raises OSError."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def end_with_parent() -> None:
    """Have the kernel kill this process when the thread has ended that started it."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _prctl(option: int, argument: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, argument, 0, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def fork_orphan() -> int:
    """Fork a process that the parent adopts: 0 in it, and its pid here, when it is the parent's. Raises OSError.

    The process between the two is forked past Python, so that what the application has registered with
    `os.register_at_fork` runs in the new one alone: it may start threads there. No thread may run here, and nobody
    else wait for children.
    """
    reading, writing = os.pipe()
    try:
        between = _fork()
        if not between:
            return _fork_between(writing)
        os.close(writing)
        writing = -1
        os.waitpid(between, 0)
        told = int(os.read(reading, 20) or -errno.ESRCH)
    finally:
        for each in (reading, writing):
            if each != -1:
                os.close(each)
    if told < 0:
        raise OSError(-told, os.strerror(-told))
    return told


def _fork_between(writing: int) -> int:
    """Fork the new process and end, having told its pid or the number of the error; returns in the new one."""
    between = os.getpid()
    try:
        new = os.fork()
    except OSError as error:
        new = -(error.errno or errno.EAGAIN)
    if new:
        try:
            os.write(writing, str(new).encode())
        finally:
            os._exit(0)
    while os.getppid() == between:
        time.sleep(0.0005)
    return 0


def _fork() -> int:
    """fork(3) without what Python does before and after it. Raises OSError."""
    libc = ctypes.PyDLL(None, use_errno=True)
    pid: int = libc.fork()
    if pid < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return pid
