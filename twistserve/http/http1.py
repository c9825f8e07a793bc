"""One HTTP/1.1 connection (RFC 9112): requests to their handler, responses back in order.

`parser` makes requests of what comes. A connection parses ahead what it has read and stops reading while a request
runs and more has come, or while its responses are not read; responses go out in the order of the requests.
"""

from __future__ import annotations

import enum
import time
from collections import deque
from collections.abc import Iterator
from itertools import repeat
from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from twistserve.http.connections import Unanswered
from twistserve.http.head import Refusal
from twistserve.http.limits import FRESH, LEFT, LINGER, QUIET
from twistserve.http.parser import RequestParser
from twistserve.http.request import Request
from twistserve.http.response import Response, error, tails
from twistserve.net.syscalls import BULK, READ
from twistserve.net.transport import Server, untaken_by_peer

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Phase(enum.Enum):
    """What a connection is at. In the first three it reads ahead, as long as what comes has room (`_paused`)."""

    WAITING = "waits for a request, or for the rest of one"
    STARTING = "hands a request to its handler"
    RESPONDING = "waits for the response, or sends it"
    LINGERING = "has sent its last response and the end, and discards what still comes"
    CLOSING = "closes when what was written is sent"


_WAITING, _STARTING, _RESPONDING = Phase.WAITING, Phase.STARTING, Phase.RESPONDING
_LINGERING, _CLOSING = Phase.LINGERING, Phase.CLOSING


