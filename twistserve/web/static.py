"""Files below a URL prefix, served by twisted.web: types, conditional and range requests are its own."""

from __future__ import annotations

import os
from collections.abc import Callable

from twisted.web import static
from twisted.web.resource import IResource, Resource

from twistserve.web.site import Request

Find = Callable[[str], str | None]
"""From a path relative to the prefix to the file's path, or None; what it returns need not exist."""


class FileResource(Resource):
    """Serves the files that `find` finds: GET and HEAD, no directory listing, no way out of the root."""

    isLeaf = True

    def __init__(self, handler: str, find: Find, headers: dict[bytes, bytes]) -> None:
        super().__init__()
        self._handler = handler
        self._find = find
        self._headers = headers

    def render_GET(self, request: Request) -> bytes | int:
        """Answer with the file, 304, 206, 416 or 404. HEAD comes here too."""
        request.handler = self._handler
        path = self._path(request.postpath or [])
        if path is None:
            return _not_found(request)
        for name, value in self._headers.items():
            request.setHeader(name, value)
        answer: bytes | int = static.File(path, defaultType="application/octet-stream").render_GET(request)
        return answer

    render_HEAD = render_GET

    def _path(self, segments: list[bytes]) -> str | None:
        relative = safe_path(segments)
        path = None if relative is None else self._find(relative)
        return path if path is not None and os.path.isfile(path) and os.access(path, os.R_OK) else None


def safe_path(segments: list[bytes]) -> str | None:
    """The relative path that decoded URL segments name, or None where they try to name anything else."""
    for segment in segments:
        if segment in (b"", b".", b"..") or b"/" in segment or b"\0" in segment:
            return None
    return os.fsdecode(b"/".join(segments)) or None


def _not_found(request: Request) -> bytes:
    request.setResponseCode(404)
    request.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
    return b"Not found.\n"


class PrefixResource(Resource):
    """The root: requests below a prefix go to its resource, all others to `default`."""

    def __init__(self, default: IResource) -> None:
        super().__init__()
        self._default = default
        self._prefixes: list[tuple[list[bytes], IResource]] = []

    def mount(self, prefix: str, resource: IResource) -> None:
        """Serve `resource` below a URL prefix such as '/static/'; of two that fit, the longer one wins."""
        self._prefixes.append(([part.encode() for part in prefix.split("/") if part], resource))
        self._prefixes.sort(key=lambda mounted: -len(mounted[0]))

    def getChildWithDefault(self, path: bytes, request: Request) -> IResource:
        """Find the resource and leave the rest of the path in `request.postpath`."""
        segments = [path, *(request.postpath or [])]
        for prefix, resource in self._prefixes:
            if segments[: len(prefix)] == prefix and len(segments) > len(prefix):
                request.prepath = segments[: len(prefix)]
                request.postpath = segments[len(prefix) :]
                return resource
        return self._default
