"""The requests that mounted resources are given: twisted.web's, whose channel is ours. Reactor thread."""

from __future__ import annotations

from typing import Any

from twisted.python.failure import Failure
from twisted.web.resource import IResource, getChildForRequest
from twisted.web.server import NOT_DONE_YET, Request, Site

from twistserve.http.response import PLAIN
from twistserve.resources.channel import Channel, UpgradeError


class MountedSite(Site):
    """The site of twisted.web that mounted resources see: it has their sessions, which this process alone knows.

    `depth` is how many segments of the path come before those that the resource's children have.
    """

    def __init__(self, resource: IResource, depth: int, reactor: Any) -> None:
        super().__init__(resource, reactor=reactor)
        self._depth = depth

    def getResourceFor(self, request: Any) -> Any:
        """The resource or that one of its children."""
        request.prepath, request.postpath = request.postpath[: self._depth], request.postpath[self._depth :]
        request.site = self
        request.sitepath = list(request.prepath)
        return getChildForRequest(self.resource, request)


class MountedRequest(Request):
    """A request whose response goes out over one of our connections."""

    def __init__(self, channel: Channel) -> None:
        super().__init__(channel)
        self._channel = channel
        self._finishing = False

    def render(self, resrc: Any) -> None:
        """Ask a resource to render itself."""
        super().render(_BytesAlone(resrc))

    def write(self, data: bytes) -> None:
        """Write a piece of the body; the first one begins the response."""
        super().write(data)
        if not self._finishing:
            self._channel.flush()

    def finish(self) -> None:
        """The response is complete. No effect once the client has left: a proxied response may end after that."""
        if not self._disconnected:
            self._finishing = True
            super().finish()

    def processingFailed(self, reason: Failure) -> Failure:
        """Log what the resource has raised, and respond by 500, or break off what has begun.

        An upgrade that cannot be made is the client's fault: 400.
        """
        if self._channel.failed(reason):
            refused = reason.check(UpgradeError) is not None
            body = f"No WebSocket: {reason.value}.\n".encode() if refused else b"The resource failed.\n"
            for name in [name for name, _ in self.responseHeaders.getAllRawHeaders()]:
                self.responseHeaders.removeHeader(name)
            self._encoder = None
            self.lastModified = self.etag = None
            self.cookies = []
            self.setResponseCode(400 if refused else 500)
            self.setHeader(b"Content-Type", PLAIN)
            self.setHeader(b"Content-Length", b"%d" % len(body))
            if self.producer is not None:
                self.unregisterProducer()
            self.write(body)
            self.finish()
        return reason


class _BytesAlone:
    """A resource that raises where twisted.web would send its own internals, and log nothing."""

    def __init__(self, resource: Any) -> None:
        self._resource = resource

    def render(self, request: Any) -> Any:
        body = self._resource.render(request)
        if body is not NOT_DONE_YET and not isinstance(body, bytes):
            raise TypeError(f"{self._resource!r} returned a {type(body).__name__} where twisted.web wants bytes")
        return body