@implementer(IHalfCloseableProtocol)
class Http1Connection(Protocol):
    """A connection, and what its requests' handlers respond by."""

    site: Any
    transport: Any

    deadline = 0.0
    """When the client will have been silent for too long, in reactor seconds; 0 for never."""
    fresh = True
    """Whether no request has come yet."""
    request: Request | None = None
    """The request that is being responded to."""
    environ: dict[str, Any] | None = None
    """What the environs of all its requests have in common, once there is one."""

    _phase = Phase.WAITING
    _waiting: deque[Request] | None = None
    """Requests that have come meanwhile."""
    _begun_at = 0.0
    """When, in reactor seconds, the request that arrives began to."""
    _idle_since = 0.0
    """When, in reactor seconds, the last response was complete."""
    _ended = False
    """Whether the client has ended its sending side: what it has asked for is responded to."""
    _persistent = True
    """Whether the connection goes on after the present response, as its head says."""
    _chunked = False
    """Whether its body is sent in chunks, for its length is not known."""

    _peer: Any = None
    _remote = ""
    _full = False
    """Whether the client reads more slowly than we write: nothing more is read or begun meanwhile."""
    _paused = False
    """Whether we have the transport read nothing, as it has us write nothing while it is full."""
    _progress = (0, 0)
    """How far the responses had come when the deadline passed last."""
    _producer: Any = None
    """What writes the present response as the client takes it."""
    _pulled = False
    """Whether the transport asks it for more, in our place."""

    # Protocol

    def connectionMade(self) -> None:
        """Join the site."""
        self._parser = RequestParser(self.site.limits)
        # By its type: TLS passes on attributes it does not know to the transport below it.
        eager = isinstance(self.transport, Server) and not getattr(self.transport, "TLS", False)
        self._send = self.transport.send if eager else self.transport.writeSequence
        self.transport.registerProducer(self, True)
        if hasattr(self.transport, "setTcpNoDelay"):
            self.transport.setTcpNoDelay(True)
        self._await(self.site.limits.header_timeout)
        self.site.connections.joined(self)

    def dataReceived(self, data: bytes) -> None:
        """Parse; a complete request is handled at once if none is before it."""
        parser = self._parser
        if parser.finished:
            return
        if self.request is not None or self._full:
            self._stop_reading()
        if heads := parser.feed(data):
            requests = map(Request, repeat(self), heads, repeat(self._remote or self.remote))
            if self._waiting:
                self._waiting.extend(requests)
            else:
                self._waiting = deque(requests)
                if heads[0].expects_continue and self._phase is _WAITING:
                    # Its body has come with it.
                    self._send((_CONTINUE,))
            self.transport.read_size = READ
            if self._phase is _WAITING:
                self._go_on()
        if parser.begun:
            self.fresh = False
        if parser.receiving:
            self._await_rest()
        elif parser.refusal is not None:
            self._refused(parser.refusal)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        """Tell the requests that their client is gone, and leave the site."""
        self._phase = _CLOSING
        requests = (self.request, *(self._waiting or ()))
        self.request, self._waiting = None, None
        try:
            self._parser.drop()
            for request in requests:
                if request is not None:
                    self.site.lost(request)
        finally:
            self.site.connections.left(self)

    def readConnectionLost(self) -> None:
        """The client has ended its sending side (RFC 9112 section 9.6): respond to what it has asked for, and close."""
        self._ended = True
        self._parser.drop()
        if self.request is not None:
            self._drop_if_it_waits()
        elif self._phase is not _WAITING or not (self._waiting or self._parser.refusal):
            self.loseConnection()

    def writeConnectionLost(self) -> None:
        """Our sending side is closed."""

    def _drop_if_it_waits(self) -> None:
        """Bound how long a request waits for a thread whose client may have left."""
        request = self.request
        if request is None or request.status or request.pending is None or not request.pending.is_waiting():
            return
        if (left := LEFT - (time.perf_counter() - request.received_at)) > 0:
            self._await(left)
        else:
            self.abortConnection()

    def timed_out(self) -> None:
        """The deadline has passed: say so if a request had begun, and close; abort if the client does not read."""
        if self._ended and self.request is not None and not self.request.status:
            self.deadline = 0.0
            self._drop_if_it_waits()
            return
        before, self._progress = self._progress, self._how_far()
        untaken, _ = self._progress
        if self._progress != before and (untaken or self.request is not None):
            # Slow, but it reads.
            self.extend_deadline()
        elif self.request is not None or (self._parser.finished and self._phase is not _LINGERING):
            self.abortConnection()
        elif self._phase is _LINGERING or not self._parser.receiving:
            self.loseConnection()
        else:
            refusal = Refusal(408, "timeout")
            self._parser.refuse(refusal)
            self._refused(refusal)

    def _how_far(self) -> tuple[int, int]:
        """Bytes that the client has still to take, and bytes of the present response that were sent."""
        return untaken_by_peer(self.transport), self.request.sent if self.request is not None else 0

    # What comes

    def _await_rest(self) -> None:
        """A request has begun to arrive: bound how long the rest of it may take, once it is its turn."""
        parser, limits = self._parser, self.site.limits
        if parser.begun:
            self._begun_at = self.site.clock()
        if parser.in_body:
            # Much at a time if much is to come.
            self.transport.read_size = min(max(parser.missing, READ), BULK)
        if self.request is None and self._phase is _WAITING:
            if parser.in_body:
                self._await(limits.body_timeout)
                self._invite_body()
            elif parser.begun:
                self._await(limits.header_timeout)

    def _invite_body(self) -> None:
        if self._parser.awaits_continue():
            self._send((_CONTINUE,))

    @property
    def remote(self) -> str:
        """The client's address as it is logged."""
        if not self._remote:
            # "::ffff:": an IPv4 client of a socket that serves IPv6 too.
            self._remote = (getattr(self.getPeer(), "host", None) or "-").removeprefix("::ffff:")
        return self._remote

    def unanswered(self) -> Iterator[Unanswered]:
        """The requests that have begun to arrive and that no handler has."""
        parser, now = self._parser, time.perf_counter()
        for request in self._waiting or ():
            yield request.method, request.target, now - request.received_at, "waiting for the response before it"
        if parser.receiving:
            age, part = self.site.clock() - self._begun_at, "body" if parser.in_body else "head"
            yield parser.head.method, parser.head.target, age, f"its {part} was being received"

    def _refused(self, refusal: Refusal) -> None:
        """The parser has refused what came: respond so after the requests before, and close."""
        self.site.refused(self.remote, refusal.status, refusal.reason)
        if self._phase is _WAITING and not self._waiting:
            self._send_refusal(refusal)

    def _send_refusal(self, refusal: Refusal) -> None:
        response = error(refusal.status)
        self._send((response.head, tails(False), response.body))
        self._linger()

    # Responding

    def respond(self, response: Response) -> None:
        """Respond to the present request: with all of the response in one system call, or with its beginning."""
        request = self.request
        assert request is not None
        request.status = response.status
        if self._ended:
            # It does not wait for a thread any more, and may take its time, as any other.
            self.deadline = 0.0
        last = self._parser.finished and not self._waiting and self._parser.refusal is None
        ends = last or (self.site.connections.leaving and self._nothing_follows())
        endless = response.producer is not None and response.length is None
        self._chunked = endless and request.version == "1.1"
        self._persistent = not ends and self._chunked is endless
        tail = tails(self._persistent)
        if self._chunked:
            tail = b"Transfer-Encoding: chunked\r\n" + tail
        if response.request_id:
            request.request_id = response.request_id
        elif request.request_id:
            tail = b"X-Request-ID: %b\r\n%b" % (request.request_id, tail)
        if self._persistent and request.version == "1.0":
            tail = b"Connection: keep-alive\r\n" + tail
        body = b"" if request.method == b"HEAD" else response.body
        request.sent = len(body)
        if not body:
            self._send((response.head, tail))
        elif self._chunked:
            self._send((response.head, tail, *self._framed(body)))
        else:
            self._send((response.head, tail, body))
        if response.producer is None:
            self.end()
        else:
            response.producer.begin(self)

    def _framed(self, data: bytes) -> tuple[bytes, ...]:
        """A piece of a body as it is sent (RFC 9112 section 7.1)."""
        return (b"%x\r\n" % len(data), data, b"\r\n") if self._chunked else (data,)

    def _nothing_follows(self) -> bool:
        """Whether no further request has begun to arrive, which a closing connection would lose."""
        return not self._waiting and not self._parser.receiving

    def write(self, data: bytes) -> None:
        """Send a piece of a body."""
        assert self.request is not None
        if data:
            self.request.sent += len(data)
            self._send(self._framed(data))

    def sent(self, size: int) -> None:
        """So many bytes of a body were sent past `write`."""
        assert self.request is not None
        self.request.sent += size

    def end(self) -> None:
        """The response is complete: go on with the next request, or wait for one, or close."""
        request, self.request = self.request, None
        assert request is not None
        if self._chunked:
            self._send((b"0\r\n\r\n",))
        if self._producer is not None:
            self.unregisterProducer()
        self.site.responded(request)
        if not self._persistent:
            self._waiting = None
            if self.site.connections.leaving and not self._ended:
                # The client did not ask for it, and may just be sending the next request.
                self._linger()
            else:
                self.loseConnection()
        elif self._phase is _RESPONDING:
            self._phase = _WAITING
            self._go_on()

    def abort(self) -> None:
        """Break the response off by ending the connection; counted as status 500, whatever was sent before."""
        request, self.request = self.request, None
        assert request is not None
        request.status = 500
        self.site.responded(request)
        self.abortConnection()

    def hand_over(self, successor: Any) -> None:
        """Leave the connection to the protocol that the present request has asked for (RFC 9110 section 7.8).

        `successor` is a connection of the site too, and writes the response, which is told of as status 101. Raises
        ValueError, with the reason, where the connection has to go on with HTTP.
        """
        request, parser, transport = self.request, self._parser, self.transport
        assert request is not None
        if request.version != "1.1":
            raise ValueError("an upgrade needs HTTP/1.1")
        if self._ended or self._waiting or parser.receiving or parser.finished:
            # RFC 6455 section 4.1: the client waits for the response.
            raise ValueError("nothing may follow a request for an upgrade before its response")
        request.status = 101
        self.request, self._phase = None, _CLOSING
        parser.drop()
        self._read_on()
        transport.unregisterProducer()
        if hasattr(transport, "wrappedProtocol"):
            # Of TLS or the PROXY protocol.
            transport.wrappedProtocol = successor
        else:
            transport.protocol = successor
        self.site.connections.replaced(self, successor)
        self.site.responded(request)
        successor.makeConnection(transport)

    def _go_on(self) -> None:
        """Handle what waits; then wait for more, or end."""
        site, parser = self.site, self._parser
        while self._waiting and self._phase is _WAITING and not self._full:
            # What is responded to at once comes back here: a loop, for a pipeline may be longer than the stack.
            self.request, self._phase, self.deadline = self._waiting.popleft(), _STARTING, 0.0
            site.handle(self.request)
            if self._phase is _STARTING:
                self._phase = _WAITING if self.request is None else _RESPONDING
            if self._ended:
                self._drop_if_it_waits()
        if self._phase is not _WAITING or self._full:
            return
        self._idle_since = site.clock()
        if self._ended and not parser.refusal:
            self.loseConnection()
            return
        if parser.refusal is not None:
            self._send_refusal(parser.refusal)
            return
        if not parser.receiving:
            # In a drain, the head has said that the connection ends if it went out after its beginning.
            kept = site.limits.keep_alive_timeout
            self.deadline = self._idle_since + (min(QUIET, kept) if site.connections.draining else kept)
        elif parser.in_body:
            self._await(site.limits.body_timeout)
            self._invite_body()
        else:
            self._await(site.limits.header_timeout)
        if self._paused:
            self._read_on()

    # Transport control

    def _await(self, seconds: float) -> None:
        self.deadline = self.site.clock() + seconds

    def extend_deadline(self) -> None:
        """Give the client its time anew."""
        self._await(self.site.limits.keep_alive_timeout)

    def pauseProducing(self) -> None:
        """The transport is full of responses, which the client does not read as fast as they are written."""
        self._full = True
        self.extend_deadline()
        if self._producer is not None:
            self._producer.pauseProducing()
        else:
            self._stop_reading()

    def resumeProducing(self) -> None:
        """The client has read."""
        self._full = False
        self.deadline = 0.0
        if self._producer is not None:
            self._producer.resumeProducing()
        elif self.request is None:
            self._go_on()

    def stopProducing(self) -> None:
        """The connection is gone; `connectionLost` follows."""
        if self._producer is not None:
            self._producer.stopProducing()

    def _stop_reading(self) -> None:
        if not self._paused:
            self._paused = True
            self.transport.pauseProducing()

    def _read_on(self) -> None:
        if self._paused:
            self._paused = False
            self.transport.resumeProducing()

    def hold(self) -> None:
        """Read nothing until `release`: there are too many connections."""
        self.deadline = 0.0
        self._stop_reading()

    def release(self) -> None:
        """There is room."""
        self._await(FRESH if self.site.connections.draining else self.site.limits.header_timeout)
        self._read_on()

    def announce(self) -> None:
        """Each response says so from now on."""

    def drain(self) -> None:
        """Close now if no request is here, on its way or to be expected, else after its response."""
        if hasattr(self.transport, "doRead"):
            # What the kernel holds already came before the end.
            self.transport.doRead()
        if self._phase is not _WAITING or self._waiting or self._parser.receiving or self._parser.finished:
            return
        if self.fresh:
            self._await(FRESH)
        elif (at := self._idle_since + QUIET) > self.site.clock():
            self.deadline = min(self.deadline, at)
        else:
            self.loseConnection()

    def loseConnection(self) -> None:
        """Close when what was written is sent."""
        self._phase = _CLOSING
        self._parser.drop()
        # In a drain, a client that has taken everything need not be waited for until it closes too, as over TLS.
        done = self.site.connections.draining and not untaken_by_peer(self.transport)
        self._await(LINGER if done else self.site.limits.keep_alive_timeout)
        # A transport with a producer waits for it.
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def abortConnection(self) -> None:
        """Close at once."""
        self._phase = _CLOSING
        self._parser.drop()
        self.transport.abortConnection()

    def _linger(self) -> None:
        """Close our side, and go on reading for a moment, to discard it.

        Closed with input unread, the kernel resets the connection and the client may never see the response.
        """
        self._parser.drop()
        self._read_on()
        if self.isSecure() or not hasattr(self.transport, "loseWriteConnection"):
            self.loseConnection()
            return
        self._phase = _LINGERING
        self._await(LINGER)
        self.transport.unregisterProducer()
        self.transport.loseWriteConnection()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Let a producer write as the client reads: one that is pulled in our place, one that pushes through us.

        A client that takes nothing for as long as a connection may be idle has left.
        """
        self._producer, self._pulled = producer, not streaming
        if streaming:
            if self._full:
                producer.pauseProducing()
            return
        self.transport.unregisterProducer()
        self._full = False
        self.extend_deadline()
        self.transport.registerProducer(producer, False)

    def unregisterProducer(self) -> None:
        """The producer is done: it is us again who stop when the client does not read."""
        self._producer = None
        if self._pulled:
            self._pulled = False
            self.transport.unregisterProducer()
            self.deadline = 0.0
            self.transport.registerProducer(self, True)

    def getPeer(self) -> Any:
        """The client's address; asked once, when the first request comes, for the PROXY protocol has it by then."""
        if self._peer is None:
            self._peer = self.transport.getPeer()
        return self._peer

    def getHost(self) -> Any:
        """Our address."""
        return self.transport.getHost()

    def isSecure(self) -> bool:
        """Whether this is TLS."""
        return hasattr(self.transport, "getPeerCertificate")
