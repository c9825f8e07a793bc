"""A worker, from its own side: what the parent may ask of it, and how it notices that there is no parent any more."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.stdio import StandardIO
from twisted.python.failure import Failure

from twistserve.lifecycle import Lifecycle, State
from twistserve.load import Load
from twistserve.logs import get_logger
from twistserve.probes.checks import Result, Status
from twistserve.probes.django_checks import DjangoChecks
from twistserve.probes.responses import Results
from twistserve.server import Serving
from twistserve.workers.allocated_files import shortage
from twistserve.workers.protocol import (
    AnnounceEnd,
    AtStep,
    Begin,
    Connection,
    Describe,
    Descriptors,
    DrainWorker,
    Failed,
    FlushMetrics,
    Heartbeat,
    LogStacks,
    Prepared,
    Ready,
    ReplaceMe,
    RunProbe,
)
from twistserve.workers.results import to_json

logger = get_logger(__name__)

ORPHANED = 10.0
"""Seconds that a worker has for its requests once its parent has died; then it ends, whatever it is at."""
PARENT_DIED = signal.SIGSTKFLT
"""The signal that tells, which nothing else uses; its number is that of seconds after which even C code is ended."""
_PR_SET_PDEATHSIG = 1


LONGEST = 10_000
"""Characters of a text that is told to the parent: AMP takes 64 KiB, and each may become six bytes."""


class WorkerSide:
    """What a worker can say and do. `serving` is None where the start has failed before there was anything."""

    def __init__(self, lifecycle: Lifecycle, serving: Serving | None, checks: DjangoChecks) -> None:
        self.lifecycle = lifecycle
        self.serving = serving
        self.checks = checks


class Parent(Connection):
    """The connection to the parent; `begin` composes and starts what serves, `end` ends the process before that.

    `preloaded` says that the application is imported already, and sys.path as that has left it.
    """

    def __init__(
        self,
        begin: Callable[[dict[str, Any], bool, Parent], WorkerSide],
        end: Callable[[], None],
        preloaded: bool = False,
    ) -> None:
        super().__init__()
        self._preloaded = preloaded
        self._begin = begin
        self._end = end
        self._side: WorkerSide | None = None
        self._flushed = 0
        self._raised = ""
        self._short = False

    # What the worker says

    def follow(self, lifecycle: Lifecycle) -> None:
        """Tell the parent of the start-up's steps, its success or its failure."""
        lifecycle.on_step = lambda step, detail: self._say(AtStep, step=step, detail=detail)
        lifecycle.on_failure = lambda message: self._say(Failed, message=message)
        lifecycle.observe(lambda state, reason: self._say(Ready) if state is State.READY else None)

    def prepared(self) -> None:
        """Tell that the other workers may begin."""
        self._say(Prepared)

    def ask_for_replacement(self, cause: str, reason: str) -> None:
        """Ask for another worker in this one's place; it drains when that is ready."""
        self._say(ReplaceMe, cause=cause, reason=reason)

    def _say(self, command: Any, **texts: str) -> None:
        if self.transport is not None:
            self.callRemote(command, **{name: _sayable(text) for name, text in texts.items()})

    # What the parent asks

    @Begin.responder
    def begin(self, configuration: dict[str, Any], path: list[str], prepares: bool) -> dict[str, Any]:
        """Compose and start, with the parent's path to import from: a manage.py may have extended it."""
        if not self._preloaded:
            sys.path[:] = path
        self._side = self._begin(configuration, prepares, self)
        self._side.lifecycle.observe(self._hand_over)
        return {}

    @Heartbeat.responder
    def heartbeat(self) -> dict[str, Any]:
        """Here. What was counted is brought where it outlives this process, which may be killed.

        That takes 50 us with a few kinds of requests and 1 ms with every method, handler and twelve statuses.
        """
        serving = self._serving
        self._tell_of_shortage()
        if serving is None:
            return {"load": Load()}
        if serving.site.responses != self._flushed:
            self._flushed = serving.site.responses
            self._flush()
        return {"load": serving.load()}

    @RunProbe.responder
    def run_probe(self, probe: str) -> Deferred[dict[str, Any]]:
        """Run the checks. What looking for them raises is a result: AMP would close the connection."""
        assert self._side is not None
        results: Deferred[Results] = maybeDeferred(self._side.checks.ask, probe)
        results.addErrback(lambda failure: {"probe": _raised(failure)})
        return results.addCallback(lambda results: {"results": to_json(results)})

    @Describe.responder
    def describe(self) -> dict[str, Any]:
        """Tell everything, if there is anything yet."""
        return {"status": self._serving.describe() if self._serving is not None else None}

    @FlushMetrics.responder
    def flush_metrics(self) -> dict[str, Any]:
        """Flush."""
        self._flush()
        return {}

    @LogStacks.responder
    def log_stacks(self) -> dict[str, Any]:
        """Log."""
        if self._serving is not None:
            self._serving.log_stacks("SIGQUIT")
        return {}

    @AnnounceEnd.responder
    def announce_end(self) -> dict[str, Any]:
        """Announce."""
        if self._serving is not None:
            self._serving.site.announce()
        return {}

    @DrainWorker.responder
    def drain(self, last: bool) -> dict[str, Any]:
        """Drain."""
        if self._serving is not None:
            self._serving.web.last = last
        if self._side is not None:
            self._side.lifecycle.recycle("the parent has asked for it")
        else:
            self._end()
        return {}

    def _hand_over(self, state: State, reason: str) -> None:
        """Leave to the next one of the same number what was counted since somebody read the metrics."""
        if state is State.STOPPED:
            self._flush()

    def _flush(self) -> None:
        """Bring the metrics up to date, if their file system lets us: AMP would close the connection."""
        if self._serving is None:
            return
        try:
            self._serving.flush_metrics()
        except Exception as error:
            if repr(error) != self._raised:
                logger.exception("the metrics cannot be brought up to date")
                self._raised = repr(error)

    def _tell_of_shortage(self) -> None:
        """Say once that something is not counted, where it is not known while it is counted."""
        if shortage.reason and not self._short:
            self._short = True
            logger.warning(
                "there is no room for metrics in %s: what has none is served but not counted, until there is;"
                " make room there, or set TMPDIR to a directory that has some",
                shortage.reason,
            )

    @property
    def _serving(self) -> Serving | None:
        return None if self._side is None else self._side.serving

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        """The parent is gone: answer what is here, and end."""
        super().connectionLost(reason)
        if self._side is not None and self._side.lifecycle.state is not State.STOPPED:
            self._side.lifecycle.recycle("the parent has died")
        elif self._side is None:
            self._end()


