"""Addresses for people to open in a browser, made of options alone: sockets may be inherited or shared.

What listens on all interfaces is shown at 127.0.0.1, which is on this machine.
"""

from __future__ import annotations

from typing import Any

_DEFAULT_PORTS = {"http": 80, "https": 443}
_TCP = {"tcp": "", "tcp6": "::", "ssl": "", "tls": "::"}
"""The endpoints that have a port, with the interface that they have by default."""
_DUAL_STACK = {"": "127.0.0.1", "::": "127.0.0.1"}
"""To Twisted's endpoints :: is IPv4 too."""
_TO_PROXIES = " (behind a proxy that speaks the PROXY protocol)"


def port_address(host: str | None, port: int, path: str = "/", scheme: str = "http") -> str:
    """The URL of a path on a host, an address or a name; None is all interfaces. `::` is those of IPv6 alone."""
    shown = {None: "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host) or "127.0.0.1"
    if ":" in shown:
        # RFC 6874: the zone of a link-local address.
        shown = f"[{shown.replace('%', '%25')}]"
    suffix = "" if port == _DEFAULT_PORTS[scheme] else f":{port}"
    return f"{scheme}://{shown}{suffix}{path}"


def endpoint_address(description: str) -> str:
    """Where a Twisted server endpoint serves: a URL, the path of a Unix socket, or what it is if only it knows."""
    try:
        return _endpoint_address(description)
    except (ValueError, LookupError):
        return description


def _endpoint_address(description: str) -> str:
    if description.startswith("haproxy:"):
        return _endpoint_address(description.removeprefix("haproxy:")) + _TO_PROXIES
    if description.startswith("unix:"):
        # Imported here: it imports OpenSSL, for endpoints of any kind.
        from twisted.internet.endpoints import _parse

        (_, *arguments), options = _parse(description)
        return f"unix:{_argument(arguments, 0, options, 'address')}"
    scheme, interface, port = endpoint_port(description)
    return port_address(_DUAL_STACK.get(interface, interface), port, scheme=scheme)


def endpoint_port(description: str) -> tuple[str, str, int]:
    """The scheme, the interface and the port of a Twisted server endpoint. Raises ValueError or LookupError for others.

    The interface is "" or :: where it is all of them.
    """
    from twisted.internet.endpoints import _parse

    (kind, *arguments), options = _parse(description.removeprefix("haproxy:"))
    scheme = "https" if kind in ("ssl", "tls") else "http"
    # The directory of certificates comes first.
    port = _argument(arguments, 1 if kind == "tls" else 0, options, "port") or _DEFAULT_PORTS["https"]
    return scheme, options.get("interface", _TCP[kind]), int(port)


def _argument(arguments: list[Any], position: int, options: dict[str, Any], name: str) -> Any:
    return arguments[position] if position < len(arguments) else options.get(name)
