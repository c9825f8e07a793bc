"""Which handler gets a request."""

from __future__ import annotations

import os
from collections.abc import Iterable

from twistserve.http.request import Request
from twistserve.http.site import Handler


class Router:
    """Sends requests below a prefix, or for a path, to their handler, all others to `default`."""

    def __init__(self, default: Handler) -> None:
        self.default = default
        self._paths: dict[bytes, Handler] = {}
        self._prefixes: list[tuple[bytes, Handler]] = []

    def mount(self, prefix: str, handler: Handler) -> None:
        """Serve `handler` below a URL prefix such as '/static/'; of two that fit, the longer one wins."""
        self._prefixes.append((b"/%b/" % prefix.strip("/").encode(), handler))
        self._prefixes.sort(key=lambda mounted: -depth_of(mounted[0]))

    def mount_at(self, paths: Iterable[str], handler: Handler) -> None:
        """Serve `handler` at these URL paths alone, decoded, unless they are below a prefix.

        Paths from before are so no longer.
        """
        self._paths = {os.fsencode(path): handler for path in paths}

    def __call__(self, request: Request) -> None:
        """Find the handler, and let it handle the request."""
        path = request.path
        if b"%" in path:
            # Segment by segment: a slash that is encoded does not divide.
            path = b"/" + b"/".join([segment.replace(b"/", b"%2F") for segment in request.segments])
        for prefix, handler in self._prefixes:
            if path.startswith(prefix):
                handler(request)
                return
        self._paths.get(path, self.default)(request)


def depth_of(prefix: bytes) -> int:
    """How many segments of a path a prefix such as /static/ has."""
    return prefix.count(b"/") - 1