def _raised(failure: Failure) -> Result:
    return Result(Status.FAIL, output=f"raised {type(failure.value).__name__}")


def _sayable(text: str) -> str:
    """A text that AMP can carry, whatever an error of somebody else's has in it."""
    cut = text if len(text) <= LONGEST else text[:LONGEST] + "…"
    return cut.encode(errors="backslashreplace").decode()


class _Pipes(StandardIO):
    """Sends at once: what is said last must be on its way when the reactor turns no more."""

    def write(self, data: bytes) -> None:
        """Write what the pipe takes, and leave the rest to the reactor."""
        super().write(data)
        writer = self._writer  # type: ignore[attr-defined]
        if writer is not None:
            writer.doWrite()


def connect(parent: Parent, descriptors: Descriptors) -> None:
    """Speak with the parent over the pipes, and watch the one that only its death closes.

    What was inherited is not for the programs that the application starts.
    """
    *pipes, sockets = descriptors
    for descriptor in (*pipes, *sockets):
        os.set_inheritable(descriptor, False)
    _end_without_python()
    threading.Thread(target=_watch, args=(descriptors.lifeline,), name="lifeline", daemon=True).start()
    _Pipes(parent, stdin=descriptors.to_worker, stdout=descriptors.from_worker)  # type: ignore[call-arg]


def end_early(end: Callable[[], None]) -> None:
    """Have SIGTERM end the process until it begins; then it is for the service to say what signals do. Main thread."""
    signal.signal(signal.SIGTERM, lambda number, frame: end())


def stop_listening(to_worker: int) -> None:
    """Have the parent notice that this process has come to its end, and answers nothing any more."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, to_worker, inheritable=False)
    os.close(null)


def _end_without_python() -> None:
    """Have the process end after its parent even if no Python runs in it any more.

    C code that keeps the interpreter's lock, such as a regular expression that takes for ever, stops every thread. So
    the kernel sends a signal when the parent dies (prctl(2)), whose handler is C's alarm(3), which may be called there:
    it takes the signal's number for seconds, and what it sends ends the process.
    """
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    libc = ctypes.CDLL(None)
    libc.signal.argtypes, libc.signal.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
    libc.signal(PARENT_DIED, ctypes.cast(libc.alarm, ctypes.c_void_p))
    libc.prctl(_PR_SET_PDEATHSIG, PARENT_DIED, 0, 0, 0)


def _watch(lifeline: int) -> None:
    """End the process some time after its parent, even if its reactor does not turn any more."""
    while os.read(lifeline, 1):
        pass
    time.sleep(ORPHANED)
    os._exit(1)
