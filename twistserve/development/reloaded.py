"""The part of --autoreload of the process that serves: it watches its own files, and ends when one has changed."""

from __future__ import annotations

import logging
import os
import signal
import time
from contextlib import suppress
from typing import Any

from twisted.application.service import Service

from twistserve.development.inheritance import CHANGED, LIFELINE, files_of_modules, tell, tell_failure
from twistserve.development.watcher import Watcher
from twistserve.http.port import Drain, WebService
from twistserve.lifecycle import Lifecycle, State
from twistserve.logs.containment import contain
from twistserve.process.ending import Ending
from twistserve.server_thread import ServerThread

GRACE = 2.0
"""Seconds that requests in flight have before a reload."""
REST = 1.0
"""Seconds for the rest of the end of a process that is reloaded."""
ORPHANED = 3.0
"""Seconds for the end after the parent's."""


class ReloadedService(Service):
    """Has the process end with status 3 when a file has changed, and tells the parent how the start goes.

    `watch` is given what it calls with the file, in a thread of its own, and whether it changed during the start.
    """

    name = "reloader"

    def __init__(self, watcher: Watcher, web: WebService, lifecycle: Lifecycle, ending: Ending, reactor: Any) -> None:
        self._watcher = watcher
        self._web = web
        self._lifecycle = lifecycle
        self._ending = ending
        self._reactor = reactor

    def startService(self) -> None:
        """Begin to watch the files, and the parent."""
        super().startService()
        self._lifecycle.observe(self._entered)
        self._watcher.start()
        ServerThread(target=_end_with_parent, name="lifeline", daemon=True).start()

    def stopService(self) -> None:
        """Watch no more."""
        super().stopService()
        self._watcher.stop()

    def _entered(self, state: State, reason: str) -> None:
        if state is State.READY:
            # For the parent to watch if this process ends without a word.
            tell(files=sorted(files_of_modules()))

    def changed(self, path: str, early: bool) -> None:
        """A file has changed: end, for the parent to start another process."""
        if self._lifecycle.state in (State.DRAINING, State.STOPPED):
            return
        shown = path
        with suppress(OSError):
            shown = os.path.relpath(path)
        tell(changed=path, early=early)
        self._ending.ask_for_restart(CHANGED, GRACE, REST)
        self._web.times = Drain(timeout=GRACE)
        self._lifecycle.recycle(f"{shown} has changed")
        # Webhooks are not waited for any longer either.
        self._reactor.callLater(GRACE, self._lifecycle.wait_no_more)


def follow_start(lifecycle: Lifecycle) -> None:
    """Have the parent told of a start that fails, and standard error of where."""
    say = lifecycle.on_failure

    def failed(message: str) -> None:
        cause = lifecycle.cause
        # Whatever comes of that, the process is to end.
        contain(tell_failure, message, cause and (cause.__cause__ or cause))
        say(message)

    lifecycle.on_failure = failed


def be_silent() -> None:
    """Log no more of what ends: a developer has pressed Ctrl-C, and wants the prompt."""
    for name in ("twistserve", "twisted"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _end_with_parent() -> None:
    """End the process when its parent has, whatever it is at."""
    while os.read(LIFELINE, 1):
        pass
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(ORPHANED)
    os._exit(1)
