"""POSTs by treq that hold nothing up: neither a long answer nor a name server that is silent."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from treq.client import HTTPClient
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.base import PluggableResolverMixin
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IHostnameResolver, IHostResolution, IResolutionReceiver
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS, HostnameCachingHTTPSPolicy, HTTPConnectionPool
from twisted.web.http_headers import Headers
from zope.interface import implementer

from twistserve.webhooks import Post

ANSWER_LIMIT = 64 << 10
"""Bytes that are read of an answer's body."""


def poster(reactor: Any) -> Post:
    """A function that POSTs a body and fires with the status of the complete answer.

    Each POST has a connection of its own, which is closed when it is cancelled; no redirect is followed and no
    cookie kept.
    """
    pool = HTTPConnectionPool(reactor, persistent=False)
    # Or each POST is two more lines in Twisted's log.
    pool._factory.noisy = False
    # The authorities' certificates are read once for each host, instead of for each POST.
    policy = HostnameCachingHTTPSPolicy(BrowserLikePolicyForHTTPS())
    agent = Agent(Network(reactor), policy, pool=pool)

    async def post(url: str, body: bytes, headers: Mapping[str, str]) -> int:
        sent = Headers({name: [value] for name, value in headers.items()})
        response = await HTTPClient(agent).post(
            url, data=body, headers=sent, allow_redirects=False, unbuffered=True, reactor=reactor
        )
        rest = Discarded()
        response.deliverBody(rest)
        await rest.ended
        return int(response.code)

    return lambda url, body, headers: Deferred.fromCoroutine(post(url, body, headers))


class Discarded(Protocol):
    """Reads an answer's body to its end, but not for ever, so that the receiver sees no broken connection."""

    def __init__(self) -> None:
        self._left = ANSWER_LIMIT
        self.ended: Deferred[None] = Deferred(lambda _: self._close())

    def dataReceived(self, data: bytes) -> None:
        """Count."""
        self._left -= len(data)
        if self._left < 0:
            self._close()

    def connectionLost(self, reason: Failure | None = None) -> None:
        """The body is complete, or the connection is gone."""
        if not self.ended.called:
            self.ended.callback(None)

    def _close(self) -> None:
        assert self.transport is not None
        self.transport.loseConnection()


class Network(PluggableResolverMixin):
    """The reactor with a resolver whose threads need not end.

    The reactor's own pool of threads is joined before the process can end, and a name server that does not answer
    holds a thread for up to minutes.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self.installNameResolver(Resolver(reactor))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)


@implementer(IHostResolution)
class Resolution:
    """A host name that is being looked up."""

    def __init__(self, name: str) -> None:
        self.name = name

    def cancel(self) -> None:
        """Nothing can stop getaddrinfo(3); its result is ignored after a cancellation."""


@implementer(IHostnameResolver)
class Resolver:
    """getaddrinfo(3), each time on a daemon thread of its own."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """Tell the receiver the TCP addresses of a host; none where it has none."""

        def look_up() -> None:
            try:
                found = socket.getaddrinfo(hostName, portNumber, type=socket.SOCK_STREAM)
            except OSError:
                found = []
            self._reactor.callFromThread(tell, [(family, address) for family, _, _, _, address in found])

        def tell(found: list[tuple[int, Any]]) -> None:
            for family, address in found:
                kind = IPv6Address if family == socket.AF_INET6 else IPv4Address
                resolutionReceiver.addressResolved(kind("TCP", *address))
            resolutionReceiver.resolutionComplete()

        resolution = Resolution(hostName)
        resolutionReceiver.resolutionBegan(resolution)
        threading.Thread(target=look_up, name=f"look-up of {hostName}", daemon=True).start()
        return resolution
