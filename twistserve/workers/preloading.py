"""Which process has the application (--preload): the first, a new one for new code, and another where one has died.

Reactor thread, in the parent.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed

from twistserve.errors import StartError
from twistserve.logs import get_logger
from twistserve.options import Configuration
from twistserve.workers.forked_process import Orphans
from twistserve.workers.preloaded_process import Forked, PreloadedProcess, Request
from twistserve.workers.supervisor import STEADY

logger = get_logger(__name__)


class Preloading:
    """Has workers forked by the process whose code is newest.

    One that cannot load the application gives way to the one before, which stays until then. One that has died has
    another in its place at once, unless it has died young: then another is started when a worker is wanted.
    """

    def __init__(
        self,
        configuration: Configuration,
        lines: Callable[[str], None] | None,
        log_lock: int,
        at_step: Callable[[str], None],
        reactor: Any,
        first: Forked | None = None,
    ) -> None:
        """`first` is the first process, if it is there already."""
        self.orphans = Orphans(reactor)
        self.step = ""
        """What the newest process is at; empty when it has the application."""
        self._environ: dict[str, str] = {}
        self._configuration = configuration
        self._lines = lines
        self._log_lock = log_lock
        self._at_step = at_step
        self._reactor = reactor
        self._first = first
        self._processes: list[PreloadedProcess] = []
        """Those that are there, the newest last."""
        self._current: PreloadedProcess | None = None
        self._may_load = self._ever_loaded = self._stopping = False
        self._stopped: list[Deferred[None]] = []

    def start(self, environ: dict[str, str]) -> None:
        """Start the first process, which waits with Python and our modules loaded. Raises `StartError`."""
        self._environ = environ
        try:
            self.orphans.adopt()
            self._start()
        except OSError as error:
            raise StartError(f"--preload: its process cannot be started: {error.strerror}") from error

    def load(self) -> None:
        """Import the application, from now on."""
        self._may_load = True
        if self._current is not None:
            self._load(self._current)

    def reload(self) -> None:
        """Import the application anew, for the workers that are forked from now on. Raises OSError."""
        if not self._may_load:
            return
        before = self._current
        self._start()
        if before is not None and not before.loaded:
            # Its code is not the newest, and nobody waits for it.
            before.end()

    def fork(self, request: Request) -> None:
        """Have a worker forked. Raises OSError."""
        if self._current is None and not self._stopping:
            self._start()
        if self._current is not None:
            self._current.fork(request)

    def stop(self) -> Deferred[None]:
        """End all processes; fires when they have ended."""
        self._stopping = True
        if not self._processes:
            return succeed(None)
        for each in self._processes:
            each.end()
        stopped: Deferred[None] = Deferred()
        self._stopped.append(stopped)
        return stopped

    def kill(self) -> None:
        """End all processes now; callable from any thread."""
        for each in self._processes:
            each.kill()

    def _start(self) -> None:
        process = PreloadedProcess(self, self._lines, self._reactor)
        first, self._first = self._first, None
        if first is not None:
            process.take(first, self.orphans)
        else:
            process.start(self._environ, self._log_lock)
        self._processes.append(process)
        self._current = process
        self.step = "loading Python's modules"
        if self._may_load:
            self._load(process)

    def _load(self, process: PreloadedProcess) -> None:
        directory = self._environ.get("PROMETHEUS_MULTIPROC_DIR", "")
        process.load(self._configuration.values(), sys.path, directory)

    # What processes tell

    def at_step(self, process: PreloadedProcess, step: str) -> None:
        """A process has come to a step."""
        if process is self._current:
            self.step = step
            self._at_step(step)

    def loaded(self, process: PreloadedProcess) -> None:
        """A process can fork: what was there before it is not needed any more."""
        if process is not self._current:
            return
        self.step, self._ever_loaded = "", True
        logger.info("the application is loaded in process %d, which workers are forked from", process.pid)
        for each in self._processes:
            if each is not process:
                each.end()

    def gone(self, process: PreloadedProcess, reason: str) -> None:
        """A process has ended."""
        self._processes.remove(process)
        if self._stopping:
            if not self._processes:
                for each in self._stopped:
                    each.callback(None)
                self._stopped.clear()
            return
        if process is not self._current:
            return
        self._current = next((each for each in reversed(self._processes) if each.loaded and not each.ends), None)
        if self._current is not None:
            self.step = ""
            logger.error("%s; workers are forked from the old code, of process %d", reason, self._current.pid)
            return
        lived = self._reactor.seconds() - process.loaded_at if process.loaded_at else 0.0
        if not self._ever_loaded:
            # The workers that wait for it say why, and the service ends.
            return
        if lived < STEADY:
            logger.error("%s; another one is started when a worker is needed, or with SIGHUP", reason)
            return
        logger.error("%s; another one is started", reason)
        try:
            self._start()
        except OSError as error:
            logger.error("--preload: a process cannot be started: %s", error.strerror)
