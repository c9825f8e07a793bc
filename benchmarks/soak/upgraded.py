"""Clients of HTTP/2 and of WebSockets that behave; each needs the package of its protocol, as the server does."""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from importlib.util import find_spec
from typing import Any

from benchmarks.soak import contents
from benchmarks.soak.link import Reply
from benchmarks.soak.ordinary import expect, number, uploaded
from benchmarks.soak.tally import CrossedError, LostError, Tally

STREAMS = 8
"""Requests at a time on a connection of HTTP/2."""
BATCHES = 20
"""At most, on one connection."""
EVERY_STREAM = 2**31 - 1
WINDOW = 1 << 24
MESSAGES = 30
"""At most, on one WebSocket."""
PAUSE = 0.5
"""Seconds between batches, and between messages."""
PATIENCE = 30.0
HTTP2 = find_spec("h2") is not None and find_spec("OpenSSL") is not None
WEBSOCKETS = find_spec("wsproto") is not None


async def http2(port: int, tally: Tally, until: float) -> None:
    """Talk HTTP/2, one connection after another."""
    while time.monotonic() < until:
        try:
            await _one_connection(port, tally, until)
        except Exception as error:
            # h2's too: the server has sent what is no HTTP/2.
            tally.note("HTTP/2", error)


async def _one_connection(port: int, tally: Tally, until: float) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        connection = _Http2(reader, writer)
        for _ in range(random.randint(1, BATCHES)):
            if connection.ends or time.monotonic() > until:
                break
            async with asyncio.timeout(PATIENCE):
                outcomes = await connection.batch()
            for error in outcomes:
                tally.note("HTTP/2", error)
            await asyncio.sleep(PAUSE)
            await connection.look()
    finally:
        writer.close()


