"""The probe port as a service: listens first, closes last."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred

from twistserve.http.access_log import AccessLog
from twistserve.http.limits import Limits
from twistserve.http.site import Handler, Site
from twistserve.logs import get_logger
from twistserve.net.listeners import Port
from twistserve.net.open_files import Headroom
from twistserve.probes.connection import ProbeConnection
from twistserve.probes.room import FEW, ProbeRoom
from twistserve.probes.short_turns import ShortTurns

logger = get_logger(__name__)


LIMITS = Limits(max_body=64 * 1024, max_connections=sys.maxsize)
"""Probes have small bodies, if any. `ProbeRoom` bounds the connections."""


class ProbeSite(Site):
    """The probes' site: requests that come every few seconds are logged with --log-probes alone, and not counted."""

    around_accept = Headroom()

    def __init__(self, root: Handler, reactor: Any, access_log: AccessLog | None = None) -> None:
        super().__init__(root, reactor, LIMITS)
        if access_log is not None:
            self._on_responses = access_log.responded
            self._on_refusal = lambda remote, status, reason: access_log.refused(remote, status)
        self.protocol = ProbeConnection
        self.turns = ShortTurns(reactor)
        self.room_for_probes = ProbeRoom()

    def room(self) -> int:
        """How many to accept in a turn of the reactor, after which those that make way are closed."""
        return FEW

    def acceptableProtocols(self) -> list[bytes]:
        """HTTP/1.1 alone."""
        return [b"http/1.1"]

    def accepting(self) -> None:
        """A connection is to be accepted: a question will follow."""
        self.turns.begin(self)

    def buildProtocol(self, addr: Any) -> Any:
        """The connection is there, and counts by itself."""
        connection = super().buildProtocol(addr)
        self.turns.begin(connection)
        self.turns.end(self)
        return connection


class ProbeService(Service):
    """Has `root` handle requests on the probe port from the very start of the process to its end.

    `failed` is told why the port cannot be opened. Requests are logged if there is an `access_log`.
    """

    name = "probes"

    def __init__(
        self,
        port: Port,
        root: Handler,
        failed: Callable[[str], None],
        reactor: Any,
        access_log: AccessLog | None = None,
    ) -> None:
        self.port = port
        self.last = True
        """Whether no other process accepts in this one's place when it ends."""
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
        """Close the port; the log has all that was asked by then."""
        super().stopService()
        self._site.tell()
        return self.port.close(self.last)
