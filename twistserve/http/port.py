"""The web port as a service."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, inlineCallbacks, succeed

from twistserve.http.site import Site
from twistserve.logs import get_logger
from twistserve.net import open_files
from twistserve.net.listeners import Listener

logger = get_logger(__name__)

UNSERVED = 1.0
"""Seconds that connections have for their end where requests were never served: they get 503, or ask a probe."""


@dataclass(frozen=True)
class Drain:
    """The times of a drain, in seconds."""

    delay: float = 0.0
    """Between failing readiness and closing the ports, so that who sends requests here can notice."""
    timeout: float = 25.0
    """Granted to requests in flight after that."""


Wait = Callable[[Deferred[None], float], Deferred[None]]
"""Waits for something, at most so many seconds, and not at all once the process is to end at once."""


class WebService(Service):
    """Opens the web ports when told, or at once with probes on them, and drains at stop.

    `finished` tells when no thread is at work that may still end by itself. `bound_connections` is told how many
    connections are wanted, and returns how many there may be.
    """

    name = "web"

    def __init__(
        self,
        listeners: Sequence[Listener],
        site: Site,
        drain: Drain,
        wait: Wait,
        finished: Callable[[], Deferred[None]] = lambda: succeed(None),
        bound_connections: Callable[[int], int] = lambda wanted: wanted,
    ) -> None:
        self._bound_connections = bound_connections
        self._finished = finished
        self._listeners = listeners
        self._site = site
        self.times = drain
        """Those of a drain, until it has begun."""
        self._wait = wait
        self._open = False
        site.connections.on_full = self._pause
        self.last = True
        """Whether no other process accepts in this one's place when it ends."""
        self.early: Callable[[str], None] | None = None
        """Set before the start, has the ports open then, for probes; it is told why they cannot."""
        self._listening = False
        self.on_open: Callable[[], None] = lambda: None
        """Called when the ports are open and requests are to be served."""

    def startService(self) -> None:
        """Make room for connections."""
        super().startService()
        open_files.raise_limit()
        if self.early is not None:
            failed = self.early
            self._listen().addCallbacks(
                lambda result: self._say("probes on %s"), lambda failure: failed(str(failure.value))
            )

    @inlineCallbacks
    def open(self) -> Any:
        """Serve requests; fails with `StartError`."""
        if not self._listening:
            yield self._listen()
        self._open = True
        self.on_open()
        self._say("serving on %s")

    def _say(self, what: str) -> None:
        for listener in self._listeners:
            logger.info(what, listener)

    @inlineCallbacks
    def _listen(self) -> Any:
        """Accept connections; fails with `StartError`."""
        with suppress(OSError):
            # Found once, by writing a file there: a body that is to be stored may come when no more can be opened.
            tempfile.gettempdir()
        limits = self._site.limits
        self._site.limits = replace(limits, max_connections=self._bound_connections(limits.max_connections))
        for listener in self._listeners:
            yield listener.open(self._site)
        self._listening = True

    def _pause(self, full: bool) -> None:
        """Leave connections to the kernel while there are as many as may be."""
        for listener in self._listeners:
            listener.pause(full)

    @inlineCallbacks
    def stopService(self) -> Any:
        """Serve on for the delay, close the ports, and wait for the requests in flight within the timeout."""
        super().stopService()
        delay, timeout = self.times.delay, self.times.timeout
        if self._open and delay:
            logger.info("draining: new requests are served for %g s more, until the ports close", delay)
            self._site.announce()
            yield self._wait(Deferred(), delay)
        yield DeferredList([listener.close(self.last) for listener in self._listeners])
        # A view whose client has left may be writing to a database.
        drained: Deferred[Any] = DeferredList([self._site.drain(), self._finished()])
        if self._listening and not self._open:
            # A start that has failed is not held up by a client that sends slowly.
            timeout = min(timeout, UNSERVED)
        if in_flight := len(self._site.requests):
            logger.info("draining: waiting for %d requests in flight, at most %g s", in_flight, timeout)
        yield self._wait(drained, timeout)
        self._site.abort()
