"""A worker's connection to its parent: the commands it responds to, and how it ends when the parent has died.

Reactor thread, unless said otherwise.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.error import ConnectionDone
from twisted.internet.stdio import StandardIO
from twisted.python.failure import Failure

from twistserve.lifecycle import Lifecycle, State
from twistserve.load import Load
from twistserve.logs import get_logger
from twistserve.probes.checks import Result, Status
from twistserve.probes.responses import Results
from twistserve.resources.groups import groups
from twistserve.server import Serving
from twistserve.threads.stacks import log_all_stacks
from twistserve.workers.allocated_files import shortage
from twistserve.workers.protocol import (
    AnnounceEnd,
    AtStep,
    Begin,
    Connection,
    Deliver,
    Describe,
    DescribeServices,
    Descriptors,
    DrainWorker,
    Failed,
    FlushMetrics,
    Heartbeat,
    LogStacks,
    MayStart,
    Prepared,
    Publish,
    Ready,
    ReplaceMe,
    RunOnce,
    RunProbe,
)
from twistserve.workers.relay import Relay
from twistserve.workers.results import to_json

if TYPE_CHECKING:
    from twistserve.probes.handlers import Checks
    from twistserve.services.host import ServiceHost

logger = get_logger(__name__)

ORPHANED = 10.0
"""Seconds that a worker has for its requests once its parent has died; then it ends, whatever it is doing."""
PARENT_DIED = signal.SIGSTKFLT
"""The signal that the kernel sends when the parent dies; nothing else uses it. Its number, 16, serves as seconds."""
_PR_SET_PDEATHSIG = 1

ANNOUNCED = "the instance drains"
"""Why the process of a service drains before it is asked to end."""
LONGEST = 10_000
"""Characters of a text for the parent: AMP takes 64 KiB, and a character may become six bytes."""


class WorkerSide:
    """What the parent's commands need of a worker. `serving` is None if the start failed before it was made."""

    def __init__(
        self, lifecycle: Lifecycle, serving: Serving | None, checks: Checks, services: ServiceHost | None = None
    ) -> None:
        self.lifecycle = lifecycle
        self.serving = serving
        self.checks = checks
        self.services = services

    def announce(self) -> None:
        """The instance has begun to drain."""
        if self.serving is not None:
            self.serving.site.announce()
        else:
            self.lifecycle.enter(State.DRAINING, ANNOUNCED)


class Parent(Connection):
    """The connection to the parent. `begin` composes and starts the services; `end` ends a process that has none yet.

    `preloaded`: the application is imported already, and sys.path stays as that has left it.
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
        self._relay = Relay(lambda message: self.callRemote(Publish, message=message), "the parent")

    # Commands to the parent

    def follow(self, lifecycle: Lifecycle) -> None:
        """Send the parent each step of the start, and its success or failure."""
        lifecycle.on_step = lambda step, detail: self._send(AtStep, step=step, detail=detail)
        lifecycle.on_failure = lambda message: self._send(Failed, message=message)
        lifecycle.observe(lambda state, reason: self._send(Ready) if state is State.READY else None)

    def prepared(self) -> None:
        """Tell the parent that the other workers may begin."""
        self._send(Prepared)

    def run_once(self, names: Sequence[str]) -> Deferred[Any]:
        """Leave these services to processes of their own; fires when they run. Fails when the parent has died."""
        return self._ask(RunOnce, names=list(names))

    def may_start(self) -> Deferred[Any]:
        """Wait until no other process has the service of this one. Fails when the parent has died."""
        return self._ask(MayStart)

    def _ask(self, command: Any, **arguments: Any) -> Deferred[Any]:
        return fail(ConnectionDone()) if self.transport is None else self.callRemote(command, **arguments)

    def ask_for_replacement(self, cause: str, reason: str) -> None:
        """Ask to be replaced: this worker drains when another one is ready."""
        self._send(ReplaceMe, cause=cause, reason=reason)

    def _publish(self, group: str, text: str) -> None:
        """Have the other workers send a text to their WebSockets."""
        if self.transport is not None:
            self._relay.send(group, text)

    def _send(self, command: Any, **texts: str) -> None:
        if self.transport is not None:
            self.callRemote(command, **{name: _encodable(text) for name, text in texts.items()})

    # Commands from the parent

    @Begin.responder
    def begin(self, configuration: dict[str, Any], path: list[str], prepares: bool) -> dict[str, Any]:
        """Compose and start, with the parent's sys.path: a manage.py may have extended it."""
        if not self._preloaded:
            sys.path[:] = path
        groups.publish = self._publish
        self._side = self._begin(configuration, prepares, self)
        self._side.lifecycle.observe(self._hand_over)
        return {}

    @Deliver.responder
    def deliver(self, message: list[str]) -> Deferred[dict[str, Any]]:
        """Send a text of another worker to the WebSockets of a group; the response comes when that is done."""
        return groups.deliver(*message).addCallback(lambda result: {})

    @Heartbeat.responder
    def heartbeat(self) -> dict[str, Any]:
        """Respond with the load, and write the metrics to their files, so that they survive if this process is killed.

        Writing takes 50 us with a few kinds of requests, and 1 ms with every method, handler and twelve statuses.
        """
        serving = self._serving
        self._log_shortage()
        if serving is None:
            return {"load": Load()}
        if serving.site.responses != self._flushed:
            self._flushed = serving.site.responses
            self._flush()
        return {"load": serving.load()}

    @RunProbe.responder
    def run_probe(self, probe: str) -> Deferred[dict[str, Any]]:
        """Run the checks. If finding them raises, that is a result: AMP would close the connection."""
        assert self._side is not None
        results: Deferred[Results] = maybeDeferred(self._side.checks.ask, probe)
        results.addErrback(lambda failure: {"probe": _raised(failure)})
        return results.addCallback(lambda results: {"results": to_json(results)})

    @Describe.responder
    def describe(self) -> dict[str, Any]:
        """Respond with the description for the status page, None while this worker is starting."""
        return {"status": self._serving.describe() if self._serving is not None else None}

    @DescribeServices.responder
    def describe_services(self) -> dict[str, Any]:
        """Respond with the services that run here."""
        host = self._side.services if self._side is not None else None
        return {"services": host.describe() if host is not None else []}

    @FlushMetrics.responder
    def flush_metrics(self) -> dict[str, Any]:
        """Bring the metrics up to date."""
        self._flush()
        return {}

    @LogStacks.responder
    def log_stacks(self) -> dict[str, Any]:
        """Log the stacks of all threads."""
        if self._serving is not None:
            self._serving.log_stacks("SIGQUIT")
        else:
            log_all_stacks("SIGQUIT", {})
        return {}

    @AnnounceEnd.responder
    def announce_end(self) -> dict[str, Any]:
        """Close each connection with its next response; a service learns that the service as a whole drains."""
        if self._side is not None:
            self._side.announce()
        return {}

    @DrainWorker.responder
    def drain(self, last: bool) -> dict[str, Any]:
        """Drain, or end at once before the start."""
        if self._serving is not None:
            self._serving.web.last = last
        if self._side is not None:
            self._side.lifecycle.recycle("the parent has asked for it")
        else:
            self._end()
        return {}

    def _hand_over(self, state: State, reason: str) -> None:
        """Write the metrics for the last time: the next worker with this number goes on from them."""
        if state is State.STOPPED:
            self._flush()

    def _flush(self) -> None:
        """Bring the metrics up to date. An error is logged, once: if it were raised, AMP would close the connection."""
        if self._serving is None:
            return
        try:
            self._serving.flush_metrics()
        except Exception as error:
            if repr(error) != self._raised:
                logger.exception("the metrics cannot be brought up to date")
                self._raised = repr(error)

    def _log_shortage(self) -> None:
        """Log once that there is no room for metrics: `AllocatedDict`, which notes it, cannot log."""
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
        """The parent has died: drain, and end."""
        super().connectionLost(reason)
        if self._side is not None and self._side.lifecycle.state is not State.STOPPED:
            self._side.lifecycle.recycle("the parent has died")
        elif self._side is None:
            self._end()


