"""Log lines on their way to where they are written, so that nothing that serves waits for a disk, a pipe or a handler.

Python's QueueHandler and QueueListener have a queue without a bound, end with a wait without one, and know nothing of
forks; the rest of them is twenty lines.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from twistserve.server_thread import ServerThread

ROOM = 8 << 20
"""Bytes of lines that may wait, roughly; a line that finds no room is lost."""
LATER = 0.1
"""Seconds for which lines may be held, to be written with others."""
TELL_EVERY = 10.0
"""Seconds between two lines that say how many were lost."""

Write = Callable[[Any], object]


class LogQueue:
    """Writes what is put into it on a thread of its own; what finds no room, or cannot be written, is lost and counted.

    Before `start`, and in a forked child, which has no such thread, each line is written by the thread that puts it.
    `put` never raises. Callable from any thread.
    """

    def __init__(self, room: int = ROOM) -> None:
        self.dropped = 0
        """Lines lost so far."""
        self.on_recovery: Callable[[int], None] = lambda lost: None
        """Called on the writing thread with the number of lines lost, once lines can be written again."""
        self._room = room
        self._thread = 0
        self._failures = 0
        self._told, self._told_at = 0, -TELL_EVERY
        self._reset()

    def _reset(self) -> None:
        # Reentrant: the garbage collector, or a signal, may log in the thread that holds it.
        self._lock = threading.RLock()
        self._filled = threading.Condition(self._lock)
        self._emptied = threading.Condition(self._lock)
        self._entries: deque[tuple[Write, Any, int, int]] = deque()
        self._taken = 0
        self._soon = False
        """Whether the entries are to be written without waiting for more."""

    @property
    def running(self) -> bool:
        """Whether a thread writes."""
        return self._thread != 0

    def start(self) -> None:
        """Start the thread; once is enough."""
        if not self._thread:
            thread = ServerThread(target=self._run, name="log", daemon=True)
            thread.start()
            self._thread = thread.ident or 0
            os.register_at_fork(after_in_child=self._after_fork)

    def put(self, write: Write, item: Any, lines: int = 1, size: int = 256, *, soon: bool = True) -> None:
        """Have `write(item)` called, which writes so many `lines` of `size` bytes together.

        What is not needed `soon` waits up to `LATER`: each time that the thread runs, it takes the GIL from those that
        serve. Woken for each 20 ms of requests, it cost a hello 3 % of its time.
        """
        if not self._thread or threading.get_ident() == self._thread:
            self._write(write, item, lines)
            return
        with self._lock:
            # Whatever its size, one line has room.
            if self._taken and self._taken + size > self._room:
                self.dropped += lines
                return
            self._taken += size
            self._entries.append((write, item, lines, size))
            if soon or len(self._entries) == 1:
                self._soon = self._soon or soon
                self._filled.notify()

    def lose(self, lines: int = 1) -> None:
        """Count lines that could not even be made."""
        with self._lock:
            self.dropped += lines

    def flush(self, seconds: float) -> bool:
        """Wait until all is written, at most so long; whether it is."""
        if not self._thread or threading.get_ident() == self._thread:
            return True
        with self._lock:
            self._soon = True
            self._filled.notify()
            return self._emptied.wait_for(lambda: not self._taken, seconds)

    def _run(self) -> None:
        while True:
            with self._lock:
                while not self._entries:
                    self._soon = False
                    self._filled.wait()
                if not self._soon:
                    self._filled.wait(LATER)
                    # All that has come meanwhile.
                    self._soon = True
                write, item, lines, size = self._entries.popleft()
            failures = self._failures
            self._write(write, item, lines)
            # An exception that was logged holds the frames it came through.
            del write, item
            if failures == self._failures:
                self._tell_recovery()
            with self._lock:
                self._taken -= size
                if not self._taken:
                    self._emptied.notify_all()

    def _write(self, write: Write, item: Any, lines: int) -> None:
        try:
            write(item)
        except BaseException as error:
            self._failures += 1
            self.lose(lines)
            if not (isinstance(error, Exception) or threading.get_ident() == self._thread):
                raise

    def _tell_recovery(self) -> None:
        """The last line was written: say how many were lost before, but not for every second line of a full disk."""
        lost = self.dropped
        if lost == self._told or time.monotonic() - self._told_at < TELL_EVERY:
            return
        number, self._told, self._told_at = lost - self._told, lost, time.monotonic()
        self._write(self.on_recovery, number, 1)

    def _after_fork(self) -> None:
        """The thread is the parent's, and so are the lines that wait for it; any thread may have held a lock."""
        self._thread = 0
        self._reset()


queue = LogQueue()
"""The process's."""