class _Http2:
    """A connection; raises `LostError` where it ends too early."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from h2.config import H2Configuration
        from h2.connection import H2Connection
        from h2.settings import SettingCodes

        self._reader, self._writer = reader, writer
        self._h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self._h2.initiate_connection()
        self._h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: WINDOW})
        self._h2.increment_flow_control_window(WINDOW)
        self._replies: dict[int, tuple[dict[str, str], bytearray]] = {}
        self._open: set[int] = set()
        self._refused: set[int] = set()
        self._received = b""
        self._last = EVERY_STREAM
        """The last stream that the server looks at."""
        self.ends = False
        """Whether the server has said that the connection ends."""
        self._flush()

    async def batch(self) -> list[Exception | None]:
        """Ask several things at a time; what was wrong with each."""
        wanted: dict[int, tuple[int, bytes]] = {}
        for _ in range(random.randint(1, STREAMS)):
            own, stream, body = number(), self._h2.get_next_available_stream_id(), b""
            if random.random() < 0.3:
                body = contents.text(own, random.choice((100, 10_000)))
                wanted[stream] = own, uploaded(body)
                head = [(":method", "POST"), (":path", f"/upload?n={own}"), ("content-length", str(len(body)))]
            else:
                size = random.choice((0, 500, 50_000))
                wanted[stream] = own, contents.text(own, size)
                head = [(":method", "GET"), (":path", f"/echo?n={own}&size={size}")]
            self._h2.send_headers(
                stream,
                [(":scheme", "https"), (":authority", "soak"), *head],
                end_stream=not body,
            )
            if body:
                self._h2.send_data(stream, body, end_stream=True)
            self._open.add(stream)
        self._flush()
        while self._open:
            await self._read()
        return [self._judge(stream, *each) for stream, each in wanted.items()]

    async def look(self) -> None:
        """Take what has come meanwhile, such as the news that the connection ends."""
        try:
            async with asyncio.timeout(0.001):
                await self._read()
        except TimeoutError:
            pass

    def _judge(self, stream: int, own: int, body: bytes) -> Exception | None:
        if stream in self._refused:
            return CrossedError("refused before it was looked at")
        fields, received = self._replies.pop(stream)
        try:
            expect(Reply(int(fields[":status"]), fields, bytes(received)), 200, body, own)
        except Exception as error:
            return error
        return None

    async def _read(self) -> None:
        from h2.connection import ConnectionState

        try:
            data = await self._reader.read(65536)
        except OSError as error:
            raise LostError(f"HTTP/2: {error!r}") from error
        if not data:
            self.ends = True
            self._refused |= {stream for stream in self._open if stream > self._last}
            self._open -= self._refused
            if self._open:
                raise LostError(f"HTTP/2: closed with {len(self._open)} open streams")
            return
        self._received += data
        while len(self._received) >= 9 and len(self._received) >= (
            size := 9 + int.from_bytes(self._received[:3], "big")
        ):
            # One frame at a time: after a GOAWAY, h2 would look at nothing more.
            frame, self._received = self._received[:size], self._received[size:]
            for event in self._h2.receive_data(frame):
                self._take(event)
            if self._h2.state_machine.state is ConnectionState.CLOSED:
                self._h2.state_machine.state = ConnectionState.CLIENT_OPEN
        self._flush()

    def _take(self, event: Any) -> None:
        from h2 import events
        from h2.errors import ErrorCodes

        if isinstance(event, events.ResponseReceived):
            fields = {str(name): str(value) for name, value in event.headers}
            self._replies[event.stream_id] = fields, bytearray()
        elif isinstance(event, events.DataReceived):
            self._replies[event.stream_id][1].extend(event.data)
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, events.StreamEnded):
            self._open.discard(event.stream_id)
        elif isinstance(event, events.StreamReset):
            self._open.discard(event.stream_id)
            if event.error_code != ErrorCodes.REFUSED_STREAM:
                raise LostError(f"HTTP/2: a stream was reset with {event.error_code}")
            self._refused.add(event.stream_id)
        elif isinstance(event, events.ConnectionTerminated):
            self.ends = True
            self._last = min(self._last, event.last_stream_id or 0)

    def _flush(self) -> None:
        self._writer.write(self._h2.data_to_send())


async def websockets(port: int, tally: Tally, until: float) -> None:
    """Open WebSockets, one after another, and wait for each own text to come back."""
    while time.monotonic() < until:
        try:
            await _one_socket(port, tally, until)
        except Exception as error:
            tally.note("WebSocket", error)


async def _one_socket(port: int, tally: Tally, until: float) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        client = _Socket(reader, writer)
        for _ in range(random.randint(1, MESSAGES)):
            await asyncio.sleep(PAUSE)
            if time.monotonic() > until:
                break
            async with asyncio.timeout(PATIENCE):
                came_back = await client.echo(f"text {number()}")
            tally.note("WebSocket", None if came_back else CrossedError("the server goes away"))
            if not came_back:
                return
        client.close()
    finally:
        writer.close()


class _Socket:
    """A WebSocket in a group: it gets the texts of others too."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from wsproto import ConnectionType, WSConnection
        from wsproto.events import Request

        self._reader, self._writer = reader, writer
        self._ws = WSConnection(ConnectionType.CLIENT)
        self._texts: set[str] = set()
        self._opened = self._closed = False
        self._send(Request("soak", "/socket"))

    async def echo(self, text: str) -> bool:
        """Send a text and wait for it to come back; False where the server goes away (1001), with its worker."""
        from wsproto.events import TextMessage

        while not self._opened:
            await self._read()
        if not self._closed:
            self._send(TextMessage(text))
        while text not in self._texts and not self._closed:
            await self._read()
        came_back = text in self._texts
        self._texts.clear()
        return came_back

    def close(self) -> None:
        """Say that this is the end."""
        from wsproto.events import CloseConnection

        if self._opened and not self._closed:
            self._send(CloseConnection(1000))

    async def _read(self) -> None:
        from wsproto.events import AcceptConnection, CloseConnection, Ping, TextMessage

        data = await self._reader.read(65536)
        if not data:
            raise LostError("WebSocket: closed without a close frame")
        self._ws.receive_data(data)
        for event in self._ws.events():
            if isinstance(event, TextMessage):
                self._texts.add(str(event.data))
            elif isinstance(event, Ping):
                self._send(event.response())
            elif isinstance(event, AcceptConnection):
                self._opened = True
            elif isinstance(event, CloseConnection) and event.code == 1001:
                self._opened = self._closed = True
            else:
                raise LostError(f"WebSocket: {event!r}")

    def _send(self, event: Any) -> None:
        self._writer.write(self._ws.send(event))
