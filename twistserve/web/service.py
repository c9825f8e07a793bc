"""The web port as a service."""

from __future__ import annotations

import logging
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, inlineCallbacks

from twistserve.listening import Port
from twistserve.web.site import Site

logger = logging.getLogger(__name__)

GRACEFUL_TIMEOUT = 25.0
"""Seconds granted to requests in flight."""


class WebService(Service):
    """Reserves the web port at start, opens it when told, and drains at stop."""

    name = "web"

    def __init__(self, port: Port, site: Site, hurry: Any, reactor: Any) -> None:
        self._port = port
        self._site = site
        self._hurry = hurry
        self._reactor = reactor

    def privilegedStartService(self) -> None:
        """Bind while there may still be privileges for a low port. Raises `StartError`."""
        self._port.bind()

    def startService(self) -> None:
        """Bind, if privilegedStartService was not called. Raises `StartError`."""
        super().startService()
        self._port.bind()

    def open(self) -> None:
        """Accept connections. Raises `StartError`."""
        self._port.open(self._site)
        logger.info("serving on %s", self._port)

    @inlineCallbacks
    def stopService(self) -> Any:
        """Close the port and wait for the requests in flight, at most `GRACEFUL_TIMEOUT` seconds."""
        super().stopService()
        yield self._port.close()
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
