"""Checks of SECURE_PROXY_SSL_HEADER against --forwarded-allow-ips.

X-Forwarded-Proto of a peer that is not named there is removed before Django looks for it; of one that is, it gives the
scheme by itself. So the setting is never needed with that field, and without a proxy that is named it has no effect.
Any other field reaches Django from everybody.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from typing import Any

from twistserve.checks.in_force import InForce, in_force, inside_kubernetes
from twistserve.checks.messages import check, warning
from twistserve.options import Configuration
from twistserve.wsgi.forwarded import NETWORKS, UNIX, TrustedPeers

_FIELD = "HTTP_X_FORWARDED_PROTO"
_KEY = re.compile("HTTP_[A-Z0-9_]+")
"""What fields of requests are called in an environ."""
_EVERYBODY = "*"
_ANYWHERE, _LOOPBACK, _OTHER, _TLS = "anywhere", "loopback", "other", "tls"
"""Beside `UNIX`, where peers may be: a port of this machine alone, one of an address that others reach, and both."""
_REMEDY = (
    "Name the proxy's address or network with --forwarded-allow-ips, 'loopback' if it runs on this machine or in this"
    " pod. X-Forwarded-Proto then gives the scheme without SECURE_PROXY_SSL_HEADER too."
)


@check("SECURE_PROXY_SSL_HEADER")
def scheme_can_be_known() -> Iterator[Any]:
    """SECURE_PROXY_SSL_HEADER names what Django can find in a request, as far as that is certain."""
    from django.conf import settings

    if not settings.SECURE_PROXY_SSL_HEADER:
        return
    setting = _header_and_value()
    if setting is None:
        fault = f"is {settings.SECURE_PROXY_SSL_HEADER!r}"
        remedy = "Give a tuple of two texts: ('HTTP_X_FORWARDED_PROTO', 'https')."
    elif not _KEY.fullmatch(setting[0]):
        name = re.sub(r"\W", "_", setting[0].upper()).removeprefix("HTTP_")
        fault, remedy = f"names {setting[0]!r}, which no request has", f"Write it as request.META does: 'HTTP_{name}'."
    elif setting[0] == _FIELD and setting[1] != "https":
        fault = f"waits for X-Forwarded-Proto to be {setting[1]!r}, which proxies do not send: no request is secure"
        remedy = "Give 'https' as its second value."
    elif setting[0] == _FIELD and (reason := _certainly_removed(in_force())):
        fault, remedy = f"has no effect: {reason}", _REMEDY
    else:
        return
    yield warning(6, f"SECURE_PROXY_SSL_HEADER {fault}.", remedy)


@check("SECURE_PROXY_SSL_HEADER")
def scheme_can_be_known_by_default() -> Iterator[Any]:
    """The same where only the command line could name a proxy, for check --deploy."""
    from django.conf import settings

    options = in_force()
    if _header_and_value() != (_FIELD, "https") or settings.DEBUG or options.by_server:
        return
    if not _certainly_removed(options) and _by_default_alone(options.configuration):
        yield warning(
            6,
            "SECURE_PROXY_SSL_HEADER has no effect by default: X-Forwarded-Proto is removed from what comes from other"
            " machines, unless the command line has --forwarded-allow-ips.",
            _REMEDY,
        )


@check("SECURE_PROXY_SSL_HEADER")
def scheme_cannot_be_forged() -> Iterator[Any]:
    """SECURE_PROXY_SSL_HEADER names the field that is removed from those who are no proxy; for check --deploy."""
    setting = _header_and_value()
    if setting is not None and setting[0] != _FIELD and _KEY.fullmatch(setting[0]):
        yield warning(
            7,
            f"SECURE_PROXY_SSL_HEADER names {setting[0]!r}, which twistserve lets everybody send: who reaches the port"
            " without the proxy, or a proxy that passes the field on, can have plain requests taken for secure ones.",
            "Have the proxy send X-Forwarded-Proto, which only those of --forwarded-allow-ips may, and remove the"
            " setting; or make sure that the proxy always replaces the field, and that nobody comes past it.",
        )


def _header_and_value() -> tuple[str, str] | None:
    """SECURE_PROXY_SSL_HEADER, if it has the form that it should."""
    from django.conf import settings

    setting = settings.SECURE_PROXY_SSL_HEADER
    if isinstance(setting, (tuple, list)) and len(setting) == 2 and all(isinstance(each, str) for each in setting):
        return setting[0], setting[1]
    return None


def _certainly_removed(options: InForce) -> str:
    """Why no request can have an X-Forwarded-Proto; empty if one may have."""
    configuration = options.configuration
    if not options.is_known("forwarded_allow_ips"):
        return ""
    listeners = _listeners(configuration) if options.is_known("host", "endpoint") else {_ANYWHERE, UNIX}
    if _TLS in listeners:
        # The scheme is known without a proxy.
        return ""
    if not any(_may_trust(configuration, where) for where in listeners):
        return "X-Forwarded-Proto is removed from all requests, for --forwarded-allow-ips names nobody who can connect"
    if inside_kubernetes() and _by_default_alone(configuration):
        return (
            "X-Forwarded-Proto is removed from what comes from outside this pod, for --forwarded-allow-ips is not given"
        )
    return ""


def _by_default_alone(configuration: Configuration) -> bool:
    """Whether a port is open to others, and only this machine is believed, by default."""
    return configuration.forwarded_allow_ips == Configuration.forwarded_allow_ips and _listeners(configuration) <= {
        _ANYWHERE,
        _OTHER,
    }


def _may_trust(configuration: Configuration, where: str) -> bool:
    """Whether some peer there is one of --forwarded-allow-ips."""
    peers = configuration.forwarded_allow_ips
    if where == UNIX or _EVERYBODY in peers:
        return TrustedPeers(peers).trusts(UNIX)
    networks = [
        ip_network(each, strict=False) for peer in peers if peer != UNIX for each in NETWORKS.get(peer, (peer,))
    ]
    loopback = [ip_network(each) for each in NETWORKS["loopback"]]
    if where == _LOOPBACK:
        return any(one.overlaps(other) for one in networks for other in loopback)
    inside = [
        each for each in networks if any(each.overlaps(one) and each.prefixlen >= one.prefixlen for one in loopback)
    ]
    # Who connects to another address of this machine does so from that address.
    return bool(networks) if where == _ANYWHERE else len(inside) < len(networks)


def _listeners(configuration: Configuration) -> set[str]:
    """Where the peers of the web port may be."""
    if not configuration.endpoint:
        return {_place(configuration.host or "")}
    return set(map(_endpoint_place, configuration.endpoint))


def _endpoint_place(description: str) -> str:
    """The same of one endpoint; systemd's sockets, and what others have made, may be anything."""
    kind = description.partition(":")[0]
    if kind in ("ssl", "tls"):
        return _TLS
    if kind == "unix":
        return UNIX
    interface = re.search(r":interface=((?:\\.|[^:\\])+)", description) if kind == "tcp" else None
    return _place(interface[1].replace("\\", "")) if interface else _ANYWHERE


def _place(host: str) -> str:
    if host == "localhost":
        return _LOOPBACK
    try:
        address = ip_address(host)
    except ValueError:
        return _ANYWHERE
    return _LOOPBACK if address.is_loopback else _ANYWHERE if address.is_unspecified else _OTHER
