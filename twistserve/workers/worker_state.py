"""What the parent knows of a worker: its process, its state, when it was last heard, and why it ends.

Parent's reactor thread; times in the reactor's seconds.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from twistserve.load import Load
from twistserve.workers.relay import Relay

SILENCE = 10.0
"""Seconds that a worker may take to answer a heartbeat; then it is killed."""
FIRST_SILENCE = 60.0
"""The same for a worker that has not answered yet: Python and its modules are loading."""
STEADY = 10.0
"""Seconds that a worker must have served so that one that dies is replaced without a pause."""

SIGNAL = "signal"
"""The only cause of a replacement that is not reported again: it must not be dropped."""
FAILED = "replacement_failed"
"""Counted when a replacement does not start, and the old worker stays."""
PREPARED = "prepared"
"""Of a worker that has only run what is to run once; not counted."""
RESTART_REASONS = ("died", "unresponsive", "stuck", "lifetime", "age", "memory", "reload", SIGNAL, "resized", FAILED)
"""Why workers end, as labels of the metric."""


class WorkerState(enum.Enum):
    """The states of a worker, in their order."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    GONE = "gone"


class Process(Protocol):
    """A worker's process."""

    pid: int
    at_end: bool
    """Whether its reactor has ended: it answers nothing any more, and calls functions registered with atexit."""

    def ask(self, command: Any, **arguments: Any) -> Deferred[dict[str, Any]]:
        """Send an AMP command; fails when the process is gone."""

    def signal(self, number: int) -> None:
        """Send a signal; no effect if the process is gone."""


@dataclass(eq=False)
class Worker:
    """A worker, from its start to the end of its process."""

    number: int
    since: float
    """When it was started."""
    name: str = ""
    """What people call it; a worker is called by its number."""
    process: Process = field(init=False)
    relay: Relay = field(init=False)
    """Takes texts for its WebSockets."""
    state: WorkerState = WorkerState.STARTING
    prepares: bool = False
    """Whether it runs what is to run once. Silence is allowed then: a migration may hold the GIL in C code."""
    waits: bool = False
    """Whether it has no process yet: the preloaded process forks it when the application is loaded."""
    step: str = "loading Python's modules"
    """The step of its start, with any detail."""
    slow: int = 0
    """How many log lines have said that it is still starting."""
    ready_since: float | None = None
    heard: bool = False
    """Whether it has answered a heartbeat, or become ready."""
    lost: bool = False
    """Whether a heartbeat has failed: its process has ended, or soon will have."""
    asked_at: float | None = None
    """When the heartbeat was sent that it has not answered yet."""
    load: Load = field(default_factory=Load)
    """As of its last heartbeat."""
    predecessor: Worker | None = None
    """The worker that drains as soon as this one is ready."""
    end: str = ""
    """Why the parent ended it, as a label of the metric; empty if it ended by itself."""
    failure: str | None = None
    """Why it did not start, where more is known than how its process ended."""
    on_end: Deferred[None] | None = None
    """Fires when its process has ended, for the one that takes its place."""
    kill: Any = None
    """The delayed call that kills it if it does not end in time."""

    def __str__(self) -> str:
        name = self.name or f"worker {self.number}"
        return name if self.waits else f"{name} (pid {self.process.pid})"

    def silence(self, now: float) -> float:
        """Seconds for which it has left a heartbeat unanswered."""
        return 0.0 if self.asked_at is None else now - self.asked_at

    def silent_too_long(self, now: float) -> bool:
        """Whether it has left a heartbeat unanswered for longer than it may."""
        return self.silence(now) >= (SILENCE if self.heard else FIRST_SILENCE)

    def heard_lately(self, now: float) -> bool:
        """Whether it answers heartbeats in time. A worker without a process counts as one that does."""
        return self.waits or (self.heard and not self.lost and self.silence(now) < SILENCE)

    def is_steady(self, now: float) -> bool:
        """Whether it has served for a while."""
        return self.ready_since is not None and now - self.ready_since >= STEADY
