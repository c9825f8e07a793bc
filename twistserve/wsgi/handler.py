"""From a request to WSGI and back (PEP 3333).

The reactor thread owns the request; a request thread owns the environ and the iterator. The only door
between them is `callFromThread`: an answer that is one block of known length crosses at once, a streaming
one block by block, held back while the client reads slower than the application writes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from threading import get_ident
from typing import Any

from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from twistserve.files.cache import OpenFile
from twistserve.files.file_threads import FileThreads
from twistserve.files.sendfile import send_file
from twistserve.http.access_log import escape
from twistserve.http.deadlines import Deadline, Deadlines
from twistserve.http.request import Request
from twistserve.logs import get_logger
from twistserve.logs.context import served, serving
from twistserve.metrics import catalogue as metrics
from twistserve.threads.pool import RequestThreadPool
from twistserve.threads.reactor_queue import ReactorQueue
from twistserve.threads.stacks import stack_of, where
from twistserve.wsgi.environ import EnvironMaker
from twistserve.wsgi.file_wrapper import FileWrapper
from twistserve.wsgi.flow_control import ClientGone, FlowControl
from twistserve.wsgi.response_head import field_line, known_fields, status_line

logger = get_logger(__name__)

Application = Callable[[dict[str, Any], Callable[..., Any]], Any]


# Hop-by-hop fields, which PEP 3333 forbids applications, and those the channel sends.
class DjangoResource(Resource):
    """Runs every request below it through a WSGI application on the request threads."""

    isLeaf = True

    def __init__(
        self,
        application: Application,
        pool: RequestThreadPool,
        returns: ReactorQueue,
        environs: EnvironMaker,
        deadlines: Deadlines | None = None,
        file_threads: FileThreads | None = None,
    ) -> None:
        super().__init__()
        self.application = application
        self.pool = pool
        self.reply, self.wake_reactor = returns.put, returns.wake_reactor
        self.environs = environs
        self.deadlines = deadlines
        self.file_threads = file_threads

    def render(self, request: Request) -> int:
        """Queue the request, or say that too many wait; reactor thread."""
        request.handler = "django"
        self.environs.prepare(request)
        exchange = Exchange(self, request)
        request.exchange = exchange
        if self.deadlines is not None:
            self.deadlines.begin(exchange)
        if not self.pool.submit(exchange):
            exchange.turned_away()
        return NOT_DONE_YET

    def serving(self) -> dict[int, str]:
        """The request line of what each thread is at; callable from any thread."""
        return {thread: job.line for thread, job in self.pool.at_work().items() if isinstance(job, Exchange)}


class Exchange:
    """One request and its answer: a job for the pool.

    The call and what it calls belong to the request thread, `_on_...` to the reactor.
    """

    _flow: FlowControl | None = None
    _gone = False
    _status = 0
    _lines: list[bytes] | None = None
    """The head of the answer, once start_response was called."""
    _length: int | None = None
    _sent = 0
    _begun = False
    _finished = False
    _bodiless = False
    _given_up = False
    _thread = 0
    """The thread that runs it, once one does."""
    deadline = Deadline(time.time)
    """Infinitely far, unless requests have one."""

    def __init__(self, resource: DjangoResource, request: Request) -> None:
        self._resource = resource
        self._reply = resource.reply
        self._request = request
        # Taken now: a request whose client leaves closes the body it still has.
        self._body = request.take_body()

    @property
    def line(self) -> str:
        """The request line, for people."""
        return f"{escape(self._request.method)} {escape(self._request.uri)}"

    @property
    def request(self) -> Request:
        """What is answered; the reactor thread's."""
        return self._request

    def stage(self, at_work: bool) -> str:
        """How far it has come, in a word, when a thread is `at_work` on it or not. Reactor thread."""
        if not at_work:
            return "sending" if self._thread else "waiting"
        if not self.deadline.remaining():
            return "overdue"
        if self._gone:
            return "abandoned"
        return "closing" if self._finished else "running"

    def client_left(self) -> None:
        """The connection is gone: do not start, or stop as soon as something is to be sent. Reactor thread."""
        self._gone = True
        if self._flow is not None:
            self._flow.stopProducing()
        if self._resource.pool.withdraw(self):
            self._over()

    def turned_away(self) -> None:
        """As many requests wait as may. Reactor thread."""
        self._over()
        self._request.site.count(metrics.rejected_requests.labels("queue_full"))
        self._request.fail(503, b"Too many requests are waiting.\n", [(b"Retry-After", b"1")])

    def timed_out(self) -> None:
        """The deadline has passed: answer in the application's place, whose answer is discarded. Reactor thread."""
        if self._given_up:
            return
        self._given_up = True
        request = self._request
        request.site.count(metrics.request_timeouts)
        if not self._thread:
            request.queue_time = time.perf_counter() - request.received_at
        place = f"its thread stands at\n{stack_of(self._thread)}" if self._thread else "it waited for a thread"
        self._resource.pool.give_up(self)
        age = time.perf_counter() - request.received_at
        with serving(request):
            logger.error("request timed out after %.1f s: %s; %s", age, self.line, place)
        if self._gone or self._finished:
            return
        self.client_left()
        request.exchange = None
        if request.startedWriting:
            request.abort()
        else:
            request.fail(504, b"The application did not answer in time.\n")

    def where(self) -> str:
        """Where the application stands, in one line; callable from any thread."""
        return where(self._thread) if self._thread else "waiting for a thread"

    # The request thread

    def __call__(self) -> None:
        """Call the application and send what it answers."""
        request = self._request
        request.queue_time = time.perf_counter() - request.received_at
        served.set(request)
        try:
            if self._gone:
                return
            if self._resource.deadlines is not None and not self.deadline.remaining():
                # It has waited for too long, and the reactor has not come to it yet.
                self._reply(self.timed_out)
                return
            self._thread = get_ident()
            self._iterate()
        except ClientGone:
            pass
        except BaseException:
            logger.exception("the application failed: %s", self.line)
            if not self._finished:
                self._reply(self._on_failed)
        finally:
            served.set(None)
            self._over()

    def _over(self) -> None:
        """Nothing more will be done with the request; in whichever thread that turns out."""
        self._body.close()
        if self._resource.deadlines is not None:
            self._resource.deadlines.done(self)

    def _iterate(self) -> None:
        resource = self._resource
        environ = resource.environs.make(self._request, self._body)
        environ["twistserve.deadline"] = self.deadline
        blocks = resource.application(environ, self._start_response)
        try:
            if isinstance(blocks, FileWrapper) and self._send_file(blocks):
                return
            only_one = isinstance(blocks, (list, tuple)) and len(blocks) == 1
            for block in blocks:
                if only_one and self._lines is not None and not self._begun:
                    self._know_length(len(block))
                self._write(block)
                if self._bodiless and self._finished:
                    break
            self._end()
        finally:
            close = getattr(blocks, "close", None)
            if close is not None:
                close()

    def _send_file(self, wrapper: FileWrapper) -> bool:
        """Hand a real file to the reactor, which needs no thread to send it; False if it must be iterated."""
        if self._lines is None or self._begun or self._bodiless:
            return False
        part = wrapper.open_part()
        if part is None:
            return False
        descriptor, offset, size = part
        self._know_length(size)
        if self._length is None or self._length > size:
            os.close(descriptor)
            return False
        self._begun = self._finished = True
        self._reply(self._on_file, b"".join(self._lines), descriptor, offset, self._length)
        return True

    def _know_length(self, length: int) -> None:
        if self._length is None and self._lines is not None and self._status not in (204, 304):
            self._length = length
            self._lines.append(b"Content-Length: %d\r\n" % length)

    def _start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], None]:
        if exc_info is not None:
            try:
                if self._begun:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
        elif self._lines is not None:
            raise RuntimeError("start_response was called twice without exc_info")
        code, line = status_line(status)
        lines = [line]
        length: int | None = None
        for field in headers:
            known = known_fields.get(field)
            if known is None:
                known = field_line(*field)
            lines.append(known[0])
            if known[1] is not None:
                if length is not None:
                    raise ValueError("start_response: there is more than one Content-Length")
                length = known[1]
        if code == 204 and length is not None:
            # Not even of nothing (RFC 9110 section 8.6), which is what Django's CommonMiddleware says.
            lines = [each for each in lines if each[:15].lower() != b"content-length:"]
            length = None
        self._status, self._lines, self._length = code, lines, length
        self._bodiless = code in (204, 304) or self._request.method == b"HEAD"
        return self._write

    def _write(self, block: bytes) -> None:
        if self._lines is None:
            raise RuntimeError("the application wrote before calling start_response")
        if not isinstance(block, bytes):
            raise TypeError(f"the application returned a {type(block).__name__} where PEP 3333 wants bytes")
        if not block:
            return
        if self._bodiless:
            # The head is all there is to send, and the body may never end.
            self._end()
            return
        size = len(block)
        if self._length is not None:
            if self._length == size and not self._begun:
                self._begun = self._finished = True
                self._sent = size
                self._reply(self._on_complete, b"".join(self._lines), block)
                return
            if self._sent + size > self._length:
                logger.error("%r: the answer is longer than its Content-Length; cut off", self._request.uri)
                size = self._length - self._sent
                block = block[:size]
                if not block:
                    return
        self._sent += size
        if self._flow is None:
            self._flow = FlowControl(self._resource.wake_reactor)
            self._flow.gone = self._gone
        tell = self._flow.put(block)
        if not self._begun:
            self._begun = True
            self._reply(self._on_begin, b"".join(self._lines))
        elif tell:
            self._reply(self._on_blocks)
            self._resource.wake_reactor()

    def _end(self) -> None:
        if self._finished:
            return
        if self._lines is None:
            raise RuntimeError("the application returned without calling start_response")
        if not self._begun and not self._bodiless:
            self._know_length(0)
            if self._length:
                raise RuntimeError(f"the answer has no body where its Content-Length says {self._length}")
        # First, for from here on it is too late to answer otherwise.
        self._finished = True
        if self._begun:
            self._reply(self._on_end)
        else:
            self._begun = True
            self._reply(self._on_complete, b"".join(self._lines), b"")

    # The reactor thread

    def _on_complete(self, head: bytes, body: bytes) -> None:
        if not self._gone:
            self._request.send(self._status, head, body)

    def _on_file(self, head: bytes, descriptor: int, offset: int, length: int) -> None:
        if self._gone:
            os.close(descriptor)
            return
        self._request.send_head(self._status, head)
        send_file(self._request, OpenFile(descriptor, offset + length), offset, length, self._resource.file_threads)

    def _on_begin(self, head: bytes) -> None:
        if not self._gone:
            self._request.send_head(self._status, head)
            self._request.registerProducer(self._flow, True)
        self._on_blocks()

    def _on_blocks(self) -> None:
        assert self._flow is not None
        if self._gone:
            self._flow.stopProducing()
        else:
            self._request.write(self._flow.take())

    def _on_end(self) -> None:
        if self._gone:
            return
        if self._length is not None and self._sent < self._length:
            with serving(self._request):
                logger.error("%r: the answer ended after %d of %d bytes", self._request.uri, self._sent, self._length)
            self._request.abort()
            return
        self._request.unregisterProducer()
        self._request.finish()

    def _on_failed(self) -> None:
        if self._gone:
            return
        if self._request.startedWriting:
            self._request.abort()
        else:
            self._request.fail(500, b"The application failed.\n")
