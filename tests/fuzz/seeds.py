"""What the fuzzer begins with: what the tests send, and a little that they do not."""

from __future__ import annotations

import struct

from h2.config import H2Configuration
from h2.connection import H2Connection
from wsproto import ConnectionType
from wsproto.connection import Connection
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage

from tests.support.functional.raw_requests import HOSTILE, LEGAL
from tests.support.http1 import get

LONGEST = 2048
"""Bytes of an input."""
WORDS = (
    *(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1\r\n", b"HTTP/1.0\r\n", b"\r\n", b"\r\n\r\n", b"0\r\n\r\n"),
    *(b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n", b"Host: x\r\n"),
    *(b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"Connection: Upgrade\r\nUpgrade: h2c\r\n"),
    *(b"HEAD ", b"OPTIONS * ", b"CONNECT x:80 ", b"POST ", b" RTSP/1.0\r\n", b"http://x", b"PRI * HTTP/2.0\r\n\r\n"),
    *(
        b"PROXY TCP4 ",
        b"PROXY TCP6 ",
        b"PROXY UNKNOWN",
        b"\r\n\r\n\0\r\nQUIT\n",
        b"bytes=",
        b"q=0.",
        b"gzip",
        b'W/"abc"',
    ),
    *(b"Sec-WebSocket-Version: 13\r\n", b"permessage-deflate", b"2001:db8::7", b"203.0.113.7", b"\x00\x00\x00\x04\x08"),
)
"""What stands together: libFuzzer's dictionary."""

HTTP1 = {name: data for name, data in (LEGAL | HOSTILE).items() if len(data) <= LONGEST}

_V4, _V6 = bytes((203, 0, 113, 7, 198, 51, 100, 2)), bytes(range(32))
_PORTS = struct.pack("!HH", 1234, 443)


def _version_2(command: int, family: int, addresses: bytes) -> bytes:
    return b"\r\n\r\n\0\r\nQUIT\n" + struct.pack("!BBH", command, family, len(addresses)) + addresses + get(b"/")


PROXIED = {
    "TCP4": b"PROXY TCP4 203.0.113.7 198.51.100.2 1234 443\r\n" + get(b"/"),
    "TCP6": b"PROXY TCP6 2001:db8::7 2001:db8::2 1234 443\r\n" + get(b"/"),
    "unknown": b"PROXY UNKNOWN\r\n" + get(b"/"),
    "unknown with addresses": b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n" + get(b"/"),
    "no address": b"PROXY TCP4 evil 198.51.100.2 1234 443\r\n" + get(b"/"),
    "no port": b"PROXY TCP4 203.0.113.7 198.51.100.2 -1 443\r\n" + get(b"/"),
    "none": get(b"/"),
    "2 of IPv4": _version_2(0x21, 0x11, _V4 + _PORTS),
    "2 of IPv6": _version_2(0x21, 0x21, _V6 + _PORTS),
    "2 of a check": _version_2(0x20, 0x00, b""),
    "2 with more": _version_2(0x21, 0x11, _V4 + _PORTS + b"\x04\x00\x01a"),
    "2 of a Unix socket": _version_2(0x21, 0x31, b"/tmp/a".ljust(108, b"\0") * 2),
}


def _http2(*requests: tuple[str, str, bytes]) -> bytes:
    """What a client sends after its preface: settings, and these requests of method, path and body."""
    client = H2Connection(H2Configuration(client_side=True))
    client.initiate_connection()
    for method, path, body in requests:
        number = client.get_next_available_stream_id()
        head = [(":method", method), (":scheme", "https"), (":authority", "x"), (":path", path), ("x-a", "b")]
        client.send_headers(number, head, end_stream=not body)
        if body:
            client.send_data(number, body, end_stream=True)
    return client.data_to_send().removeprefix(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")


_REST = {
    "ping": b"\0\0\x08\x06\0\0\0\0\0" + b"12345678",
    "settings": b"\0\0\x06\x04\0\0\0\0\0\0\4\0\0\0\0",
    "window": b"\0\0\4\x08\0\0\0\0\1\0\0\0\1",
    "reset": b"\0\0\4\3\0\0\0\0\1\0\0\0\x08",
    "priority": b"\0\0\5\2\0\0\0\0\3\0\0\0\1\x10",
    "goaway": b"\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\0",
    "continuation": b"\0\0\1\x09\4\0\0\0\1\x82",
    "unknown": b"\0\0\1\x7f\0\0\0\0\0x",
}
FRAMES = {
    "none": _http2(),
    "one": _http2(("GET", "/a", b"")),
    "head": _http2(("HEAD", "/a", b"")),
    "body": _http2(("POST", "/a", b"hello")),
    "large": _http2(("POST", "/a", b"x" * 300)),
    "several": _http2(("GET", "/a", b""), ("POST", "/b", b"hello"), ("OPTIONS", "*", b""), ("GET", "/c", b"")),
    **{f"one and {name}": _http2(("GET", "/a", b"")) + frame for name, frame in _REST.items()},
    **{f"body and {name}": _http2(("POST", "/a", b"he"))[:-11] + frame for name, frame in _REST.items()},
}


def _socket(*events: TextMessage | BytesMessage | Ping | Pong | CloseConnection) -> bytes:
    client = Connection(ConnectionType.CLIENT)
    return b"".join(client.send(event) for event in events)


SOCKETS = {
    "text": _socket(TextMessage("hello"), TextMessage("w\u00f6rld")),
    "bytes": _socket(BytesMessage(b"\0\xff" * 70)),
    "fragments": _socket(TextMessage("a", message_finished=False), Ping(b"p"), TextMessage("b")),
    "too big": _socket(*[BytesMessage(b"x" * 100, message_finished=False)] * 4),
    "close": _socket(Pong(b""), CloseConnection(1000, "bye")),
    "close without code": b"\x88\x80\0\0\0\0",
    "not masked": b"\x81\x05hello",
    "not UTF-8": b"\x81\x82\0\0\0\0\xff\xff",
    "long ping": b"\x89\xfe\x00\x7e\0\0\0\0" + b"p" * 126,
    "handshake": get(b"/r", b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Key: x"),
    "handshake with an extension": get(
        b"/r",
        b"Connection: keep-alive, Upgrade",
        b"Upgrade: websocket",
        b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        b"Sec-WebSocket-Extensions: permessage-deflate",
    )
    + b"\x81\x80\0\0\0\0",
}

VALUES = {
    "addresses": b"198.51.100.1, 203.0.113.7:80, [2001:db8::7]:443, 10.0.0.2",
    "mapped": b"::ffff:203.0.113.7, fe80::1%eth0",
    "nonsense": b",,unknown, ::::, 300.1.1.1, 1",
    "schemes": b"http, https",
    "codings": b"gzip;q=0.5, br;q=1.0, identity;q=0, *;q=0.001",
    "wrong weights": b"gzip;q=2, br;q=-1, deflate;q=nan, a;q=",
    "range": b"bytes=0-99",
    "last bytes": b"bytes=-5",
    "from": b"bytes=10-",
    "ranges": b"bytes=0-1, 5-6",
    "wrong range": b"bytes=5-1",
    "long range": b"bytes=" + b"9" * 30 + b"-" + b"9" * 30,
    "tag": b'"abc", W/"abc", *',
    "date": b"Sun, 06 Nov 1994 08:49:37 GMT",
}
