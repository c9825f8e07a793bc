"""What importing the application leaves behind that forked processes cannot use: threads, connections, a reactor.

A forked process has none of the threads, and shares each connection with the others. So --preload refuses an
application that leaves any, and names them; Django's own connections are closed instead.
"""

from __future__ import annotations

import logging.handlers
import os
import socket
import stat
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from twisted.internet import main

from twistserve.errors import StartError
from twistserve.logs import get_logger
from twistserve.logs.containment import contain
from twistserve.logs.placement import all_loggers

logger = get_logger(__name__)

ENDING = 0.2
"""Seconds until a thread that was joined has left /proc."""
_STANDARD = 2
"""The highest number of a standard stream."""
_REMEDY = "leave --preload out"


class ImportEffects:
    """Records threads, connections and reactors from when it is made until `check`. Main thread."""

    def __init__(self) -> None:
        from django.db.backends.signals import connection_created

        self._origins: dict[threading.Thread, str] = {}
        self._connected: dict[str, None] = {}
        self._before = {*_connections()}
        self._start, self._install = threading.Thread.start, main.installReactor
        self._created = connection_created
        connection_created.connect(self._record_connection)
        origins, start = self._origins, self._start

        def start_and_record(thread: threading.Thread) -> None:
            origins[thread] = _caller(sys._getframe(1))
            start(thread)

        threading.Thread.start = start_and_record  # type: ignore[method-assign, assignment]
        main.installReactor = _refuse_reactor

    def check(self) -> None:
        """Close Django's connections, and stop recording. Raises `StartError` for anything that is left."""
        threading.Thread.start = self._start  # type: ignore[method-assign]
        main.installReactor = self._install
        self._created.disconnect(self._record_connection)
        contain(_close_django_connections)
        _close_log_sockets()
        if self._connected:
            logger.info(
                "the application has asked the databases %s while it was imported: each worker connects anew",
                ", ".join(map(repr, self._connected)),
            )
        self._check_threads()
        left = {peer: None for number, peer in _connections() if (number, peer) not in self._before}
        if left:
            raise StartError(
                "--preload: importing the application has left connections open, which its workers would share: to"
                f" {', '.join(left)}; connect when it is first needed, or {_REMEDY}"
            )
        if "twisted.internet.reactor" in sys.modules:
            raise StartError(f"--preload: importing the application has put a reactor into sys.modules: {_REMEDY}")

    def _record_connection(self, connection: Any, **others: object) -> None:
        self._connected[connection.alias] = None

    def _check_threads(self) -> None:
        # First, because it waits: a thread that was started just now may not run Python code yet.
        native = _native_threads()
        others = [each for each in threading.enumerate() if each is not threading.current_thread()]
        known = {each.ident for each in others}
        names = [f"{each.name!r}{self._origins.get(each, '')}" for each in others]
        names += [
            f"one without a name at {frame.f_code.co_filename}:{frame.f_lineno}"
            for ident, frame in sys._current_frames().items()
            if ident not in known and ident != threading.get_ident()
        ]
        if names:
            raise StartError(
                "--preload: importing the application has started threads, which its workers would not have:"
                f" {', '.join(names)}; start them when they are first needed, or {_REMEDY}"
            )
        if native:
            logger.warning(
                "--preload: importing the application has started threads of C code, which its workers do not have: %s."
                " Libraries for computing start theirs again; if another hangs in workers, leave --preload out",
                ", ".join(native),
            )


def can_be_forked() -> bool:
    """Whether this process has no threads and no connections; it may have imported the project, or its settings."""
    if len(threading.enumerate()) > 1 or _native_threads() or any(number > _STANDARD for number, _ in _connections()):
        return False
    connections = getattr(sys.modules.get("django.db"), "connections", None)
    return connections is None or all(each.connection is None for each in connections.all(initialized_only=True))


def _refuse_reactor(reactor: Any) -> None:
    """Replaces `twisted.internet.main.installReactor`."""
    raise StartError(
        "--preload: the application imports or installs Twisted's reactor while it is imported, and each worker has one"
        f" of its own: import it in the functions that use it, or {_REMEDY}"
    )


def _caller(frame: FrameType | None) -> str:
    """Where a thread was started: the innermost frame outside `threading` and `concurrent`."""
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in ("threading", "concurrent"):
        frame = frame.f_back
    return "" if frame is None else f" (started at {frame.f_code.co_filename}, line {frame.f_lineno})"


def _close_django_connections() -> None:
    from django.core.cache import caches
    from django.db import connections

    for connection in connections.all(initialized_only=True):
        connection.close()
        # Django's pools have threads.
        if (close_pool := getattr(connection, "close_pool", None)) is not None:
            close_pool()
    caches.close_all()


def _close_log_sockets() -> None:
    """Close the sockets of handlers for log servers; they connect again with the next line."""
    for each in all_loggers():
        for handler in each.handlers:
            if isinstance(handler, logging.handlers.SocketHandler) and handler.sock is not None:
                handler.sock.close()
                handler.sock = None


def _connections() -> Iterator[tuple[int, str]]:
    """The descriptors of connected stream sockets, and the addresses of their peers; none where there is no /proc."""
    names: list[str] = []
    with suppress(OSError):
        names = os.listdir("/proc/self/fd")
    for name in names:
        number = int(name)
        with suppress(OSError):
            # Other files are not opened: closing them again would drop the locks that this process has on them.
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                with socket.socket(fileno=os.dup(number)) as borrowed:
                    if borrowed.type == socket.SOCK_STREAM:
                        yield number, _address(borrowed.getpeername())


def _address(peer: Any) -> str:
    if isinstance(peer, tuple):
        return f"[{peer[0]}]:{peer[1]}" if ":" in peer[0] else f"{peer[0]}:{peer[1]}"
    return os.fsdecode(peer).replace("\0", "@") or "the other end of a socket pair (an event loop of asyncio has one)"


def _native_threads() -> list[str]:
    """The names of this process's other threads as the kernel has them, after waiting for those that are ending."""
    deadline = time.monotonic() + ENDING
    while (names := _tasks()) and time.monotonic() < deadline:
        time.sleep(ENDING / 10)
    return names


def _tasks() -> list[str]:
    names: list[str] = []
    with suppress(OSError):
        for path in Path("/proc/self/task").iterdir():
            if path.name != str(os.getpid()):
                with suppress(OSError):
                    name = (path / "comm").read_text()
                    # A thread without a name of its own has that of the process.
                    names.append("unnamed" if name == Path("/proc/self/comm").read_text() else name.strip())
    return names
