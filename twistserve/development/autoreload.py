"""The parent's part of --autoreload: a process that serves, and is started again whenever files have changed."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred, inlineCallbacks

from twistserve.development.inheritance import CHANGED
from twistserve.lifecycle import Lifecycle
from twistserve.logs import get_logger
from twistserve.process import exit_status

logger = get_logger(__name__)

KILLED_AFTER = 0.4
"""Seconds that the process has for its end when there is no more time for anything."""
INTERRUPTED = 2.0
"""Seconds that it has after Ctrl-C."""
MOST_EARLY = 10
"""Starts in a row during which a file may change; one that changes more often is written by the start itself."""
PAUSE = 1.0
"""Seconds until the process is started again that has asked for it without a change."""


class Process(Protocol):
    """The process that serves."""

    def signal(self, number: int) -> None:
        """Send it a signal, if it is there."""


class Watcher(Protocol):
    """What watches files."""

    def stop(self) -> None:
        """Tell of nothing any more."""


class ErrorSite(Protocol):
    """What responds while no process serves."""

    def open(self, message: str, traceback: str) -> None:
        """Begin."""

    def close(self) -> None:
        """End."""


Told = Callable[[dict[str, Any]], None]
Start = Callable[[float, list[str], Told, Callable[[int], None]], Process]
"""Starts a process: the time of day, files that are unreliable, what gets its news, and its exit status. OSError."""
Watch = Callable[[list[str], float, list[str], Callable[[str], None]], Watcher]
"""Watches: files that mattered, the time of their process's start, unreliable ones, what is told of a change."""


class AutoreloadService(Service):
    """Keeps a process running that serves; while the project does not start, serves the error, and watches.

    `grace` is what a process may take for its end, in seconds. Everything here belongs to the reactor thread.
    """

    name = "autoreload"

    def __init__(
        self, start: Start, watch: Watch, error_site: ErrorSite, grace: float, lifecycle: Lifecycle, reactor: Any
    ) -> None:
        self._start_process = start
        self._watch = watch
        self._error_site = error_site
        self._grace = grace
        self._end_by = signal.SIGTERM
        self._lifecycle = lifecycle
        self._reactor = reactor
        self._process: Process | None = None
        self._watcher: Watcher | None = None
        self._gone: Deferred[None] | None = None
        self._started = 0.0
        self._files: list[str] = []
        """What the project was read from when it was last told."""
        self._news: dict[str, Any] = {}
        """What the process has told."""
        self._early: Counter[str] = Counter()
        """How many starts in a row a file has changed during."""

    def startService(self) -> None:
        """Start the first as soon as the reactor runs."""
        super().startService()
        self._reactor.callWhenRunning(self._start)

    @inlineCallbacks
    def stopService(self) -> Any:
        """Have the process end in its way and time, else kill it."""
        super().stopService()
        if self._watcher is not None:
            self._watcher.stop()
        self._error_site.close()
        if self._process is None:
            return
        self._gone = Deferred()
        self._process.signal(self._end_by)
        yield self._lifecycle.wait(self._gone, self._grace)
        if self._process is not None:
            yield self._wait(KILLED_AFTER)
            self.kill()
            yield self._wait(KILLED_AFTER)

    def _wait(self, seconds: float) -> Deferred[None]:
        """For the end of the process, so long."""
        self._gone = Deferred()
        if self._process is None:
            self._gone.callback(None)
        return self._gone.addTimeout(seconds, self._reactor, lambda result, seconds: None)

    def interrupt(self) -> None:
        """Have the process end at once, when the service is stopped: a terminal has sent it the signal too."""
        self._grace, self._end_by = INTERRUPTED, signal.SIGINT

    def signal(self, number: int) -> None:
        """Pass a signal on."""
        if self._process is not None:
            self._process.signal(number)

    def kill(self) -> None:
        """End the process without a word; callable from any thread."""
        self.signal(signal.SIGKILL)

    # The process

    def _start(self) -> None:
        if not self.running:
            return
        self._news = {}
        self._started = time.time()
        try:
            self._process = self._start_process(self._started, self._unreliable(), self._news.update, self._ended)
        except OSError as error:
            self._fail(f"no process could be started: {error.strerror}", "")

    def _unreliable(self) -> list[str]:
        return [path for path, starts in self._early.items() if starts >= MOST_EARLY]

    def _ended(self, status: int) -> None:
        self._process = None
        self._files = self._news.get("files", self._files)
        if self._gone is not None and not self._gone.called:
            self._gone.callback(None)
        if not self.running:
            return
        if status == CHANGED:
            changed = self._news.get("changed")
            if not changed:
                # It would go on for ever without a word.
                logger.warning("the process that serves has ended with status %d by itself: starting again", CHANGED)
            self._count(changed, bool(changed and self._news["early"]))
            self._reactor.callLater(0.0 if changed else PAUSE, self._start)
        elif status == 0:
            self._lifecycle.recycle("the process that serves has ended")
        else:
            default = f"the process that serves has ended: {exit_status.in_words(status)}"
            self._fail(self._news.get("failed", default), self._news.get("traceback", ""))

    def _fail(self, message: str, traceback: str) -> None:
        """Serve the error until something changes."""
        if "failed" not in self._news:
            # Otherwise it has said so itself.
            logger.error("%s", message)
        logger.warning("waiting for a change")
        self._error_site.open(message, traceback)
        failed = time.time()

        def changed(path: str) -> None:
            self._reactor.callFromThread(self._changed, path, failed)

        self._watcher = self._watch(self._files, self._started, self._unreliable(), changed)

    def _changed(self, path: str, failed: float) -> None:
        if not self.running:
            return
        logger.warning("%s has changed: starting again", path)
        with suppress(OSError):
            self._count(path, os.stat(path).st_mtime < failed)
        self._watcher = None
        self._error_site.close()
        self._start()

    def _count(self, path: str | None, early: bool) -> None:
        """A file has changed, perhaps while the process that should read it was starting."""
        if not early or path is None:
            self._early.clear()
            return
        self._early[path] += 1
        if self._early[path] == MOST_EARLY:
            logger.warning(
                "%s has changed during %d starts in a row: from now on such a change does not start another; if the"
                " project writes the file when it starts, have it write only what is new",
                path,
                MOST_EARLY,
            )
