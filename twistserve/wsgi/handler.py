"""From a request to WSGI and back (PEP 3333).

The reactor thread owns the request; a request thread owns the environ and the iterator, and of the request only reads
what was received. The only door between them is the reactor queue: a response that is one block of known length crosses
at once, a streaming one block by block, held back while the client reads slower than the application writes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from threading import get_ident
from typing import Any

from twistserve.files.cache import OpenFile
from twistserve.files.file_threads import FileThreads
from twistserve.files.sendfile import FileTransfer
from twistserve.http.access_log import escape
from twistserve.http.deadlines import Deadline, Deadlines
from twistserve.http.request import Request
from twistserve.http.response import Field, Response, content_length, error
from twistserve.logs import get_logger
from twistserve.logs.containment import contain
from twistserve.logs.context import served, serving
from twistserve.metrics import catalogue as metrics
from twistserve.threads.pool import RequestThreadPool
from twistserve.threads.reactor_queue import ReactorQueue
from twistserve.threads.stacks import stack_of, where
from twistserve.wsgi.environ import EnvironMaker
from twistserve.wsgi.file_wrapper import FileWrapper
from twistserve.wsgi.flow_control import ClientGone, FlowControl
from twistserve.wsgi.response_head import checked_field, checked_status, known_fields, known_statuses

logger = get_logger(__name__)

Application = Callable[[dict[str, Any], Callable[..., Any]], Any]


class DjangoHandler:
    """Runs every request through a WSGI application on the request threads."""

    def __init__(
        self,
        application: Application,
        pool: RequestThreadPool,
        returns: ReactorQueue,
        environs: EnvironMaker,
        deadlines: Deadlines | None = None,
        file_threads: FileThreads | None = None,
        make_call: type[Call] | None = None,
    ) -> None:
        self._make_call = make_call or Call
        self.application = application
        self.pool = pool
        self.reply, self.wake_reactor = returns.put, returns.wake_reactor
        self.environs = environs
        self.deadlines = deadlines
        self.file_threads = file_threads

    def __call__(self, request: Request) -> None:
        """Queue the request, or say that too many wait; reactor thread."""
        request.handler = "django"
        call = self._make_call(self, request, self.environs.prepare(request))
        request.pending = call
        if self.deadlines is not None:
            self.deadlines.begin(call)
        if not self.pool.submit(call):
            call.turned_away()

    def serving(self) -> dict[int, str]:
        """The request line of what each thread is at; callable from any thread."""
        return {thread: job.line for thread, job in self.pool.at_work().items() if isinstance(job, Call)}


class Call:
    """One request's call of the application: a job for the pool.

    `__call__` and what it calls belong to the request thread, `_on_...` to the reactor.
    """

    _flow: FlowControl | None = None
    _gone = False
    _status = 0
    _line = b""
    _fields: list[Field] | None = None
    """The head of the response, once start_response was called."""
    _length: int | None = None
    _request_id = b""
    """The application's own: the first that says something."""
    _sent = 0
    _begun = False
    _finished = False
    _bodiless = False
    _timed_out = False
    _started_at = 0.0
    """When a thread began with it, by `time.perf_counter`."""
    _thread = 0
    """The thread that runs it, once one does."""
    deadline = Deadline(time.time)
    """Infinitely far, unless requests have one."""

    def __init__(self, handler: DjangoHandler, request: Request, common: dict[str, Any]) -> None:
        self._handler = handler
        self._common = common
        self._reply = handler.reply
        self.request = request
        assert request.body is not None
        # Taken now: a request whose client leaves closes the body that it still has.
        self._body, request.body = request.body, None

    @property
    def line(self) -> str:
        """The request line, for people."""
        return f"{escape(self.request.method)} {escape(self.request.target)}"

    def stage(self, at_work: bool) -> str:
        """How far it has come, in a word, when a thread is `at_work` on it or not. Reactor thread."""
        if not at_work:
            return "sending" if self._thread else "waiting"
        if not self.deadline.remaining():
            return "overdue"
        if self._gone:
            return "abandoned"
        return "closing" if self._finished else "running"

    def given_up(self) -> None:
        """The connection is gone: do not start, or stop as soon as something is to be sent. Reactor thread."""
        self._note_queue_time()
        self._stop()

    def _stop(self) -> None:
        self._gone = True
        if self._flow is not None:
            self._flow.stopProducing()
        if self._handler.pool.withdraw(self):
            self._over()

    def is_waiting(self) -> bool:
        """Whether no thread has begun with it."""
        return not self._started_at

    def turned_away(self) -> None:
        """As many requests wait as may. Reactor thread."""
        self._over()
        contain(metrics.rejected_requests.labels("queue_full").inc)
        self.request.connection.respond(error(503, b"Too many requests are waiting.\n"))

    def timed_out(self) -> None:
        """The deadline has passed: respond in the application's place, whose response is discarded. Reactor thread."""
        if self._timed_out:
            return
        self._timed_out = True
        request = self.request
        contain(metrics.request_timeouts.inc)
        place = f"its thread stands at\n{stack_of(self._thread)}" if self._thread else "it waited for a thread"
        self._handler.pool.give_up(self)
        age = time.perf_counter() - request.received_at
        if not self._thread:
            request.queue_time = age
        with serving(request):
            logger.error("request timed out after %.1f s: %s; %s", age, self.line, place)
        if self._gone or self._finished:
            return
        self._stop()
        request.pending = None
        self._fail(error(504, b"The application did not answer in time.\n"))

    def where(self) -> str:
        """Where the application stands, in one line; callable from any thread."""
        return where(self._thread) if self._thread else "waiting for a thread"

    # The request thread

    def __call__(self) -> None:
        """Call the application and send its response."""
        self._started_at = time.perf_counter()
        served.set(self.request)
        try:
            if self._gone:
                return
            if self._handler.deadlines is not None and not self.deadline.remaining():
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
        if self._handler.deadlines is not None:
            self._handler.deadlines.done(self)

    def _iterate(self) -> None:
        handler = self._handler
        environ = handler.environs.make(self.request, self._body, self._common)
        environ["twistserve.deadline"] = self.deadline
        blocks = handler.application(environ, self._start_response)
        try:
            if isinstance(blocks, FileWrapper) and self._send_file(blocks):
                return
            only_one = isinstance(blocks, (list, tuple)) and len(blocks) == 1
            for block in blocks:
                if only_one and self._length is None and not self._begun:
                    self._know_length(len(block))
                self._write(block)
                if self._bodiless and self._finished:
                    break
            if not self._finished:
                self._end()
        finally:
            close = getattr(blocks, "close", None)
            if close is not None:
                close()

    def _send_file(self, wrapper: FileWrapper) -> bool:
        """Hand a real file to the reactor, which needs no thread to send it; False if it must be iterated."""
        if self._fields is None or self._begun or self._bodiless:
            return False
        part = wrapper.open_part()
        if part is None:
            return False
        descriptor, offset, size = part
        self._know_length(size)
        if self._length is None or self._length > size:
            os.close(descriptor)
            return False
        self._finished = True
        file = OpenFile(descriptor, offset + self._length)
        self._begin(producer=FileTransfer(file, offset, self._length, self._handler.file_threads))
        return True

    def _know_length(self, length: int) -> None:
        if self._length is None and self._fields is not None and self._status not in (204, 304):
            self._length = length
            self._fields.append(content_length(length))

    def _start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], None]:
        if exc_info is not None:
            try:
                if self._begun:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
        elif self._fields is not None:
            raise RuntimeError("start_response was called twice without exc_info")
        code, line = known_statuses.get(status) or checked_status(status)
        fields: list[Field] = []
        length: int | None = None
        # Anew: of a head that is replaced nothing is sent.
        self._request_id = b""
        for header in headers:
            known = known_fields.get(header)
            if known is None:
                known = checked_field(*header)
                if known[0] is not None and known[0].name == b"x-request-id":
                    if self._request_id or not known[0].value:
                        continue
                    self._request_id = known[0].value
            field, number = known
            if number is not None:
                if length is not None:
                    raise ValueError("start_response: there is more than one Content-Length")
                if code == 204:
                    # Not even of nothing (RFC 9110 section 8.6), which is what Django's CommonMiddleware says.
                    continue
                length = number
            if field is not None:
                fields.append(field)
        self._status, self._line, self._fields, self._length = code, line, fields, length
        self._bodiless = code in (204, 304) or self.request.method == b"HEAD"
        return self._write

    def _write(self, block: bytes) -> None:
        if self._fields is None:
            raise RuntimeError("the application wrote before calling start_response")
        if not isinstance(block, bytes):
            raise TypeError(f"the application returned a {type(block).__name__} where PEP 3333 wants bytes")
        if not block:
            return
        if self._bodiless:
            # The head is all there is to send, and the body may never end.
            if not self._finished:
                self._end()
            return
        size = len(block)
        if self._length is not None:
            if self._length == size and not self._begun:
                self._finished = True
                self._sent = size
                self._begin(block)
                return
            if self._sent + size > self._length:
                logger.error("%r: the response is longer than its Content-Length; cut off", self.request.target)
                size = self._length - self._sent
                block = block[:size]
                if not block:
                    return
        self._sent += size
        if self._flow is None:
            self._flow = FlowControl(self._handler.wake_reactor, self._gone)
            self._begin(block, self._flow)
        elif self._flow.put(block):
            self._reply(self._on_blocks)
            self._handler.wake_reactor()

    def _begin(self, body: bytes = b"", producer: Any = None) -> None:
        """Send the head, and the body or its first part."""
        assert self._fields is not None
        self._begun = True
        response = Response(
            self._status,
            self._fields,
            body,
            producer=producer,
            length=self._length,
            line=self._line,
            request_id=self._request_id,
        )
        self._reply(self._on_response, response)

    def _end(self) -> None:
        if self._fields is None:
            raise RuntimeError("the application returned without calling start_response")
        if not self._begun and not self._bodiless:
            self._know_length(0)
            if self._length:
                raise RuntimeError(f"the response has no body where its Content-Length says {self._length}")
        # First, for from here on it is too late to respond otherwise.
        self._finished = True
        if self._begun:
            self._reply(self._on_end)
        else:
            self._begin()

    # The reactor thread

    def _note_queue_time(self) -> None:
        self.request.queue_time = (self._started_at or time.perf_counter()) - self.request.received_at

    def _on_response(self, response: Response) -> None:
        if not self._gone:
            self.request.queue_time = self._started_at - self.request.received_at
            self.request.connection.respond(response)
        elif response.producer is not None:
            response.producer.stopProducing()

    def _on_blocks(self) -> None:
        assert self._flow is not None
        if self._gone:
            self._flow.stopProducing()
        else:
            self.request.connection.write(self._flow.take())

    def _on_end(self) -> None:
        if self._gone:
            return
        if self._length is not None and self._sent < self._length:
            request = self.request
            with serving(request):
                logger.error("%r: the response ended after %d of %d bytes", request.target, self._sent, self._length)
            request.connection.abort()
        else:
            self.request.connection.end()

    def _on_failed(self) -> None:
        if not self._gone:
            self._note_queue_time()
            self._fail(error(500, b"The application failed.\n"))

    def _fail(self, response: Response) -> None:
        """Respond by an error if nothing was sent yet."""
        if self.request.status:
            self.request.connection.abort()
        else:
            self.request.connection.respond(response)
