"""HTTP/2 connections (RFC 9113), where the package h2 is installed and TLS agrees on the protocol (ALPN).

h2 keeps the protocol, this what it may cost; requests and responses are in `http2_stream`. What is sent waits in its
stream until the client's windows and the transport take it, a frame of each stream in turn. While the transport is full
nothing is read, so that what a client makes us send cannot pile up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from h2 import events
from h2.config import H2Configuration
from h2.connection import ConnectionState, H2Connection
from h2.errors import ErrorCodes
from h2.exceptions import DenialOfServiceError, ProtocolError
from h2.settings import SettingCodes, Settings
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from twistserve.http.connections import Unanswered
from twistserve.http.http1 import Http1Connection
from twistserve.http.http2_stream import Stream
from twistserve.http.limits import FRESH, LINGER, MAX_HEADERS, QUIET

STREAMS = 100
"""Requests at a time on one connection; a client that begins more of them loses it."""
CREDIT = 1000
CREDIT_RATE = 33
"""Frames that only cost, such as resets and pings, that a client may send at once, and how many more a second.

That is what Twisted allows of resets (CVE-2023-44487). A response that is taken to its end earns one.
"""
WINDOW = 1024 * 1024
"""Bytes of bodies that may be on their way to us: with the 64 KB that are the default, uploads wait for the network."""
TABLE = 4096
"""Bytes of fields remembered to compress heads that are sent; hpack looks through all of them for each field."""

_EVERY_STREAM = 2**31 - 1
_ONLY_COST = (
    events.StreamReset,
    events.PingReceived,
    events.PingAckReceived,
    events.RemoteSettingsChanged,
    events.SettingsAcknowledged,
    events.PriorityUpdated,
    events.UnknownFrameReceived,
)
_BEGINS = (events.RequestReceived, events.StreamEnded)


class _H2(H2Connection):
    """h2, remembering of fewer streams how they ended: its 65,536 are megabytes for each connection."""

    MAX_CLOSED_STREAMS = 1000


@implementer(IHandshakeListener)
class NegotiatedConnection(Http1Connection):
    """A connection of HTTP/1.1, unless TLS agrees on HTTP/2."""

    def handshakeCompleted(self) -> None:
        """The protocol is known: hand over to HTTP/2."""
        if self.transport.negotiatedProtocol == b"h2":
            self.transport.unregisterProducer()
            connection = Http2Connection(self.site, self.deadline, self.remote)
            self.transport.wrappedProtocol = connection
            self.site.connections.replaced(self, connection)
            connection.makeConnection(self.transport)


class Http2Connection(Protocol):
    """A connection and its streams."""

    transport: Any

    _full = False
    _closing = False
    _sending = False
    _idle_since = 0.0
    """When, in reactor seconds, the last response was taken."""
    _announced_at: float | None = None
    """When the client was told that the connection will end."""
    _last_call = math.inf
    """When further streams begin to be refused, for the connection ends; reactor seconds."""

    def __init__(self, site: Any, deadline: float, remote: str) -> None:
        self.site = site
        self.remote = remote
        self.environ: dict[str, Any] | None = None
        self.streams: dict[int, Stream] = {}
        self._deadline = deadline
        self._ready: dict[Stream, None] = {}
        self._credit, self._credit_at = float(CREDIT), site.clock()
        # The fields that are sent are right already.
        config = H2Configuration(client_side=False, normalize_outbound_headers=False, validate_outbound_headers=False)
        self.h2 = _H2(config)
        # More than the largest head that is right, for one that is too large gets a response where it can be read.
        most = 2 * site.limits.max_head + 32 * (MAX_HEADERS + 8)
        settings = {
            SettingCodes.MAX_CONCURRENT_STREAMS: STREAMS,
            SettingCodes.MAX_HEADER_LIST_SIZE: most,
            SettingCodes.INITIAL_WINDOW_SIZE: WINDOW,
        }
        self.h2.local_settings = Settings(client=False, initial_values=settings)
        self.h2.decoder.max_header_list_size = most

    # Protocol

    def connectionMade(self) -> None:
        """Tell our settings."""
        self.transport.registerProducer(self, True)
        self.h2.initiate_connection()
        self.h2.increment_flow_control_window(WINDOW - self.h2.inbound_flow_control_window)
        self.send()

    def dataReceived(self, data: bytes) -> None:
        """Take frames; a request that is complete is handled at once."""
        if self._closing:
            return
        try:
            received = self.h2.receive_data(data)
        except ProtocolError as error:
            self._refuse(431 if isinstance(error, DenialOfServiceError) else 400)
            return
        leaves = self.h2.state_machine.state is ConnectionState.CLOSED
        if leaves:
            # By a GOAWAY: the client begins nothing more, and waits for responses (section 6.8) that h2 would not send.
            self.h2.state_machine.state = ConnectionState.SERVER_OPEN
        self._handle(received)
        if leaves:
            self._last_call = -1.0
        if not self._closing and not self.streams:
            if leaves:
                self.loseConnection()
            elif not received:
                # Of a head, perhaps.
                self._deadline = min(self._deadline, self.after(self.site.limits.header_timeout))
        self.send()

    def _handle(self, received: list[events.Event]) -> None:
        # What is reset before it was looked at does not reach the application.
        reset = {event.stream_id for event in received if isinstance(event, events.StreamReset)}
        for event in received:
            if isinstance(event, _ONLY_COST):
                self._pay()
            if self._closing:
                return
            if isinstance(event, _BEGINS) and event.stream_id in reset:
                continue
            if handler := _HANDLERS.get(type(event)):
                handler(self, event)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        """Tell the requests that their client is gone, and leave the site."""
        self._closing = True
        try:
            self._drop_streams()
        finally:
            self.site.connections.left(self)

    @property
    def deadline(self) -> float:
        """When the first of what is waited for is overdue, in reactor seconds, for `Site.sweep`; 0 for never."""
        waits = [stream.deadline for stream in self.streams.values() if stream.deadline]
        if self._full or self._closing or not self.streams:
            waits.append(self._deadline)
        return min(waits, default=0.0)

    def timed_out(self) -> None:
        """End what is overdue: streams, a connection that is idle, or one whose client reads nothing."""
        now = self.site.clock()
        if self._deadline <= now and (self._full or self._closing):
            self.abortConnection()
        elif self._deadline <= now and not self.streams:
            self.loseConnection()
        else:
            for stream in [each for each in self.streams.values() if 0.0 < each.deadline <= now]:
                stream.timed_out()

    def unanswered(self) -> Iterator[Unanswered]:
        """The requests that have begun to arrive and that no handler has."""
        return (stream.unanswered() for stream in self.streams.values() if stream.receiving)

    def after(self, seconds: float) -> float:
        """A time from now, in reactor seconds."""
        now: float = self.site.clock()
        return now + seconds

    # What arrives

    def _on_request(self, event: events.RequestReceived) -> None:
        site, number = self.site, event.stream_id
        if site.connections.draining:
            self._end_soon()
        elif site.connections.leaving:
            self.announce()
        if site.clock() > self._last_call or site.streams >= site.limits.max_connections:
            # Not looked at: the client may try again, here or elsewhere (section 8.7).
            self.h2.reset_stream(number, ErrorCodes.REFUSED_STREAM)
            self._pay()
            return
        site.streams += 1
        stream = self.streams[number] = Stream(self, number)
        stream.begin(event.headers, event.stream_ended is None)

    def _on_data(self, event: events.DataReceived) -> None:
        size = event.flow_controlled_length
        stream = self.streams.get(event.stream_id)
        if stream is not None and stream.receiving:
            self.h2.acknowledge_received_data(size, event.stream_id)
            if event.data:
                stream.receive(event.data)
        elif size:
            # Dropped, and what the stream may send is used up.
            self.h2.increment_flow_control_window(size)
        if not event.data and event.stream_ended is None:
            self._pay()

    def _on_end(self, event: events.StreamEnded) -> None:
        if event.stream_id in self.streams:
            self.streams[event.stream_id].complete()

    def _on_reset(self, event: events.StreamReset) -> None:
        if event.stream_id in self.streams:
            self.streams[event.stream_id].lost()

    def _on_window(self, event: events.WindowUpdated) -> None:
        if not event.stream_id:
            self._ready.update(dict.fromkeys(self.streams.values()))
        elif event.stream_id in self.streams:
            self._ready[self.streams[event.stream_id]] = None

    def _on_settings(self, event: events.RemoteSettingsChanged) -> None:
        # Set to what it is, it would look to hpack as if it had not changed, and the client would not be told.
        if self.h2.encoder.header_table_size > TABLE:  # noqa: PLR1730
            self.h2.encoder.header_table_size = TABLE
        self._ready.update(dict.fromkeys(self.streams.values()))

    def _pay(self) -> None:
        now = self.site.clock()
        self._credit = min(self._credit + (now - self._credit_at) * CREDIT_RATE, CREDIT) - 1
        self._credit_at = now
        if self._credit < 0 and not self._closing:
            self.h2.close_connection(ErrorCodes.ENHANCE_YOUR_CALM)
            self._refuse(400)

    def _refuse(self, status: int) -> None:
        """Close; h2 has a GOAWAY ready that says why."""
        self.site.refused(self.remote, status, "head_too_large" if status == 431 else "malformed")
        self._close()

    # Sending

    def wake(self, stream: Stream) -> None:
        """A stream has something to send."""
        self._ready[stream] = None
        self.send()

    def send(self) -> None:
        """Send what the windows and the transport take."""
        if self._sending:
            return
        self._sending = True
        try:
            self._flush()
            while self._ready and not self._full and not self._closing:
                stream = next(iter(self._ready))
                del self._ready[stream]
                try:
                    if stream.step():
                        self._ready[stream] = None
                except ProtocolError:
                    # Reset by the client, which is still to be looked at.
                    stream.abortConnection()
                self._flush()
        finally:
            self._sending = False

    def _flush(self) -> None:
        if data := self.h2.data_to_send():
            self.transport.write(data)

    def forget(self, stream: Stream, taken: bool = False) -> None:
        """A stream is over, with its response `taken` to the end or not."""
        self.site.streams -= 1
        del self.streams[stream.number]
        self._ready.pop(stream, None)
        self._credit += taken
        if not self.streams and not self._closing:
            self._idle_since = self.after(0.0)
            self._deadline = self.after(self.site.limits.keep_alive_timeout)
            if self.site.connections.draining or self._last_call < math.inf:
                self.loseConnection()

    def pauseProducing(self) -> None:
        """The transport is full of what the client does not read."""
        self._full = True
        self._deadline = self.after(self.site.limits.keep_alive_timeout)
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """The client has read."""
        self._full = False
        self._deadline = self.after(self.site.limits.keep_alive_timeout)
        self.transport.resumeProducing()
        self.send()

    def stopProducing(self) -> None:
        """The connection is gone; `connectionLost` follows."""

    # The end

    def announce(self) -> None:
        """Send a GOAWAY that lets come what is on its way (section 6.8); once, and not before the first request.

        After a GOAWAY of its own, h2 would send nothing.
        """
        if self._announced_at is None and self.h2.highest_inbound_stream_id and not self._closing:
            self._announced_at = self.after(0.0)
            self._flush()
            self.transport.write(b"\0\0\x08\x07\0\0\0\0\0" + _EVERY_STREAM.to_bytes(4, "big") + b"\0\0\0\0")

    def drain(self) -> None:
        """Close now if no request is here or to be expected, else after the responses; tell the client."""
        if self._closing:
            return
        if not self.h2.highest_inbound_stream_id:
            self._deadline = self.after(FRESH)
            return
        self._end_soon()
        if self.streams:
            return
        if (at := self._idle_since + QUIET) > self.site.clock():
            self._deadline = min(self._deadline, at)
        else:
            self.loseConnection()

    def _end_soon(self) -> None:
        """Refuse what comes later than what may be on its way."""
        self.announce()
        if self._announced_at is not None:
            self._last_call = min(self._last_call, self._announced_at + FRESH)

    def loseConnection(self) -> None:
        """Close when what was written is sent."""
        self.h2.close_connection()
        self._close()

    def _close(self) -> None:
        self._closing = True
        self._flush()
        self._drop_streams()
        done = self.site.connections.draining and not self._full
        self._deadline = self.after(LINGER if done else self.site.limits.keep_alive_timeout)
        if self._full:
            # The other side's end of TLS has to be read.
            self.transport.resumeProducing()
        # A transport with a producer waits for it.
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def abortConnection(self) -> None:
        """Close at once."""
        self._closing = True
        self.transport.abortConnection()

    def _drop_streams(self) -> None:
        for stream in list(self.streams.values()):
            stream.lost()

    def getPeer(self) -> Any:
        """The client's address."""
        return self.transport.getPeer()

    def getHost(self) -> Any:
        """Our address."""
        return self.transport.getHost()


_HANDLERS: dict[type[events.Event], Callable[[Http2Connection, Any], None]] = {
    events.RequestReceived: Http2Connection._on_request,
    events.DataReceived: Http2Connection._on_data,
    events.StreamEnded: Http2Connection._on_end,
    events.StreamReset: Http2Connection._on_reset,
    events.WindowUpdated: Http2Connection._on_window,
    events.RemoteSettingsChanged: Http2Connection._on_settings,
}
