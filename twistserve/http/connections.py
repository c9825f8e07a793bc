"""The open connections of a site: how many there may be, how long they may be silent, and their end.

Everything here belongs to the reactor thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from twistserve.logs import get_logger

logger = get_logger(__name__)

SWEEP = 1.0
"""Seconds between two looks for connections past their deadline: one timer for all costs less than one each."""
SWEEP_OF_A_DRAIN = 0.1
"""The same in a drain, which waits for idle connections."""


Unanswered = tuple[bytes, bytes, float, str]
"""Of a request that no handler has: method, target, its age in seconds, and what it waits for."""


class Connection(Protocol):
    """A connection, of whichever version of HTTP."""

    @property
    def deadline(self) -> float:
        """When `timed_out` is to be called, in reactor seconds; 0 for never."""

    def timed_out(self) -> None:
        """The deadline has passed."""

    def announce(self) -> None:
        """Tell the client, where HTTP has a way to, that the connection will end."""

    def drain(self) -> None:
        """End as soon as nothing is lost by it."""

    def abortConnection(self) -> None:
        """End now."""

    def unanswered(self) -> Iterator[Unanswered]:
        """The requests that have begun to arrive and that no handler has."""


class NewConnection(Connection, Protocol):
    """One that was just accepted, and may have to wait for room."""

    def hold(self) -> None:
        """Read nothing until `release`."""

    def release(self) -> None:
        """There is room for it."""


class Connections:
    """The connections that are open, at most as many as `most()` says; `clock` tells the reactor's seconds."""

    def __init__(self, most: Callable[[], int], reactor: Any) -> None:
        self.leaving = False
        """Whether responses say that the connection ends."""
        self.draining = False
        """Whether connections end that nothing more is expected of."""
        self.on_full: Callable[[bool], None] = lambda full: None
        """Told when there are as many as may be, and when there are fewer again."""
        self._most = most
        self._clock: Callable[[], float] = reactor.seconds
        self._open: set[Connection] = set()
        self._held: list[NewConnection] = []
        self._full = False
        self._drained: Deferred[None] | None = None
        self._sweeping = LoopingCall.withCount(self._sweep_unless_late)
        self._call_later = reactor.callLater
        self._late_sweep: Any = None
        self._sweeping.clock = reactor

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Connection]:
        return iter(list(self._open))

    def start(self) -> None:
        """Begin to look for connections that have been silent for too long."""
        if not self._sweeping.running:
            self._sweeping.start(SWEEP, now=False)

    def joined(self, connection: NewConnection) -> None:
        """A connection is open; one accepted beyond the limit, with others, waits unread until another closes."""
        self._open.add(connection)
        if len(self._open) - len(self._held) > self._most():
            self._held.append(connection)
            connection.hold()
        self._look_whether_full()

    def room(self) -> int:
        """How many more may be accepted; what asks one port does not know of the others."""
        return self._most() - len(self._open)

    def replaced(self, old: Connection, new: Connection) -> None:
        """A connection goes on in another protocol."""
        self._open.discard(old)
        self._open.add(new)

    def left(self, connection: Connection) -> None:
        """A connection is closed."""
        self._open.discard(connection)
        if connection in self._held:
            self._held.remove(connection)
        elif self._held:
            self._held.pop(0).release()
        self._look_whether_full()
        self._check_drained()

    def _look_whether_full(self) -> None:
        full = len(self._open) >= self._most()
        if full is not self._full:
            self._full = full
            self.on_full(full)

    def _sweep_unless_late(self, count: int) -> None:
        """Sweep; but if the process has stood still, such as a machine that was paused, let the reactor read before.

        The kernel may hold what has come in time.
        """
        if self._late_sweep is not None:
            return
        if count == 1:
            self.sweep()
        else:
            self._late_sweep = self._call_later(SWEEP_OF_A_DRAIN, self._sweep_late)

    def _sweep_late(self) -> None:
        self._late_sweep = None
        self.sweep()

    def sweep(self) -> None:
        """Time out those whose deadline has passed."""
        now = self._clock()
        for connection in self:
            if 0.0 < connection.deadline <= now:
                _end_if_it_fails(connection, connection.timed_out)

    def announce(self) -> None:
        """From now on, have each end with its next response, so that clients go elsewhere; nothing is lost by that."""
        self.leaving = True
        for connection in self:
            _end_if_it_fails(connection, connection.announce)

    def drain(self) -> Deferred[None]:
        """Close idle ones, the others when their response is sent; fires when all are closed."""
        self.leaving = self.draining = True
        if self._sweeping.running:
            self._sweeping.stop()
            self._sweeping.start(SWEEP_OF_A_DRAIN, now=False)
        drained: Deferred[None] = Deferred()
        self._drained = drained
        for connection in self:
            # One that is held is let in when there is room, and has its turn then.
            if connection not in self._held:
                _end_if_it_fails(connection, connection.drain)
        self._check_drained()
        return drained

    def abort(self) -> None:
        """Close all at once, and look at them no more."""
        for connection in self:
            connection.abortConnection()
        if self._sweeping.running:
            self._sweeping.stop()
        if self._late_sweep is not None:
            self._late_sweep.cancel()
            self._late_sweep = None

    def _check_drained(self) -> None:
        # The connections, not the requests: a response that is given may still be on its way to the client.
        if self._drained is not None and not self._open:
            drained, self._drained = self._drained, None
            drained.callback(None)


def _end_if_it_fails(connection: Connection, step: Callable[[], None]) -> None:
    """Take a step with one of many: as with the reactor's reads, an error ends it and no other."""
    try:
        step()
    except Exception:
        logger.exception("a connection failed")
        connection.abortConnection()
