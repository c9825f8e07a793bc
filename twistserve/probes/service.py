"""The probe port as a service: listens first, closes last."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.web.resource import Resource
from twisted.web.server import Site

from twistserve.listening import Port
from twistserve.open_files import Headroom
from twistserve.probes.attention import Attention
from twistserve.probes.channel import ProbeChannel
from twistserve.probes.room import FEW, ProbeRoom

logger = logging.getLogger(__name__)


class ProbeSite(Site):
    """The probes' site: nothing is logged of a request that comes every few seconds."""

    protocol = ProbeChannel  # type: ignore[assignment]
    displayTracebacks = False
    noisy = False

    around_accept = Headroom()

    def __init__(self, root: Resource, reactor: Any) -> None:
        super().__init__(root, reactor=reactor)
        self.attention = Attention(reactor)
        self.channels = ProbeRoom()

    def room(self) -> int:
        """How many to accept in a turn of the reactor, after which those that make way are closed."""
        return FEW

    def accepting(self) -> None:
        """A connection is to be accepted: whoever makes one asks something."""
        self.attention.pay(self)

    def buildProtocol(self, addr: Any) -> Any:
        """The connection is there, and has the attention itself."""
        channel = super().buildProtocol(addr)
        self.attention.pay(channel)
        self.attention.rest(self)
        return channel

    def startFactory(self) -> None:
        """No log to open."""

    def stopFactory(self) -> None:
        """No log to close."""

    def log(self, request: Any) -> None:
        """Nothing."""


class ProbeService(Service):
    """Serves `root` on the probe port from the very start of the process to its end.

    `failed` is told why the port cannot be opened.
    """

    name = "probes"

    def __init__(self, port: Port, root: Resource, failed: Callable[[str], None], reactor: Any) -> None:
        self._port = port
        self._failed = failed
        self._site = ProbeSite(root, reactor)

    def startService(self) -> None:
        """Listen, before anything else is done."""
        super().startService()
        self._port.open(self._site).addCallbacks(
            lambda result: logger.info("probes on %s", self._port),
            lambda failure: self._failed(str(failure.value)),
        )

    def stopService(self) -> Deferred[Any]:
        """Close the port."""
        super().stopService()
        return self._port.close()
