"""The web port as a service."""

from __future__ import annotations

import logging
import resource
from collections.abc import Sequence
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, inlineCallbacks

from twistserve.listening import Listener
from twistserve.web.site import Site

logger = logging.getLogger(__name__)

GRACEFUL_TIMEOUT = 25.0
"""Seconds granted to requests in flight."""


def raise_open_files() -> None:
    """Raise the soft limit of open files, often 1,024, to the hard one: every connection is a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        logger.info("raised the limit of open files from %d to %d", soft, hard)


class WebService(Service):
    """Opens the web ports when told, and drains at stop."""

    name = "web"

    def __init__(self, listeners: Sequence[Listener], site: Site, hurry: Any, reactor: Any) -> None:
        self._listeners = listeners
        self._site = site
        self._hurry = hurry
        self._reactor = reactor

    def startService(self) -> None:
        """Make room for connections."""
        super().startService()
        raise_open_files()

    @inlineCallbacks
    def open(self) -> Any:
        """Accept connections; fails with `StartError`."""
        for listener in self._listeners:
            yield listener.open(self._site)
            logger.info("serving on %s", listener)

    @inlineCallbacks
    def stopService(self) -> Any:
        """Close the ports and wait for the requests in flight, at most `GRACEFUL_TIMEOUT` seconds."""
        super().stopService()
        yield DeferredList([listener.close() for listener in self._listeners])
        in_flight = len(self._site.requests)
        if in_flight:
            logger.info("waiting for %d requests in flight, at most %g s", in_flight, GRACEFUL_TIMEOUT)
        yield self._first_of(self._site.drain(), self._hurry())
        self._site.abort()

    def _first_of(self, drained: Deferred[None], hurry: Deferred[None]) -> Deferred[None]:
        """Fires when the site is drained, when the time is up, or when there is no more time."""
        first: Deferred[None] = Deferred()
        timeout = self._reactor.callLater(GRACEFUL_TIMEOUT, first.callback, None)

        def done(result: object) -> None:
            if not first.called:
                first.callback(None)

        def clean_up(result: None) -> None:
            if timeout.active():
                timeout.cancel()

        drained.addBoth(done)
        hurry.addBoth(done)
        return first.addCallback(clean_up)
