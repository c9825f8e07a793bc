"""The probe port as a service: listens first, closes last."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.web.resource import Resource
from twisted.web.server import Site

from twistserve.http.access_log import AccessLog
from twistserve.logs import get_logger
from twistserve.logs.containment import contain
from twistserve.net.listeners import Port
from twistserve.net.open_files import Headroom
from twistserve.probes.channel import ProbeChannel
from twistserve.probes.room import FEW, ProbeRoom
from twistserve.probes.short_turns import ShortTurns

logger = get_logger(__name__)


class ProbeSite(Site):
    """The probes' site: requests that come every few seconds are logged with --log-probes alone."""

    protocol = ProbeChannel  # type: ignore[assignment]
    displayTracebacks = False
    noisy = False

    around_accept = Headroom()

    def __init__(self, root: Resource, reactor: Any, access_log: AccessLog | None = None) -> None:
        super().__init__(root, reactor=reactor)
        self._access_log = access_log
        self.turns = ShortTurns(reactor)
        self.channels = ProbeRoom()

    def room(self) -> int:
        """How many to accept in a turn of the reactor, after which those that make way are closed."""
        return FEW

    def accepting(self) -> None:
        """A connection is to be accepted: whoever makes one asks something."""
        self.turns.begin(self)

    def buildProtocol(self, addr: Any) -> Any:
        """The connection is there, and counts by itself."""
        channel = super().buildProtocol(addr)
        self.turns.begin(channel)
        self.turns.end(self)
        return channel

    def startFactory(self) -> None:
        """No log to open."""

    def stopFactory(self) -> None:
        """No log to close."""

    def log(self, request: Any) -> None:
        """A request is answered."""
        if self._access_log is not None:
            contain(lambda log: log.answered([AnsweredProbe(request)]), self._access_log)


class AnsweredProbe:
    """A request of the probe port as the access log wants it."""

    request_id = b""
    queue_time = 0.0

    def __init__(self, request: Any) -> None:
        fields = request.requestHeaders.getAllRawHeaders()
        self.raw_headers = [(name, value) for name, values in fields for value in values]
        self.remote = (getattr(request.client, "host", None) or "-").removeprefix("::ffff:")
        self.method, self.uri, self.clientproto = request.method, request.uri, request.clientproto
        self.code, self.sentLength = request.code, request.sentLength
        self.duration = time.perf_counter() - request.channel.asked_at


class ProbeService(Service):
    """Serves `root` on the probe port from the very start of the process to its end.

    `failed` is told why the port cannot be opened. Requests are logged if there is an `access_log`.
    """

    name = "probes"

    def __init__(
        self,
        port: Port,
        root: Resource,
        failed: Callable[[str], None],
        reactor: Any,
        access_log: AccessLog | None = None,
    ) -> None:
        self.port = port
        self._failed = failed
        self._site = ProbeSite(root, reactor, access_log)

    def startService(self) -> None:
        """Listen, before anything else is done."""
        super().startService()
        self.port.open(self._site).addCallbacks(
            lambda result: logger.info("probes on %s", self.port),
            lambda failure: self._failed(str(failure.value)),
        )

    def stopService(self) -> Deferred[Any]:
        """Close the port."""
        super().stopService()
        return self.port.close()
