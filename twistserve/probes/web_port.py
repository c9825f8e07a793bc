"""The probes on the web port, where --probe-port is --port: at their paths, before everything else.

They answer from the start of the process on, the application when it is ready. Everything here belongs to the reactor
thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twistserve.http.limits import Limits
from twistserve.http.request import Request
from twistserve.http.response import error
from twistserve.http.site import Handler, Site
from twistserve.probes.handlers import ProbeRoot

PROBES = "probes"
"""What `Request.handler` is of a request for a probe or the metrics."""

_STARTING = error(503, b"The service is starting.\n")


class ProbesFirst:
    """Has the probes handle requests for their paths, and `rest` all others."""

    def __init__(self, probes: ProbeRoot, rest: Handler) -> None:
        self._probes = probes
        self.rest = rest

    def __call__(self, request: Request) -> None:
        """Find the handler, and let it handle the request."""
        if self._probes.find(request.path) is None:
            self.rest(request)
        else:
            request.handler = PROBES
            self._probes(request)


class SharedSite(Site):
    """The web port's site, which has probes too. They are not counted, and `on_probes` alone is told of them."""

    def __init__(
        self,
        root: Handler,
        reactor: Any,
        limits: Limits,
        on_responses: Callable[[Sequence[Request]], None],
        on_refusal: Callable[[str, int, str], None],
        on_probes: Callable[[Sequence[Request]], None],
    ) -> None:
        def tell_apart(requests: Sequence[Request]) -> None:
            probes = [request for request in requests if request.handler == PROBES]
            if not probes:
                on_responses(requests)
                return
            on_responses([request for request in requests if request.handler != PROBES])
            on_probes(probes)

        super().__init__(root, reactor, limits, tell_apart, on_refusal)
        self._root = root

    def put_first(self, probes: ProbeRoot) -> None:
        """Have the probes handled, and respond to everything else by 503 until `begin`."""
        self.handler = ProbesFirst(probes, _starting)
        # A client that kept its connection would hold one that probes need.
        self.connections.leaving = True

    def begin(self) -> None:
        """The start is complete: requests that are for no probe go to the root."""
        if isinstance(self.handler, ProbesFirst):
            self.handler.rest = self._root
        self.connections.leaving = False

    @property
    def in_flight(self) -> int:
        """How many requests a handler has, without those for probes."""
        return sum(request.handler != PROBES for request in self.requests)

    def responded(self, request: Request) -> None:
        """A request is over; one for a probe does not count for --max-lifetime."""
        before = self.responses
        super().responded(request)
        if request.handler == PROBES:
            self.responses = before


def _starting(request: Request) -> None:
    request.connection.respond(_STARTING)
