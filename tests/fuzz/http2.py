"""Frames of HTTP/2, with a handler that echoes: nothing is raised or kept, and what is sent are frames."""

from __future__ import annotations

from hpack import Decoder
from hyperframe.frame import DataFrame, Frame, GoAwayFrame, HeadersFrame
from twisted.internet.task import Clock

from tests.fuzz.connections import LIMITS, Echo
from tests.fuzz.pieces import arrivals, end, nothing_logged
from tests.support.http2 import Transport
from twistserve.http.http2 import Http2Connection
from twistserve.http.site import Site

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
EVERY_TABLE = 2**32 - 1
"""Bytes of fields to remember: a client may allow what it likes."""


def converse(pieces: list[bytes], at_once: bool) -> tuple[Echo, bytes]:
    """Feed a connection until its end: what was asked, and all that was sent back.

    Raises AssertionError where the connection or its site keeps something.
    """
    clock, echo, transport = Clock(), Echo(at_once), Transport()
    site = Site(echo, clock, LIMITS, lambda requests: None, lambda *refusal: None)
    connection = Http2Connection(site, LIMITS.header_timeout, "192.0.2.1")
    site.connections.replaced(connection, connection)
    connection.makeConnection(transport)
    for piece in pieces:
        connection.dataReceived(piece)
        while echo.pending:
            echo.respond()
    end(connection, site, clock, transport)
    assert site.streams == 0
    return echo, bytes(transport.value())


def check_frames(sent: bytes) -> int:
    """Raises where something is no frame; how many responses were begun."""
    view, decoder, heads = memoryview(sent), Decoder(), 0
    decoder.max_allowed_table_size = EVERY_TABLE
    ended: set[int] = set()
    while view:
        frame, size = Frame.parse_frame_header(view[:9])
        frame.parse_body(view[9 : 9 + size])
        assert len(view) >= 9 + size
        assert frame.stream_id not in ended or not isinstance(frame, DataFrame | HeadersFrame)
        if isinstance(frame, HeadersFrame):
            fields = dict(decoder.decode(frame.data, raw=True))
            heads += 1
            assert int(fields[b":status"]) >= 100
        if "END_STREAM" in frame.flags and not isinstance(frame, GoAwayFrame):
            ended.add(frame.stream_id)
        view = view[9 + size :]
    return heads


def fuzz(data: bytes) -> None:
    """Raises where a connection does not end cleanly, or an error is logged. `data` follows the client's preface."""
    with nothing_logged():
        for number, pieces in enumerate(arrivals(data)):
            if number == 1 and len(data) > 512:
                continue  # byte by byte that would take half of the time
            _, sent = converse([PREFACE, *pieces], at_once=number != 1)
            check_frames(sent)
