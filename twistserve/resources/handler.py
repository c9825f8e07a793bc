"""Gives requests to a resource of twisted.web."""

from __future__ import annotations

from typing import Any

from twisted.web.resource import IResource

from twistserve.http.deadlines import Deadlines
from twistserve.http.request import Request
from twistserve.resources.channel import Channel
from twistserve.resources.flow import Flow
from twistserve.resources.request import MountedRequest, MountedSite
from twistserve.wsgi.environ import EnvironMaker, environ_key

_VERSIONS = {"2.0": b"HTTP/2"}
"""What twisted.web calls it."""


class ResourceHandler:
    """Serves a resource at `path` and below; a handler of the site. Reactor thread."""

    def __init__(
        self, path: str, resource: IResource, environs: EnvironMaker, deadlines: Deadlines | None, reactor: Any
    ) -> None:
        self._path = path
        self._site = MountedSite(resource, path.count("/"), reactor)
        self._environs = environs
        self._deadlines = deadlines
        self._call_later = reactor.callLater

    def __call__(self, request: Request) -> None:
        """Let the resource respond, now or later."""
        request.handler = f"mount:{self._path}"
        common = self._environs.prepare(request)
        assert request.body is not None
        body, request.body = request.body, None
        environ = self._environs.make(request, body, common)
        flow = Flow(request.connection.site.limits.max_body, self._call_later)
        channel = Channel(self._path, request, environ, self._site, self._deadlines, flow)
        mounted = MountedRequest(channel)
        channel.begin(mounted)
        for name, value in request.fields:
            # What Django would not be told either, such as X-Forwarded-For of a peer that is no trusted proxy.
            if environ_key(name) in environ:
                mounted.requestHeaders.addRawHeader(name, value)
        if request.has_body:
            mounted.requestHeaders.setRawHeaders(b"Content-Length", [b"%d" % request.body_length])
        mounted.requestHeaders.setRawHeaders(b"X-Request-ID", [request.request_id])
        mounted.parseCookies()
        # Where twisted.web has left it when a body has come.
        body.seek(0, 2)
        mounted.content = body
        query = request.target.partition(b"?")[1:]
        version = _VERSIONS.get(request.version, b"HTTP/%b" % request.version.encode())
        mounted.requestReceived(request.method, request.path + b"".join(query), version)
