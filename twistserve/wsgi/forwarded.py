"""Which peers are proxies whose X-Forwarded fields are believed, and what then is the client's address."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any

from twistserve.logs import get_logger

logger = get_logger(__name__)

FIELDS = frozenset(("HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO", "HTTP_X_FORWARDED_HOST", "HTTP_X_FORWARDED_PORT"))
"""What proxies forward, by its name in an environ."""
UNIX = "unix"
"""The peer of a Unix socket."""
NETWORKS = {
    "loopback": ("127.0.0.0/8", "::1/128"),
    "private": ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "100.64.0.0/10"),
}
"""What words stand for; `private` are the networks of RFC 1918, RFC 4193 and RFC 6598."""
_MAX_REMEMBERED = 1024
_LONGEST_REMEMBERED = 128


class TrustedPeers:
    """Proxies in front of us, as `--forwarded-allow-ips` names them: addresses, networks, and words for sets of them.

    Raises ValueError for anything else.
    """

    def __init__(self, peers: Sequence[str]) -> None:
        self._all = "*" in peers
        self._unix = "unix" in peers
        named = [network for peer in peers for network in NETWORKS.get(peer, (peer,)) if peer not in ("*", "unix")]
        self._networks = [ipaddress.ip_network(network, strict=False) for network in named]
        self._remembered: dict[str, bool] = {}
        self._clients: dict[tuple[str, str], str] = {}
        self._warned = False

    def trusts(self, peer: str) -> bool:
        """Whether a peer is a proxy: an address, or `UNIX` for the peer of a Unix socket, which has none."""
        known = self._remembered.get(peer)
        if known is None:
            known = self._all or (self._unix if peer == UNIX else self._contains(peer))
            if len(self._remembered) < _MAX_REMEMBERED:
                self._remembered[peer] = known
        return known

    def _contains(self, peer: str) -> bool:
        address = _address(peer)
        return address is not None and any(address in network for network in self._networks)

    def apply(self, environ: dict[str, Any]) -> None:
        """Believe in an environ with `FIELDS` what a trusted peer has forwarded, and remove it from another's.

        Host and port stay as they are, for Django's USE_X_FORWARDED_HOST and _PORT to decide.
        """
        peer = environ["twistserve.peer"]
        if not self.trusts(peer):
            for field in FIELDS:
                if environ.pop(field, None) is not None and not self._warned:
                    self._warn(peer, field)
            return
        if hops := environ.get("HTTP_X_FORWARDED_FOR"):
            client = self.client(peer, hops)
            if client != peer:
                environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = client, ""
        scheme: str = environ.get("HTTP_X_FORWARDED_PROTO", "").rpartition(",")[2].strip().lower()
        if scheme in ("http", "https"):
            environ["wsgi.url_scheme"] = scheme

    def _warn(self, peer: str, field: str) -> None:
        """Tell once of a proxy that is not named: a site that knows no scheme may redirect to itself for ever."""
        self._warned = True
        logger.warning(
            "%s was removed from a request of %s, which --forwarded-allow-ips does not name: if that is your proxy,"
            " name its address or network there, or one of loopback, private, unix and *; told once",
            field.removeprefix("HTTP_").replace("_", "-").title(),
            "a Unix socket" if peer == UNIX else peer,
        )

    def client(self, peer: str, hops: str) -> str:
        """The client's address, by the X-Forwarded-For of a trusted peer.

        The list is walked from the right, past the proxies, to the first address that is none. Remembered, for a page
        has many files and finding out takes 4 us, a fifth of a small file's answer. Callable from any thread.
        """
        known = self._clients.get((peer, hops))
        if known is None:
            known = self._walk(peer, hops)
            if len(hops) <= _LONGEST_REMEMBERED:
                if len(self._clients) >= _MAX_REMEMBERED:
                    self._clients.clear()
                self._clients[peer, hops] = known
        return known

    def _walk(self, peer: str, hops: str) -> str:
        client = peer
        for hop in reversed(hops.split(",")):
            address = _address(hop.strip())
            if address is None:
                break
            client = str(address)
            if not self.trusts(client):
                break
        return client


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address, with or without a port, as proxies write it."""
    bare = text
    if text.startswith("["):
        bare = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        bare = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(bare.partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped if mapped is not None else address
