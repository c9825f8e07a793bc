"""From a request to WSGI and back (PEP 3333).

The reactor thread owns the request; a request thread owns the environ and the iterator. The only door
between them is `callFromThread`: an answer that is one block of known length crosses in one call, a
streaming one block by block, held back while the client reads slower than the application writes.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import time
from collections.abc import Callable
from typing import IO, Any
from wsgiref.util import FileWrapper

from twisted.internet.interfaces import IPushProducer
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from twistserve.metrics import request_queue
from twistserve.web.site import Request
from twistserve.web.threads import RequestThreadPool

logger = logging.getLogger(__name__)

Application = Callable[[dict[str, Any], Callable[..., Any]], Any]
CallFromThread = Callable[..., Any]
Headers = list[tuple[bytes, bytes]]

HIGH_WATER = 65536
"""Bytes of a streamed answer that may be on their way to the reactor before the application has to wait."""

# Hop-by-hop fields, which PEP 3333 forbids applications: the channel decides about the connection.
_HOP_BY_HOP = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_UNSAFE = re.compile(r"[\x00\r\n]")


class ClientGone(Exception):
    """The client left; raised in the request thread to end the iteration, never shown to anyone."""


class DjangoResource(Resource):
    """Runs every request below it through a WSGI application on the request threads."""

    isLeaf = True

    def __init__(self, application: Application, pool: RequestThreadPool, call_from_thread: CallFromThread) -> None:
        super().__init__()
        self._application = application
        self._pool = pool
        self._call_from_thread = call_from_thread

    def render(self, request: Request) -> int:
        """Queue the request; reactor thread."""
        request.handler = "django"
        exchange = Exchange(self._application, request, self._call_from_thread)
        self._pool.submit(exchange.run)
        return NOT_DONE_YET


def make_environ(request: Request, body: IO[bytes], length: int) -> dict[str, Any]:
    """The PEP 3333 environ of a request whose body is complete and `length` bytes long."""
    path, _, query = request.uri.partition(b"?")
    if not path.startswith((b"/", b"*")):  # absolute-form, RFC 9112 section 3.2.2
        path = b"/" + path.split(b"//", 1)[-1].partition(b"/")[2]
    peer, host = request.client, request.host
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method.decode("latin-1"),
        "SCRIPT_NAME": "",
        "PATH_INFO": _unquote(path).decode("latin-1"),
        "QUERY_STRING": query.decode("latin-1"),
        "SERVER_NAME": getattr(host, "host", "localhost"),
        "SERVER_PORT": str(getattr(host, "port", 0)),
        "SERVER_PROTOCOL": request.clientproto.decode("latin-1"),
        "REMOTE_ADDR": getattr(peer, "host", ""),
        "REMOTE_PORT": str(getattr(peer, "port", "")),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "https" if request.isSecure() else "http",
        "wsgi.input": body,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
        "wsgi.file_wrapper": FileWrapper,
    }
    for raw_name, values in request.requestHeaders.getAllRawHeaders():
        name = raw_name.decode("latin-1").upper()
        # An underscore could pose as another field's dash, and HTTP_PROXY steers HTTP clients (httpoxy).
        if "_" in name or name == "PROXY":
            continue
        separator = b"; " if name == "COOKIE" else b","
        environ["HTTP_" + name.replace("-", "_")] = separator.join(values).decode("latin-1")
    # The body is complete, so the length is known for a chunked one too.
    environ.pop("HTTP_CONTENT_LENGTH", None)
    environ["CONTENT_LENGTH"] = str(length) if length or request.has_body else ""
    environ["CONTENT_TYPE"] = environ.pop("HTTP_CONTENT_TYPE", "")
    return environ


def _unquote(path: bytes) -> bytes:
    if b"%" not in path:
        return path
    return re.sub(rb"%([0-9A-Fa-f]{2})", lambda match: bytes((int(match[1], 16),)), path)


@implementer(IPushProducer)
class FlowControl:
    """Makes the request thread wait while the transport is full.

    The reactor calls the producer methods; the thread calls `reserve` before each block it hands over.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._paused = False
        self._pending = 0
        self.gone = False

    def reserve(self, size: int) -> None:
        """Wait until the reactor can take `size` more bytes. Raises `ClientGone`."""
        with self._changed:
            while (self._paused or self._pending > HIGH_WATER) and not self.gone:
                self._changed.wait()
            if self.gone:
                raise ClientGone
            self._pending += size

    def written(self, size: int) -> None:
        """Account for bytes that the reactor has taken."""
        with self._changed:
            self._pending -= size
            self._changed.notify()

    def pauseProducing(self) -> None:
        """The transport is full."""
        with self._changed:
            self._paused = True

    def resumeProducing(self) -> None:
        """The transport has room."""
        with self._changed:
            self._paused = False
            self._changed.notify()

    def stopProducing(self) -> None:
        """The client is gone."""
        with self._changed:
            self.gone = True
            self._changed.notify()


