"""The request, as twisted.web's resources know it, with everything that not every request needs made on demand."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property
from io import BytesIO
from typing import IO, Any, Protocol
from urllib.parse import parse_qs, unquote_to_bytes

from twisted.python.failure import Failure
from twisted.web import server
from twisted.web.http_headers import Headers

from twistserve.http.response import RawHeaders, make_head, plain_text


def _request_headers(request: Request) -> Headers:
    headers = Headers()
    for name, value in request.raw_headers:
        headers.addRawHeader(name, value)
    return headers


def _arguments(request: Request) -> dict[bytes, list[bytes]]:
    return parse_qs(request.uri.partition(b"?")[2], keep_blank_values=True)


# What twisted.web makes for every request when it is constructed, and a Django view never looks at.
_ON_DEMAND: dict[str, Callable[[Any], Any]] = {
    "requestHeaders": _request_headers,
    "responseHeaders": lambda request: Headers(),
    "received_cookies": lambda request: {},
    "cookies": lambda request: [],
    "notifications": lambda request: [],
    "client": lambda request: request.channel.getPeer(),
    "host": lambda request: request.channel.getHost(),
    "transport": lambda request: request.channel.transport,
    "_adapterCache": lambda request: {},
    "_args": _arguments,
}


class Exchange(Protocol):
    """The way of a request through another thread."""

    def client_left(self) -> None:
        """The client has left. Reactor thread."""

    def where(self) -> str:
        """Where it stands, in one line."""


class Request(server.Request):
    """One request and its answer; the reactor thread's.

    Forms are not parsed here: a body belongs to the resource. What `server.Request` keeps as attributes
    and few resources read is made when it is first asked for.
    """

    defaultContentType = None
    queued = 0
    handler = "none"
    """What responds, as a metric's label: django, static, media."""
    received_at = 0.0
    """When the last byte of the request had arrived, by `time.perf_counter`."""
    depth = 0
    """How many segments of the path are the prefix that led to the resource."""
    body_length = 0
    has_body = False
    request_id: bytes = b""
    remote: str = "-"
    """The client's address, as a trusted proxy forwarded it."""
    duration = 0.0
    """Seconds from the last byte of the request until its answer was given, once it was."""
    queue_time = 0.0
    """Seconds the request waited for a thread."""
    exchange: Exchange | None = None
    """What answers it on another thread, if something does."""
    raw_headers: RawHeaders
    method: bytes
    uri: bytes
    path: bytes
    clientproto: bytes = b"HTTP/1.1"
    content: IO[bytes] | None
    channel: Any
    site: Any
    sentLength: int

    def __init__(self, channel: Any, *arguments: object, **keywords: object) -> None:
        # Without super().__init__(): it would make each of _ON_DEMAND.
        self.channel = channel

    # twisted.web's are written in Python, and every look-up in the set of requests calls one.
    __hash__ = object.__hash__
    __eq__ = object.__eq__

    def __getattr__(self, name: str) -> Any:
        make = _ON_DEMAND.get(name)
        if make is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        value = self.__dict__[name] = make(self)
        return value

    @property
    def args(self) -> dict[bytes, list[bytes]]:
        """The query's arguments."""
        arguments: dict[bytes, list[bytes]] = self._args
        return arguments

    @args.setter
    def args(self, value: dict[bytes, list[bytes]]) -> None:
        self._args = value

    def begin(self) -> None:
        """The request is complete, its body in `content`: answer it."""
        self.received_at = time.perf_counter()
        self.process()

    def process(self) -> None:
        """Count the request, find its resource and render it."""
        site = self.site = self.channel.site
        site.begin(self)
        try:
            if self.path == b"*":
                self._handleStar()
            else:
                self.render(site.getResourceFor(self))
        except BaseException:
            self.processingFailed(Failure())

    @cached_property
    def segments(self) -> list[bytes]:
        """The parts of the path, decoded."""
        parts = self.path[1:].split(b"/")
        return [unquote_to_bytes(part) for part in parts] if b"%" in self.path else parts

    @cached_property
    def prepath(self) -> list[bytes]:  # type: ignore[override]
        """The segments that led to the resource."""
        return self.segments[: self.depth]

    @cached_property
    def postpath(self) -> list[bytes]:  # type: ignore[override]
        """The segments that are the resource's to look at."""
        return self.segments[self.depth :]

    def take_body(self) -> IO[bytes]:
        """Hand over the body, at its start; the caller closes it. Once."""
        body = self.content
        self.content = None
        return body if body is not None else BytesIO()

    def send(self, status: int, head: bytes, body: bytes) -> None:
        """The whole answer at once: `head` as `make_head` makes it, with the length of the body."""
        if self._disconnected:
            return
        self.code = status
        channel = self.channel
        self.startedWriting = 1
        self.sentLength = len(body)
        channel.respond(self, head, body)
        channel.site.log(self)
        self.finished = 1
        if self.content is not None:
            self.content.close()
            self.content = None
        for waiter in self.__dict__.pop("notifications", ()):
            waiter.callback(None)
        channel.requestDone(self)

    def send_head(self, status: int, head: bytes) -> None:
        """The head of an answer that `write` and `finish` complete."""
        status_line, *lines = head.split(b"\r\n")[:-1]
        self.setResponseCode(status, status_line.split(b" ", 2)[2])
        for line in lines:
            name, _, value = line.partition(b": ")
            self.responseHeaders.addRawHeader(name, value)
        self.write(b"")

    def fail(self, status: int, body: bytes, headers: RawHeaders | None = None) -> None:
        """Respond with an error, in plain text."""
        fields = [*(headers or ()), *plain_text(body)]
        self.send(status, make_head(status, fields), b"" if self.method == b"HEAD" else body)

    def abort(self) -> None:
        """Break the answer off by ending the connection; counted as status 500, whatever was sent before."""
        if not self._disconnected:
            self.code = 500
            self.channel.site.log(self)
            self.channel.abortConnection()

    def connectionLost(self, reason: Failure) -> None:
        """The client went away before the answer was complete."""
        site = self.channel.site
        super().connectionLost(reason)
        if self.exchange is not None:
            self.exchange.client_left()
        site.lost(self)


def target_path(uri: bytes) -> bytes:
    """The path of a request target in origin- or absolute-form (RFC 9112 section 3.2)."""
    path = uri.partition(b"?")[0]
    if path[:1] in (b"/", b"*"):
        return path
    return b"/" + path.partition(b"://")[2].partition(b"/")[2]
