"""The site: what speaks HTTP on a port, its requests in flight, and what is told of them.

Everything here belongs to the reactor thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolNegotiationFactory
from twisted.internet.protocol import Factory
from zope.interface import implementer

from twistserve.http.access_log import escape
from twistserve.http.body import close
from twistserve.http.connections import Connections
from twistserve.http.http1 import Http1Connection
from twistserve.http.limits import Limits
from twistserve.http.request import Request
from twistserve.http.response import Response, content_length, error
from twistserve.logs import get_logger
from twistserve.logs.containment import contain
from twistserve.logs.context import serving

logger = get_logger(__name__)

BATCH = 256
BATCH_DELAY = 0.02
"""Requests that have been responded to, and seconds, after which they are told of."""

Handler = Callable[[Request], None]
"""Responds to a request by its connection, now or later. Reactor thread."""


@implementer(IProtocolNegotiationFactory)
class Site(Factory):
    """Makes connections whose requests go to `handler`.

    `on_responses` is told, some at a time, of requests that were responded to or whose clients have left, and
    `on_refusal` the address, the status and the reason of what was refused before it was a request.
    """

    noisy = False

    def __init__(
        self,
        handler: Handler,
        reactor: Any,
        limits: Limits | None = None,
        on_responses: Callable[[Sequence[Request]], None] = lambda requests: None,
        on_refusal: Callable[[str, int, str], None] = lambda remote, status, reason: None,
    ) -> None:
        self.handler = handler
        self.limits = limits or Limits()
        self.clock: Callable[[], float] = reactor.seconds
        self.connections = Connections(lambda: self.limits.max_connections, reactor)
        self.streams = 0
        """Requests that HTTP/2 connections have open; as many are allowed as connections."""
        self.requests: set[Request] = set()
        """Those in flight: a handler has them."""
        self.upgraded: set[Any] = set()
        """Connections that have left HTTP: WebSockets."""
        self.responses = 0
        """How many requests were responded to so far."""
        self._reactor = reactor
        self._on_responses = on_responses
        self._on_refusal = on_refusal
        self._told_of: list[Request] = []
        self._telling = False
        self.protocol: Any = Http1Connection

    def offer_http2(self) -> None:
        """Let TLS agree on HTTP/2, if that is installed; before a port is opened that may have TLS."""
        if find_spec("h2") is not None:
            # Imported here: h2 is an extra, and takes 2 MiB.
            from twistserve.http.http2 import NegotiatedConnection

            self.protocol = NegotiatedConnection

    # The factory

    def buildProtocol(self, addr: Any) -> Any:
        """A connection."""
        connection = self.protocol()
        connection.site = connection.factory = self
        return connection

    def startFactory(self) -> None:
        """The port is open."""
        self.connections.start()

    def acceptableProtocols(self) -> list[bytes]:
        """What TLS may agree on (ALPN)."""
        return [b"http/1.1"] if self.protocol is Http1Connection else [b"h2", b"http/1.1"]

    def room(self) -> int:
        """How many more connections may be accepted."""
        return self.connections.room()

    # Requests

    @property
    def in_flight(self) -> int:
        """How many requests a handler has."""
        return len(self.requests)

    def handle(self, request: Request) -> None:
        """Have a request handled. What a handler raises is logged, and responded to by 500."""
        self.requests.add(request)
        request.received_at = time.perf_counter()
        try:
            if request.path == b"*":
                request.connection.respond(_ABOUT_THE_SERVER)
            else:
                self.handler(request)
        except BaseException:
            self.failed(request)

    def failed(self, request: Request) -> None:
        """Log what a handler has raised, and respond by 500 or break off. To be called where it is caught."""
        with serving(request):
            logger.exception("%s %s could not be handled", escape(request.method), escape(request.target))
        if request not in self.requests:
            return
        request.pending = None
        if request.status:
            request.connection.abort()
        else:
            request.connection.respond(error(500))

    def responded(self, request: Request) -> None:
        """A request is over, if it is not already: note it, to tell of it with others in one go.

        One at a time that cost a tenth of a simple request, most of it for code that had left the processor's caches.
        """
        if request not in self.requests:
            return
        self.requests.discard(request)
        self.responses += not request.left
        request.duration = time.perf_counter() - request.received_at
        request.pending = None
        self._told_of.append(request)
        if request.body is not None:
            close(request.body)
        if len(self._told_of) >= BATCH:
            self.tell()
        elif not self._telling:
            self._telling = True
            self._reactor.callLater(BATCH_DELAY, self._tell_later)

    def lost(self, request: Request) -> None:
        """A request's client has left, which the access logs of nginx and its like tell as status 499."""
        if request in self.requests:
            request.left, request.status = True, 499
            _give_up(request)
            self.responded(request)
            # At once, for there is no next response that waits.
            self.tell()
        elif request.body is not None:
            close(request.body)

    def tell(self) -> None:
        """Tell of what was responded to since the last time."""
        if self._told_of:
            requests, self._told_of = self._told_of, []
            contain(self._on_responses, requests)

    def _tell_later(self) -> None:
        self._telling = False
        self.tell()

    def refused(self, remote: str, status: int, reason: str) -> None:
        """A connection has sent what can only be responded to by this status."""
        contain(self._on_refusal, remote, status, reason)

    # The end

    def announce(self) -> None:
        """Have connections end with their next response."""
        self.connections.announce()

    def drain(self) -> Deferred[None]:
        """Close idle connections, the others when their response is sent; fires when all are closed."""
        return self.connections.drain()

    def abort(self) -> None:
        """End every connection at once; tell of what was responded to and what is cut off."""
        for request in list(self.requests):
            self._cut(request)
        for connection in self.connections:
            for waiting in connection.unanswered():
                _log_cut(*waiting)
        self.connections.abort()
        self.tell()

    def _cut(self, request: Request) -> None:
        """Tell of a request that gets no response from us: that is our doing, not its client's."""
        where = request.pending.where() if request.pending is not None else "its response was being sent"
        request.status = 503
        with serving(request):
            _log_cut(request.method, request.target, time.perf_counter() - request.received_at, where)
        _give_up(request)
        self.responded(request)


_ABOUT_THE_SERVER = Response(200, [content_length(0)])
"""To `OPTIONS *` (RFC 9110 section 9.3.7)."""


def _give_up(request: Request) -> None:
    if request.pending is not None:
        contain(request.pending.given_up)


def _log_cut(method: bytes, target: bytes, age: float, where: str) -> None:
    logger.warning("cut off after %.1f s: %s %s: %s", age, escape(method) or "-", escape(target) or "-", where)
