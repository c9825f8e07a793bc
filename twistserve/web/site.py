"""The site: its connections and requests, what is counted and logged of them, and their end.

Everything here belongs to the reactor thread.
"""

from __future__ import annotations

import logging
import time
from io import BytesIO
from typing import IO, Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web import server
from twisted.web.http import HTTPChannel
from twisted.web.resource import IResource

from twistserve import metrics
from twistserve.web.accesslog import access_line

logger = logging.getLogger(__name__)
access_logger = logging.getLogger("twistserve.access")


class Request(server.Request):
    """A request as twisted.web's resources know it, less what Django does itself: no form is parsed here."""

    defaultContentType = None
    handler = "none"
    """Who answers, as a metric's label: django, static, media."""
    received_at = 0.0
    body_length = 0
    has_body = False
    sentLength: int
    channel: Channel
    content: IO[bytes] | None

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """The request is complete: note its size and find its resource."""
        self.received_at = time.perf_counter()
        self.body_length = self.content.tell() if self.content else 0
        self.has_body = self.requestHeaders.hasHeader(b"content-length") or self.requestHeaders.hasHeader(
            b"transfer-encoding"
        )
        super().requestReceived(command, path, version)

    def process(self) -> None:
        """Count the request, then render its resource."""
        self.channel.site.begin(self)
        super().process()

    def take_body(self) -> IO[bytes]:
        """Hand over the body, at its start; whoever takes it closes it. Once."""
        body: IO[bytes] = self.content or BytesIO()
        self.content = None
        return body

    def write_head(self, status: int, reason: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        """Set status and headers of the answer."""
        self.setResponseCode(status, reason or None)
        for name in {name.lower() for name, _ in headers} & {b"server", b"date"}:
            self.responseHeaders.removeHeader(name)
        for name, value in headers:
            self.responseHeaders.addRawHeader(name, value)

    def fail(self, status: int, body: bytes) -> None:
        """Answer with an error of ours, in plain text."""
        self.setResponseCode(status)
        self.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
        self.setHeader(b"Content-Length", b"%d" % len(body))
        self.write(body)
        self.finish()

    def abort(self) -> None:
        """End the connection at once; the client sees an incomplete answer."""
        self.channel.transport.abortConnection()

    def connectionLost(self, reason: Failure) -> None:
        """The client went away before the answer was complete."""
        site = self.channel.site
        super().connectionLost(reason)
        site.lost(self)


class Channel(HTTPChannel):
    """A connection, known to its site for as long as it is open."""

    requestFactory = Request
    site: Site
    transport: Any

    def connectionMade(self) -> None:
        """Join the site."""
        super().connectionMade()
        self.site.channels.add(self)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        """Leave the site."""
        super().connectionLost(reason)
        self.site.left(self)

    def close_when_done(self) -> None:
        """Close now if nothing is being answered, else after the answer."""
        if not self.requests:
            self.loseConnection()
            return
        self.persistent = False
        for request in self.requests:
            if not request.startedWriting:
                request.responseHeaders.setRawHeaders(b"connection", [b"close"])


class Site(server.Site):
    """twisted.web's Site, with the requests in flight, the metrics, the access log and the drain."""

    displayTracebacks = False
    noisy = False

    def __init__(self, resource: IResource, reactor: Any = None) -> None:
        super().__init__(resource, Request, parsePOSTFormSubmission=False, reactor=reactor)
        self.protocol: Any = Channel
        self.channels: set[Channel] = set()
        self.requests: set[Request] = set()
        self._idle: Deferred[None] | None = None

    def startFactory(self) -> None:
        """Nothing to open: the access log is stdlib logging's."""

    def stopFactory(self) -> None:
        """Nothing to close."""

    def begin(self, request: Request) -> None:
        """A request is complete and about to be answered."""
        self.requests.add(request)

    def log(self, request: Any) -> None:
        """A request is answered: count and log it."""
        if request not in self.requests:
            return
        duration = time.perf_counter() - request.received_at
        method = metrics.method_label(request.method.decode("latin-1"))
        metrics.requests_total.labels(method, str(request.code), request.handler).inc()
        metrics.request_duration.labels(method, request.handler).observe(duration)
        metrics.request_size.observe(request.body_length)
        metrics.response_size.observe(request.sentLength)
        if access_logger.isEnabledFor(logging.INFO):
            access_logger.info(access_line(request, duration))
        self._forget(request)

    def lost(self, request: Request) -> None:
        """A request's client went away."""
        if request in self.requests:
            metrics.client_disconnects.inc()
            if access_logger.isEnabledFor(logging.INFO):
                request.code = 499
                access_logger.info(access_line(request, time.perf_counter() - request.received_at))
            self._forget(request)

    def drain(self) -> Deferred[None]:
        """Close idle connections, the others when their answer is sent; fires when all are closed."""
        idle: Deferred[None] = Deferred()
        self._idle = idle
        for channel in list(self.channels):
            channel.close_when_done()
        self._check_idle()
        return idle

    def abort(self) -> None:
        """End every connection at once."""
        for request in list(self.requests):
            logger.warning(
                "cut off after %.1f s: %s %s",
                time.perf_counter() - request.received_at,
                request.method.decode("latin-1"),
                request.uri.decode("latin-1"),
            )
        for channel in list(self.channels):
            channel.transport.abortConnection()

    def _forget(self, request: Request) -> None:
        self.requests.discard(request)

    def left(self, channel: Channel) -> None:
        """A connection is closed."""
        self.channels.discard(channel)
        self._check_idle()

    def _check_idle(self) -> None:
        # The connections, not the requests: an answer that is given may still be on its way to the client.
        if self._idle is not None and not self.channels:
            idle, self._idle = self._idle, None
            idle.callback(None)