def _raised(failure: Failure) -> Result:
    return Result(Status.FAIL, output=f"raised {type(failure.value).__name__}")


def _encodable(text: str) -> str:
    """A text that AMP can encode: cut, and without surrogates, which an error of the application may have in it."""
    cut = text if len(text) <= LONGEST else text[:LONGEST] + "…"
    return cut.encode(errors="backslashreplace").decode()


class _Pipes(StandardIO):
    """Writes at once: the last message must not be lost when the reactor stops."""

    def write(self, data: bytes) -> None:
        """Write as much as the pipe takes, and leave the rest to the reactor."""
        super().write(data)
        writer = self._writer  # type: ignore[attr-defined]
        if writer is not None:
            writer.doWrite()


def connect(parent: Parent, descriptors: Descriptors) -> None:
    """Connect to the parent over the pipes, and watch the lifeline, the pipe that closes when the parent dies.

    Programs that the application starts inherit none of the descriptors. Main thread.
    """
    *pipes, sockets = descriptors
    for descriptor in (*pipes, *sockets):
        os.set_inheritable(descriptor, False)
    _end_without_python()
    threading.Thread(target=_watch_lifeline, args=(descriptors.lifeline,), name="lifeline", daemon=True).start()
    _Pipes(parent, stdin=descriptors.to_worker, stdout=descriptors.from_worker)  # type: ignore[call-arg]


def end_early(end: Callable[[], None]) -> None:
    """Have SIGTERM call `end` until the service has handlers of its own. Main thread."""
    signal.signal(signal.SIGTERM, lambda number, frame: end())


def stop_listening(to_worker: int) -> None:
    """Close the pipe from the parent, which sees that this process takes no more commands."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, to_worker, inheritable=False)
    os.close(null)


def _end_without_python() -> None:
    """Have the process end after its parent even if no Python code runs in it any more.

    C code that holds the GIL, such as a regular expression that never ends, stops every thread. So the kernel sends
    `PARENT_DIED` when the parent dies (prctl(2)). Its handler is C's alarm(3), which is safe there: it takes the
    signal's number for seconds, after which SIGALRM ends the process.
    """
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    libc = ctypes.CDLL(None)
    libc.signal.argtypes, libc.signal.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
    libc.signal(PARENT_DIED, ctypes.cast(libc.alarm, ctypes.c_void_p))
    libc.prctl(_PR_SET_PDEATHSIG, PARENT_DIED, 0, 0, 0)


def _watch_lifeline(lifeline: int) -> None:
    """End the process `ORPHANED` seconds after its parent, even if its reactor hangs. A thread of its own."""
    while os.read(lifeline, 1):
        pass
    time.sleep(ORPHANED)
    os._exit(1)
