"""The protocol between parent and worker: AMP commands over a pair of pipes, and the descriptors of each process."""

from __future__ import annotations

import twistserve.workers.amp_before_tls  # noqa: F401

# isort: split
import json
import signal
import zlib
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, ClassVar, NamedTuple

from twisted.protocols import amp
from twisted.python.failure import Failure

from twistserve.load import Load

# The worker's file descriptors: standard ones as the parent's, then these, then the sockets.
TO_WORKER, FROM_WORKER, LIFELINE, LOG_LOCK, FIRST_SOCKET = 3, 4, 5, 6, 7
CONTROL, PRELOADED_LOG_LOCK = 3, 4
"""Those of the preloaded process."""


class Descriptors(NamedTuple):
    """The descriptors that a worker inherits. A forked worker has them at other numbers than one that was started."""

    to_worker: int
    from_worker: int
    lifeline: int
    log_lock: int
    sockets: tuple[int, ...]

    @classmethod
    def started(cls, sockets: int) -> Descriptors:
        """The descriptors of a worker that was started with so many sockets."""
        return cls(TO_WORKER, FROM_WORKER, LIFELINE, LOG_LOCK, tuple(range(FIRST_SOCKET, FIRST_SOCKET + sockets)))


FIRST_WORKER = "worker-1"
"""The name of the worker that logs what needs to be logged once."""

SERVICE = "service-"
"""What the name of a service's process begins with."""

FOR_THE_PARENT = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
"""Signals that a terminal may send to the whole group of processes, for the parent to act on; workers start with
them blocked."""


class Connection(amp.AMP):
    """AMP that does not log each connection."""

    def makeConnection(self, transport: Any) -> None:
        """Begin."""
        amp.BinaryBoxProtocol.makeConnection(self, transport)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        """End; pending commands fail."""
        amp.BinaryBoxProtocol.connectionLost(self, reason)
        self.transport = None


LONGEST = 0xFFFF
"""Bytes of a value in AMP."""


class JSON(amp.Argument):
    """A value of JSON, compressed, in as many of AMP's values as needed.

    A dataclass is sent as a dictionary of its fields, from which `restore` makes it again.
    """

    def __init__(self, restore: Callable[[Any], Any] = lambda value: value) -> None:
        super().__init__()
        self._restore = restore

    def toBox(self, name: bytes, strings: Any, objects: Any, proto: Any) -> None:
        """Encode."""
        data = zlib.compress(json.dumps(objects.pop(name.decode()), default=asdict).encode(), 1)
        for number, start in enumerate(range(0, len(data), LONGEST)):
            strings[b"%s.%d" % (name, number)] = data[start : start + LONGEST]

    def fromBox(self, name: bytes, strings: Any, objects: Any, proto: Any) -> None:
        """Decode."""
        parts: list[bytes] = []
        while (part := strings.pop(b"%s.%d" % (name, len(parts)), None)) is not None:
            parts.append(part)
        objects[name.decode()] = self._restore(json.loads(zlib.decompress(b"".join(parts))))


class Begin(amp.Command):
    """To the worker: start, with this configuration and sys.path.

    The worker that `prepares` runs what is to run once before any of them serves, and sends `Prepared` then.
    """

    arguments: ClassVar = [(b"configuration", JSON()), (b"path", JSON()), (b"prepares", amp.Boolean())]


class AtStep(amp.Command):
    """To the parent: a step of the start has begun, or has a new detail."""

    arguments: ClassVar = [(b"step", amp.Unicode()), (b"detail", amp.Unicode())]
    requiresAnswer = False


class Prepared(amp.Command):
    """To the parent: what was to run once has run, and the other workers may begin."""

    requiresAnswer = False


class Ready(amp.Command):
    """To the parent: the worker serves requests."""

    requiresAnswer = False


class RunOnce(amp.Command):
    """To the parent: these services, of those that this worker has imported, are to run once.

    It answers when they run, as far as a start has to wait for that.
    """

    arguments: ClassVar = [(b"names", JSON())]


class MayStart(amp.Command):
    """To the parent, from a process that has imported its service. It answers when no other process has the service."""


class Failed(amp.Command):
    """To the parent: the start failed, for this reason, and the worker ends."""

    arguments: ClassVar = [(b"message", amp.Unicode())]
    requiresAnswer = False


class ReplaceMe(amp.Command):
    """To the parent: replace this worker. `cause` is a label of the metric, `reason` is for the log."""

    arguments: ClassVar = [(b"cause", amp.Unicode()), (b"reason", amp.Unicode())]
    requiresAnswer = False


class Heartbeat(amp.Command):
    """To the worker, every second: the response shows that it is alive, and has its load."""

    response: ClassVar = [(b"load", JSON(lambda fields: Load(**fields)))]


class RunProbe(amp.Command):
    """To the worker: run the checks of a probe."""

    arguments: ClassVar = [(b"probe", amp.Unicode())]
    response: ClassVar = [(b"results", JSON())]


class Describe(amp.Command):
    """To the worker: describe yourself for the status page; None while it is starting."""

    response: ClassVar = [(b"status", JSON())]


class DescribeServices(amp.Command):
    """To the worker, or to the process of a service: describe the services that you run."""

    response: ClassVar = [(b"services", JSON())]


class FlushMetrics(amp.Command):
    """To the worker: bring the metrics up to date for a scrape."""


class Publish(amp.Command):
    """To the parent: a text for the WebSockets of a group, [group, text], which the other workers' get too.

    The response says that it was taken.
    """

    arguments: ClassVar = [(b"message", JSON())]


class Deliver(amp.Command):
    """To the worker: a text for its WebSockets of a group, [group, text]. The response says that it was taken."""

    arguments: ClassVar = [(b"message", JSON())]


class LogStacks(amp.Command):
    """To the worker: log every thread's stack."""

    requiresAnswer = False


class AnnounceEnd(amp.Command):
    """To the worker: the service will end; close each connection with its next response."""

    arguments: ClassVar = []
    response: ClassVar = []
    requiresAnswer = False


class DrainWorker(amp.Command):
    """To the worker: accept no more, respond to what was accepted, and end. `last`: no other worker will accept."""

    arguments: ClassVar = [(b"last", amp.Boolean())]
    requiresAnswer = False
