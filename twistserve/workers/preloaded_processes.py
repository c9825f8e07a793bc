"""The preloaded processes (--preload): the first, a new one for each reload, and another where one has died.

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
from twistserve.workers.preloaded_process import ForkedFromParent, ForkRequest, PreloadedProcess
from twistserve.workers.worker_state import STEADY

logger = get_logger(__name__)


class PreloadedProcesses:
    """Has workers forked by the preloaded process with the newest code.

    The previous process stays until the new one has loaded the application, and is used again if that fails. A process
    that dies is replaced at once; if it had the application for less than `STEADY`, when a worker is needed.
    """

    def __init__(
        self,
        configuration: Configuration,
        lines: Callable[[str], None] | None,
        log_lock: int,
        at_step: Callable[[str], None],
        reactor: Any,
        first: ForkedFromParent | None = None,
    ) -> None:
        """`first` is the first process, if it was forked from the parent."""
        self.orphans = Orphans(reactor)
        self.step = ""
        """The step that the newest process is at; empty when it has the application."""
        self._environ: dict[str, str] = {}
        self._configuration = configuration
        self._lines = lines
        self._log_lock = log_lock
        self._at_step = at_step
        self._reactor = reactor
        self._first = first
        self._processes: list[PreloadedProcess] = []
        """The processes that have not ended, the newest last."""
        self._current: PreloadedProcess | None = None
        self._may_load = self._ever_loaded = self._stopping = False
        self._stopped: list[Deferred[None]] = []

    def start(self, environ: dict[str, str]) -> None:
        """Start the first process, which loads Python and our modules and waits for `load`. Raises `StartError`."""
        self._environ = environ
        try:
            self.orphans.adopt()
            self._start()
        except OSError as error:
            raise StartError(f"--preload: its process cannot be started: {error.strerror}") from error

    def load(self) -> None:
        """Have the application imported; by later processes as soon as they start."""
        self._may_load = True
        if self._current is not None:
            self._load(self._current)

    def reload(self) -> None:
        """Import the application anew, in a new process, for the workers forked from now on. Raises OSError."""
        if not self._may_load:
            return
        previous = self._current
        self._start()
        if previous is not None and not previous.loaded:
            # Its code is out of date before it could be used.
            previous.end()

    def fork(self, request: ForkRequest) -> None:
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
        """Send SIGKILL to all processes; callable from any thread."""
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

    # ProcessObserver

    def at_step(self, process: PreloadedProcess, step: str) -> None:
        """A process has begun a step of loading the application."""
        if process is self._current:
            self.step = step
            self._at_step(step)

    def loaded(self, process: PreloadedProcess) -> None:
        """A process has the application: the older ones are no longer needed."""
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
        self._current = next((each for each in reversed(self._processes) if each.loaded and not each.ending), None)
        if self._current is not None:
            self.step = ""
            logger.error("%s; workers are forked from the old code, of process %d", reason, self._current.pid)
            return
        lived = self._reactor.seconds() - process.loaded_at if process.loaded_at else 0.0
        if not self._ever_loaded:
            # Its pending requests fail with the reason, and the service ends.
            return
        if lived < STEADY:
            logger.error("%s; another one is started when a worker is needed, or with SIGHUP", reason)
            return
        logger.error("%s; another one is started", reason)
        try:
            self._start()
        except OSError as error:
            logger.error("--preload: a process cannot be started: %s", error.strerror)