class Exchange:
    """One request and its answer. `run` and what it calls belong to the request thread, `_on_...` to the reactor."""

    def __init__(self, application: Application, request: Request, call_from_thread: CallFromThread) -> None:
        self._application = application
        self._request = request
        self._call_from_thread = call_from_thread
        self._flow = FlowControl()
        self._queued_at = time.perf_counter()
        self._environ = make_environ(request, request.take_body(), request.body_length)
        self._head: tuple[int, bytes, Headers] | None = None
        self._length: int | None = None
        self._sent = 0
        self._begun = False
        self._finished = False
        self._bodiless = False
        request.notifyFinish().addErrback(lambda failure: self._flow.stopProducing())

    # The request thread

    def run(self) -> None:
        """Call the application and send what it answers."""
        request_queue.observe(time.perf_counter() - self._queued_at)
        if self._flow.gone:
            self._environ["wsgi.input"].close()
            return
        try:
            self._iterate()
        except ClientGone:
            pass
        except BaseException:
            logger.exception(
                "the application failed: %s %s", self._environ["REQUEST_METHOD"], self._environ["PATH_INFO"]
            )
            if not self._finished:
                self._reply(self._on_failed)
        finally:
            self._environ["wsgi.input"].close()

    def _iterate(self) -> None:
        blocks = self._application(self._environ, self._start_response)
        try:
            try:
                only_one = len(blocks) == 1
            except TypeError:
                only_one = False
            for block in blocks:
                if only_one and self._head is not None and not self._begun:
                    self._know_length(len(block))
                self._write(block)
            if self._head is None:
                raise RuntimeError("the application returned without calling start_response")
            self._end()
        finally:
            close = getattr(blocks, "close", None)
            if close is not None:
                close()

    def _know_length(self, length: int) -> None:
        assert self._head is not None
        if self._length is None and self._head[0] >= 200 and self._head[0] not in (204, 304):
            self._length = length
            self._head[2].append((b"Content-Length", b"%d" % length))

    def _start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], None]:
        if exc_info is not None:
            try:
                if self._begun:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
        elif self._head is not None:
            raise RuntimeError("start_response was called twice without exc_info")
        self._length = None
        self._head = _parse_head(status, headers)
        self._bodiless = self._request.method == b"HEAD" or self._head[0] < 200 or self._head[0] in (204, 304)
        for name, value in self._head[2]:
            if name.lower() == b"content-length":
                self._length = int(value)
        return self._write

    def _write(self, block: bytes) -> None:
        if self._head is None:
            raise RuntimeError("the application wrote before calling start_response")
        if not isinstance(block, bytes):
            raise TypeError(f"the application returned a {type(block).__name__} where PEP 3333 wants bytes")
        if not block or self._bodiless:
            return
        if self._length is not None and self._sent + len(block) > self._length:
            logger.error("%s: the answer is longer than its Content-Length; cut off", self._request.uri)
            block = block[: self._length - self._sent]
            if not block:
                return
        self._sent += len(block)
        if not self._begun and self._sent == self._length:
            self._begun = self._finished = True
            self._reply(self._on_complete, block)
            return
        self._flow.reserve(len(block))
        head = None if self._begun else self._head
        self._begun = True
        self._reply(self._on_block, head, block)

    def _end(self) -> None:
        assert self._head is not None
        if self._finished:
            return
        if self._begun:
            self._reply(self._on_end)
        else:
            if not self._bodiless:
                self._know_length(0)
            if self._length and not self._bodiless:
                raise RuntimeError(f"the answer has no body where its Content-Length says {self._length}")
            self._begun = True
            self._reply(self._on_complete, b"")
        self._finished = True

    def _reply(self, function: Callable[..., None], *args: object) -> None:
        self._call_from_thread(function, *args)

    # The reactor thread

    def _on_complete(self, body: bytes) -> None:
        if self._flow.gone:
            return
        assert self._head is not None
        self._request.write_head(*self._head)
        self._request.write(body)
        self._request.finish()

    def _on_block(self, head: tuple[int, bytes, Headers] | None, block: bytes) -> None:
        if self._flow.gone:
            return
        if head is not None:
            self._request.write_head(*head)
            self._request.registerProducer(self._flow, True)
        self._request.write(block)
        self._flow.written(len(block))

    def _on_end(self) -> None:
        if self._flow.gone:
            return
        if self._length is not None and self._sent < self._length:
            logger.error("%s: the answer ended after %d of its %d bytes", self._request.uri, self._sent, self._length)
            self._request.abort()
            return
        self._request.unregisterProducer()
        self._request.finish()

    def _on_failed(self) -> None:
        if self._flow.gone:
            return
        if self._request.startedWriting:
            self._request.abort()
        else:
            self._request.fail(500, b"The application failed.\n")


def _parse_head(status: str, headers: list[tuple[str, str]]) -> tuple[int, bytes, Headers]:
    """Check what the application passed to start_response. Raises ValueError or TypeError."""
    match = re.fullmatch(r"([1-9]\d\d)(?: ([^\x00-\x08\x0a-\x1f\x7f]*))?", status)
    if match is None:
        raise ValueError(f"start_response: {status!r} is not a status such as '200 OK'")
    raw: Headers = []
    for name, value in headers:
        if not _TOKEN.fullmatch(name) or _UNSAFE.search(value):
            raise ValueError(f"start_response: the header {name!r}: {value!r} would break the response")
        if name.lower() == "content-length" and not (value.isascii() and value.isdigit()):
            raise ValueError(f"start_response: Content-Length {value!r} is not a number")
        if name.lower() not in _HOP_BY_HOP:
            raw.append((name.encode("latin-1"), value.encode("latin-1")))
    return int(match[1]), (match[2] or "").encode("latin-1"), raw
