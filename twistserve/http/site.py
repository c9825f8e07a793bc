"""The site: its connections and requests, what is counted and logged of them, their timeouts and their end.

Everything here belongs to the reactor thread.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.web import server
from twisted.web.http import datetimeToString
from twisted.web.resource import IResource

from twistserve.http.access_log import AccessLog, escape
from twistserve.http.http1 import Channel
from twistserve.http.limits import Limits
from twistserve.http.request import Request
from twistserve.logs import get_logger
from twistserve.logs.containment import contain, tell
from twistserve.logs.context import serving

logger = get_logger(__name__)

ACCOUNT_SIZE = 256
ACCOUNT_DELAY = 0.02
"""Answered requests, and seconds, after which they are counted and logged."""

SWEEP = 1.0
"""Seconds between two looks for connections past their deadline: one timer for all costs less than one each."""


class Counted(Protocol):
    """A counter."""

    def inc(self) -> None:
        """Count one more. Any thread."""


@dataclass(frozen=True)
class Counts:
    """What is counted: `record` is called with each request that was answered, `rejected` gives a counter by reason."""

    record: Callable[[Request], None]
    disconnects: Counted
    rejected: Callable[[str], Counted]


class Site(server.Site):
    """twisted.web's Site, with the requests in flight, the counts, the access log and the drain."""

    displayTracebacks = False
    noisy = False

    def __init__(
        self,
        resource: IResource,
        reactor: Any,
        limits: Limits | None = None,
        access_log: AccessLog | None = None,
        counts: Counts | None = None,
    ) -> None:
        super().__init__(resource, Request, parsePOSTFormSubmission=False, reactor=reactor)
        self.protocol: Any = Channel
        if find_spec("h2") is not None:
            # Imported here: h2 is an extra.
            from twistserve.http.http2 import NegotiatedChannel

            self.protocol = NegotiatedChannel
        self.limits = limits or Limits()
        self.clock: Callable[[], float] = reactor.seconds
        self.access_log = access_log
        self._counts = counts
        self.channels: set[Any] = set()
        """The open connections: a `Channel` each, or a `Connection` of HTTP/2."""
        self.streams = 0
        """Requests that HTTP/2 connections have open; as many are allowed as connections."""
        self.requests: set[Request] = set()
        self.draining = False
        self.answered = 0
        """Requests answered so far."""
        self.on_full: Callable[[bool], None] = lambda full: None
        """Told when there are as many connections as may be, and when there are fewer again."""
        self._full = False
        self._held: list[Channel] = []
        self._drained: Deferred[None] | None = None
        self._answered: list[Request] = []
        self._accounting = False
        self._tail_second = 0
        self._tails = (b"", b"")
        self._sweeping: LoopingCall | None = None
        self._id_prefix = b""
        self._ids = itertools.count()

    # twisted.web's factory

    def startFactory(self) -> None:
        """Begin to look for connections that have been silent for too long."""
        self._id_prefix = os.urandom(8).hex().encode()
        self._sweeping = LoopingCall(self.sweep)
        self._sweeping.clock = self.reactor
        self._sweeping.start(SWEEP, now=False)

    def stopFactory(self) -> None:
        """The port is closed; the connections go on, and so does the sweep until they are gone."""

    def acceptableProtocols(self) -> list[bytes]:
        """What TLS may agree on (ALPN)."""
        return [b"http/1.1"] if self.protocol is Channel else [b"h2", b"http/1.1"]

    def getResourceFor(self, request: Any) -> Any:
        """The resource for a request, from the root's own look-up if it has one."""
        find = getattr(self.resource, "find", None)
        if find is not None:
            return find(request)
        return super().getResourceFor(request)

    # Connections

    def joined(self, channel: Channel) -> None:
        """A connection is open; one accepted beyond the limit, with others, waits unread until another closes."""
        self.channels.add(channel)
        if len(self.channels) - len(self._held) > self.limits.max_connections:
            self._held.append(channel)
            channel.hold()
        self._look_whether_full()

    def room(self) -> int:
        """How many more connections may be accepted; what asks one port does not know of the others."""
        return self.limits.max_connections - len(self.channels)

    def replaced(self, channel: Channel, connection: Any) -> None:
        """A connection goes on in another protocol."""
        self.channels.discard(channel)
        self.channels.add(connection)

    def left(self, channel: Any) -> None:
        """A connection is closed."""
        self.channels.discard(channel)
        if channel in self._held:
            self._held.remove(channel)
        elif self._held:
            self._held.pop(0).release()
        self._look_whether_full()
        self._check_drained()

    def _look_whether_full(self) -> None:
        full = len(self.channels) >= self.limits.max_connections
        if full is not self._full:
            self._full = full
            self.on_full(full)

    def sweep(self) -> None:
        """Time out the connections whose deadline has passed."""
        now = self.clock()
        for channel in [each for each in self.channels if 0.0 < each.deadline <= now]:
            self._end_if_it_fails(channel, channel.timed_out)

    def tail(self, persistent: bool) -> bytes:
        """The end of every head: Server, Date, and whether the connection goes on; made once a second."""
        second = int(time.time())
        if second != self._tail_second:
            self._tail_second = second
            common = b"Server: twistserve\r\nDate: %b\r\n" % datetimeToString(second)
            self._tails = (common + b"Connection: close\r\n\r\n", common + b"\r\n")
        return self._tails[persistent]

    # Requests

    def new_id(self) -> bytes:
        """An id for a request that came without one; unique, and cheap."""
        return b"%b%08x" % (self._id_prefix, next(self._ids))

    def begin(self, request: Request) -> None:
        """A request is complete and about to be answered."""
        self.requests.add(request)

    def log(self, request: Any) -> None:
        """A request is answered: note it, to be counted and logged with others in one go.

        One at a time that cost a tenth of a simple request, most of it for code that had left the processor's caches.
        """
        if request in self.requests:
            self.requests.discard(request)
            request.duration = time.perf_counter() - request.received_at
            self._answered.append(request)
            if len(self._answered) >= ACCOUNT_SIZE:
                self.account()
            elif not self._accounting:
                self._accounting = True
                self.reactor.callLater(ACCOUNT_DELAY, self._account_later)

    def account(self) -> None:
        """Count and log what was answered since the last time."""
        answered, self._answered = self._answered, []
        self.answered += len(answered)
        if self._counts is not None:
            for request in answered:
                try:
                    self._counts.record(request)
                except BaseException as error:
                    tell(error)
        self._log_answered(answered)

    def _log_answered(self, requests: Sequence[Request]) -> None:
        if self.access_log is not None:
            contain(self.access_log.answered, requests)

    def _account_later(self) -> None:
        self._accounting = False
        self.account()

    def count(self, event: Counted) -> None:
        """Count something that seldom happens; from any thread."""
        if self._counts is not None:
            contain(event.inc)

    def lost(self, request: Request) -> None:
        """A request's client went away."""
        if request in self.requests:
            self.requests.discard(request)
            if self._counts is not None:
                self.count(self._counts.disconnects)
            request.code = 499
            request.duration = time.perf_counter() - request.received_at
            self._log_answered([request])

    def refused(self, channel: Any, status: int, reason: str) -> None:
        """A connection sent what cannot be answered but by this status."""
        if self._counts is not None:
            self.count(self._counts.rejected(reason))
        if self.access_log is not None:
            contain(self.access_log.refused, channel, status)

    # The end

    def drain(self) -> Deferred[None]:
        """Close idle connections, the others when their answer is sent; fires when all are closed."""
        self.draining = True
        drained: Deferred[None] = Deferred()
        self._drained = drained
        for channel in list(self.channels):
            # One that is held is let in when there is room, and has its turn then.
            if channel not in self._held:
                self._end_if_it_fails(channel, channel.drain)
        self._check_drained()
        return drained

    def _end_if_it_fails(self, channel: Any, step: Callable[[], None]) -> None:
        """Take a step with one of many connections: as with the reactor's reads, an error ends it and no other."""
        try:
            step()
        except Exception:
            logger.exception("a connection failed")
            channel.abortConnection()

    def abort(self) -> None:
        """End every connection at once, and the sweep; account for what was answered and what is cut off."""
        for request in list(self.requests):
            self._cut(request)
        for channel in list(self.channels):
            for begun, where in channel.unanswered():
                uri = begun.uri if isinstance(begun, Request) else begun.target
                _log_cut(self.clock() - channel.begun_at, begun.method, uri, where)
            channel.abortConnection()
        self.account()
        if self._sweeping is not None and self._sweeping.running:
            self._sweeping.stop()

    def _cut(self, request: Request) -> None:
        """Account for a request that gets no answer from us: that is our doing, not its client's."""
        where = request.exchange.where() if request.exchange is not None else "its answer was being sent"
        request.code = 503
        request.duration = time.perf_counter() - request.received_at
        with serving(request):
            _log_cut(request.duration, request.method, request.uri, where)
        self.requests.discard(request)
        self._answered.append(request)

    def _check_drained(self) -> None:
        # The connections, not the requests: an answer that is given may still be on its way to the client.
        if self._drained is not None and not self.channels:
            drained, self._drained = self._drained, None
            drained.callback(None)


def _log_cut(age: float, method: bytes, uri: bytes, where: str) -> None:
    logger.warning("cut off after %.1f s: %s %s: %s", age, escape(method) or "-", escape(uri) or "-", where)
