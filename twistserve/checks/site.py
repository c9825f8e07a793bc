"""Checks of what the site tells, and whom it serves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from twistserve.checks.in_force import inside_kubernetes
from twistserve.checks.messages import check, warning


@check("DEBUG")
def debug_is_off() -> Iterator[Any]:
    """No pod shows settings and source code to a client that provokes an error, or keeps every query in memory."""
    from django.conf import settings

    if settings.DEBUG and inside_kubernetes():
        yield warning(
            4,
            "DEBUG is on inside Kubernetes: error pages show settings and source code to everybody.",
            "Set DEBUG = False for what is deployed, for instance by a variable of the container.",
        )


@check("ALLOWED_HOSTS")
def hosts_can_match() -> Iterator[Any]:
    """ALLOWED_HOSTS lets somebody in, and has no entry that no request can match."""
    from django.conf import settings

    hosts = list(settings.ALLOWED_HOSTS)
    if not hosts and not settings.DEBUG:
        yield warning(
            5,
            "ALLOWED_HOSTS is empty without DEBUG: every request is answered with 400.",
            "List the site's host names there; '.example.com' is for all below a domain, '*' for any.",
        )
    useless = [host for host in hosts if not _can_match(host)]
    if useless and "*" not in hosts:
        consequence = "" if len(useless) < len(hosts) else ": every request is answered with 400"
        yield warning(
            5,
            f"ALLOWED_HOSTS has entries that no request can match{consequence}: {', '.join(map(repr, useless))}.",
            "An entry is a bare name or address: no scheme, port, path, space or '*' in it, and IPv6 in brackets."
            " '.example.com' is for all below a domain; a value from the environment may have to be split or stripped.",
        )


def _can_match(pattern: object) -> bool:
    """Whether there is a Host that Django takes for this entry."""
    from django.http.request import split_domain_port

    if not isinstance(pattern, str) or pattern == "*":
        return pattern == "*"
    bare = pattern.removeprefix(".")
    domain, port = split_domain_port(bare)
    return bool(domain) and domain == bare.lower() and not port
