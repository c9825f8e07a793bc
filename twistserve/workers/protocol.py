"""What parent and worker say to one another: AMP commands over a pair of pipes."""

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
"""Those of the process that has the application, with --preload."""


class Descriptors(NamedTuple):
    """Where a worker has what it inherits: a forked one cannot have it at the same numbers as one that was started."""

    to_worker: int
    from_worker: int
    lifeline: int
    log_lock: int
    sockets: tuple[int, ...]

    @classmethod
    def started(cls, sockets: int) -> Descriptors:
        """Those of a worker that was started with so many sockets."""
        return cls(TO_WORKER, FROM_WORKER, LIFELINE, LOG_LOCK, tuple(range(FIRST_SOCKET, FIRST_SOCKET + sockets)))


FIRST_WORKER = "worker-1"
"""The name of the one that tells what one of them needs to say."""

FOR_THE_PARENT = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
"""Signals that may be sent to the whole group of processes, by a terminal; a worker is started with them blocked."""


class Connection(amp.AMP):
    """AMP without a line in the log for each worker that comes and goes."""

    def makeConnection(self, transport: Any) -> None:
        """Begin."""
        amp.BinaryBoxProtocol.makeConnection(self, transport)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        """End; what was asked fails."""
        amp.BinaryBoxProtocol.connectionLost(self, reason)
        self.transport = None


LONGEST = 0xFFFF
"""Bytes of a value in AMP."""


class JSON(amp.Argument):
    """Anything that JSON can say; compressed, and in as many of AMP's values as it takes.

    A dataclass arrives as `restore` makes it of its fields.
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
    """To the worker: the configuration to serve with, the directories to import from, and whether it prepares.

    One worker runs what is to run once before any of them serves; it says `Prepared` then.
    """

    arguments: ClassVar = [(b"configuration", JSON()), (b"path", JSON()), (b"prepares", amp.Boolean())]


class AtStep(amp.Command):
    """To the parent: the step of the start-up, and how it gets on."""

    arguments: ClassVar = [(b"step", amp.Unicode()), (b"detail", amp.Unicode())]
    requiresAnswer = False


class Prepared(amp.Command):
    """To the parent: what was to run once has run, and the other workers may begin."""

    requiresAnswer = False


class Ready(amp.Command):
    """To the parent: requests are served."""

    requiresAnswer = False


class Failed(amp.Command):
    """To the parent: the start failed, for this reason; the worker ends."""

    arguments: ClassVar = [(b"message", amp.Unicode())]
    requiresAnswer = False


class ReplaceMe(amp.Command):
    """To the parent: it is time for another worker in this one's place. `cause` is a metric's label."""

    arguments: ClassVar = [(b"cause", amp.Unicode()), (b"reason", amp.Unicode())]
    requiresAnswer = False


class Heartbeat(amp.Command):
    """To the worker, every second: are you there, and how busy?"""

    response: ClassVar = [(b"load", JSON(lambda fields: Load(**fields)))]


class RunProbe(amp.Command):
    """To the worker: the results of what a probe looks at in a process that serves."""

    arguments: ClassVar = [(b"probe", amp.Unicode())]
    response: ClassVar = [(b"results", JSON())]


class Describe(amp.Command):
    """To the worker: everything that the status page shows of it."""

    response: ClassVar = [(b"status", JSON())]


class FlushMetrics(amp.Command):
    """To the worker: bring the metrics up to date, somebody is about to read them."""


class LogStacks(amp.Command):
    """To the worker: log every thread's stack."""

    requiresAnswer = False


class AnnounceEnd(amp.Command):
    """To the worker: the end is certain, and connections end with their next response."""

    arguments: ClassVar = []
    response: ClassVar = []
    requiresAnswer = False


class DrainWorker(amp.Command):
    """To the worker: accept no more, answer what is here, end. `last` says that no other will accept in its place."""

    arguments: ClassVar = [(b"last", amp.Boolean())]
    requiresAnswer = False
