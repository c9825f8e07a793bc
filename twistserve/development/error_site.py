"""The parent of --autoreload responding by itself, on the sockets of the process that serves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twistserve.development.error_page import ErrorPage, failing_probes
from twistserve.errors import StartError
from twistserve.http.site import Handler, Site
from twistserve.logs import get_logger
from twistserve.net.listeners import Listener
from twistserve.options import Configuration
from twistserve.probes.port import ProbeSite
from twistserve.probes.web_port import ProbesFirst

logger = get_logger(__name__)


class ErrorSite:
    """Open while the project does not serve; `listeners` and `probe_ports` are made anew of the sockets each time."""

    def __init__(
        self,
        configuration: Configuration,
        listeners: Callable[[], list[Listener]],
        probe_ports: Callable[[], list[Listener]],
        reactor: Any,
    ) -> None:
        self._configuration = configuration
        self._make_listeners = listeners
        self._make_probe_ports = probe_ports
        self._reactor = reactor
        self._open: list[Listener] = []
        self._sites: list[Site] = []
        self._page: ErrorPage | None = None

    def open(self, message: str, traceback: str) -> None:
        """Respond to all requests by the error, and to probes."""
        self._page = ErrorPage(message, traceback)
        probes = failing_probes(self._configuration, message)
        shared = self._configuration.probes_on_web_port
        root: Handler = ProbesFirst(probes, self._page) if shared else self._page
        try:
            site = Site(root, self._reactor)
            if self._configuration.endpoint:
                site.offer_http2()
            self._serve(self._make_listeners(), site)
            self._serve(self._make_probe_ports(), ProbeSite(probes, self._reactor))
        except StartError as error:
            # A certificate may have gone since.
            logger.error("the error cannot be served: %s", error)

    def _serve(self, listeners: list[Listener], site: Site) -> None:
        self._sites.append(site)
        for listener in listeners:
            listener.open(site).addErrback(lambda failure: logger.error("%s", failure.getErrorMessage()))
            self._open.append(listener)

    def close(self) -> None:
        """Respond to what is here, and leave what comes to the process that serves."""
        for listener in self._open:
            listener.close(False).addErrback(lambda failure: None)
        for site in self._sites:
            # So that a page that is told comes back by another connection.
            site.announce()
        if self._page is not None:
            self._page.release()
        for site in self._sites:
            site.drain().addCallback(_look_no_more, site)
        self._open, self._sites, self._page = [], [], None


def _look_no_more(drained: None, site: Site) -> None:
    """End the timer by which a site looks at its connections, for there are none any more."""
    site.abort()
