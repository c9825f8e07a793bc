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
            path = decoded_path(request)
        for prefix, handler in self._prefixes:
            if path.startswith(prefix):
                handler(request)
                return
        self._paths.get(path, self.default)(request)


class MountRouter(Router):
    """A router that has prefixes whose path without the final slash belongs to them too."""

    def __init__(self, default: Handler) -> None:
        super().__init__(default)
        self._bare: dict[bytes, Handler] = {}

    def mount_all(self, path: str, handler: Handler) -> None:
        """Serve `handler` at a URL path such as '/live', and below it."""
        self.mount(path, handler)
        self._bare[path.encode()] = handler

    def __call__(self, request: Request) -> None:
        """Find the handler, and let it handle the request."""
        (self._bare.get(decoded_path(request)) or super().__call__)(request)


def decoded_path(request: Request) -> bytes:
    """The path, decoded segment by segment: a slash that is encoded does not divide."""
    return b"/" + b"/".join([segment.replace(b"/", b"%2F") for segment in request.segments])


def depth_of(prefix: bytes) -> int:
    """How many segments of a path a prefix such as /static/ has."""
    return prefix.count(b"/") - 1
