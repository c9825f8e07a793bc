"""Raw requests for servers and proxies, valid, ambiguous and malicious, and what comes back for them."""

from __future__ import annotations

import socket
from contextlib import suppress

QUICK = 20.0
"""Seconds within which either end must have ended a connection, on a slow machine; their own timeouts are 1 s."""

MARKER = b"GET /marker HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
HIDDEN = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"0\r\n\r\n"


def line(start: bytes) -> bytes:
    """A request without a body, from its request line."""
    return start + b"\r\nHost: x\r\n\r\n"


def field(text: bytes) -> bytes:
    """A request with one more header line."""
    return b"GET /case HTTP/1.1\r\nHost: x\r\n" + text + b"\r\n\r\n"


def post(fields: bytes, body: bytes = b"") -> bytes:
    """A request with these framing fields, separated by CRLF, and this body."""
    return b"POST /case HTTP/1.1\r\nHost: x\r\n" + fields + b"\r\n\r\n" + body


def chunked(body: bytes) -> bytes:
    """A request with a chunked body, as it is on the wire."""
    return post(b"Transfer-Encoding: chunked", body)


VALID = {
    "plain": line(b"GET /case?a=b HTTP/1.1"),
    "escaped path": line(b"GET /c%61se%2f..%2Fb HTTP/1.1"),
    "dots and slashes": line(b"GET /a/../b//c/./d HTTP/1.1"),
    "length": post(b"Content-Length: 5", b"hello"),
    "length 0": post(b"Content-Length: 0"),
    "length that holds a request": post(b"Content-Length: %d" % len(HIDDEN), HIDDEN),
    "chunked": chunked(b"5\r\nhello\r\n" + LAST),
    "chunks that hold a request": chunked(b"%x\r\n%b\r\n" % (len(HIDDEN), HIDDEN) + LAST),
    "Chunked in capitals": post(b"transfer-encoding: CHUNKED", b"5\r\nhello\r\n" + LAST),
    "chunk extensions": chunked(b'5;a=b;c="d e"\r\nhello\r\n' + LAST),
    "trailers": chunked(b"5\r\nhello\r\n0\r\nX-A: b\r\n\r\n"),
    "leading zeros": chunked(b"0005\r\nhello\r\n000\r\n\r\n"),
    "get with a body": b"GET /case HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
    "expect": post(b"Expect: 100-continue\r\nContent-Length: 5", b"hello"),
    "upgrade": post(b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 5", b"hello"),
    "pipelined": post(b"Content-Length: 5", b"hello") + chunked(b"1\r\na\r\n" + LAST) + line(b"PUT /case HTTP/1.1"),
    "absolute-form": line(b"GET http://x/case HTTP/1.1"),
    "obs-text": field(b"X-A: \xe4\xff"),
    "HTTP/1.0": line(b"GET /case HTTP/1.0"),
    "HTTP/1.0 kept alive": b"GET /case HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n",
}

HOSTILE = {
    "CL.TE": post(b"Content-Length: 5\r\nTransfer-Encoding: chunked", LAST + HIDDEN),
    "TE.CL": post(b"Transfer-Encoding: chunked\r\nContent-Length: 4", b"%x\r\n%b\r\n" % (len(HIDDEN), HIDDEN) + LAST),
    "CL.0": post(b"Content-Length: 0\r\nContent-Length: %d" % len(HIDDEN), HIDDEN),
    "TE.TE identity": post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", LAST + HIDDEN),
    "TE.TE cow": post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\nContent-Length: 5", LAST + HIDDEN),
    "TE gzip, chunked": post(b"Transfer-Encoding: gzip, chunked", LAST + HIDDEN),
    "TE xchunked": post(b"Transfer-Encoding: xchunked\r\nContent-Length: 5", LAST + HIDDEN),
    "TE space before colon": post(b"Transfer-Encoding : chunked\r\nContent-Length: 5", LAST + HIDDEN),
    "TE after tab": post(b"Transfer-Encoding:\tchunked\r\nContent-Length: 5", LAST + HIDDEN),
    "TE with vertical tab": post(b"Transfer-Encoding: \x0bchunked\r\nContent-Length: 5", LAST + HIDDEN),
    "TE underscore": post(b"Transfer_Encoding: chunked\r\nContent-Length: 5", LAST) + line(b"GET /next HTTP/1.1"),
    "TE folded": post(b"Transfer-Encoding:\r\n chunked\r\nContent-Length: 5", LAST + HIDDEN),
    "TE behind a bare LF": post(b"X-A: b\nTransfer-Encoding: chunked\r\nContent-Length: 5", LAST + HIDDEN),
    "TE behind a bare CR": post(b"X-A: b\rTransfer-Encoding: chunked\r\nContent-Length: 5", LAST + HIDDEN),
    "TE in HTTP/1.0": b"POST /case HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + LAST + HIDDEN,
    "obs-fold": field(b"X-A: b\r\n c"),
    "bare LF": b"GET /case HTTP/1.1\nHost: x\n\n",
    "duplicate equal CL": post(b"Content-Length: 5\r\nContent-Length: 5", b"hello"),
    "CL list": post(b"Content-Length: 5, 5", b"hello"),
    "CL plus": post(b"Content-Length: +5", b"hello"),
    "CL minus": post(b"Content-Length: -5", b"hello"),
    "CL above 64 bits": post(b"Content-Length: 18446744073709551621", b"hello"),
    "CL underscore": post(b"Content_Length: 32") + line(b"GET /next HTTP/1.1"),
    "CL space before colon": post(b"Content-Length : 5", b"hello"),
    "chunk size 0x": chunked(b"0x5\r\nhello\r\n" + LAST),
    "chunk size above 64 bits": chunked(b"10000000000000005\r\nhello\r\n" + LAST),
    "chunk size with space": chunked(b"5 \r\nhello\r\n" + LAST),
    "chunk ended by LF": chunked(b"5\nhello\n0\n\n"),
    "chunk extension with LF": chunked(b"2;\nxx\r\n%x\r\n%b\r\n" % (len(HIDDEN), HIDDEN) + LAST),
    "chunk extension with CR": chunked(b"5;a\rb\r\nhello\r\n" + LAST),
    "chunk longer than its size": chunked(b"5\r\nhello!!\r\n" + LAST),
    "chunk without an end": chunked(b"5\r\nhelloXX" + LAST),
    "trailer of framing": chunked(b"0\r\nContent-Length: 44\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "absolute-form with another Host": line(b"GET http://other.example/case HTTP/1.1"),
    "double Host": field(b"Host: y"),
    "no Host": b"GET /case HTTP/1.1\r\n\r\n",
    "Host with a path": b"GET /case HTTP/1.1\r\nHost: x/y\r\n\r\n",
    "Host with user": b"GET /case HTTP/1.1\r\nHost: u@x\r\n\r\n",
    "space before colon": field(b"X-A : b"),
    "space before the first field": b"GET /case HTTP/1.1\r\n Host: x\r\n\r\n",
    "NUL in a value": field(b"X-A: b\0c"),
    "NUL in a name": field(b"X\0A: b"),
    "NUL in the target": line(b"GET /ca\0se HTTP/1.1"),
    "%00 in the target": line(b"GET /ca%00se HTTP/1.1"),
    "bad escape": line(b"GET /ca%zzse HTTP/1.1"),
    "above the root": line(b"GET /../../case HTTP/1.1"),
    "control character in a value": field(b"X-A: b\x01c"),
    "space in the target": line(b"GET /ca se HTTP/1.1"),
    "fragment": line(b"GET /case#part HTTP/1.1"),
    "no version": b"GET /case\r\n",
    "HTTP/1.9": line(b"GET /case HTTP/1.9"),
    "HTTP/2.0": line(b"GET /case HTTP/2.0"),
    "CONNECT": line(b"CONNECT x:80 HTTP/1.1"),
    "TRACE": line(b"TRACE /case HTTP/1.1"),
    "lower-case method": line(b"get /case HTTP/1.1"),
    "no colon": field(b"nocolon"),
}

LEGAL = VALID | {
    "list fields twice": field(b"Accept: a\r\nAccept: b\r\nX-A: c\r\nX-A: d\r\nCookie: e=f\r\nCookie: g=h"),
    "odd names": field(b"X-!#$%&'*+.^`|~: a\r\n1: b"),
    "no value": field(b"X-A:\r\nX-B: \t "),
    "tabs inside": field(b"X-A: b\tc \t d"),
    "long value": field(b"X-A: " + b"b" * 6000),
    "long path": line(b"GET /case/" + b"a" * 4000 + b" HTTP/1.1"),
    "query odd": line(b"GET /case?a=%00&b=c+d&&;e=%e4?f=/../g HTTP/1.1"),
    "path semicolon": line(b"GET /case;v=1/x=y,z:@!$&'()* HTTP/1.1"),
    "utf8 path": line(b"GET /c%C3%A4se HTTP/1.1"),
    "HEAD": line(b"HEAD /case HTTP/1.1"),
    "OPTIONS": line(b"OPTIONS /case HTTP/1.1"),
    "OPTIONS *": line(b"OPTIONS * HTTP/1.1"),
    "DELETE body": b"DELETE /case HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
    "PATCH": b"PATCH /case HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
    "HEAD with body": b"HEAD /case HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
    "PROPFIND": line(b"PROPFIND /case HTTP/1.1"),
    "PURGE": line(b"PURGE /case HTTP/1.1"),
    "many chunks": chunked(b"".join(b"1\r\n%c\r\n" % (97 + n % 26) for n in range(500)) + LAST),
    "big length": post(b"Content-Length: 300000", b"abcdefghij" * 30000),
    "big chunk": chunked(b"%x\r\n" % 300000 + b"abcdefghij" * 30000 + b"\r\n" + LAST),
    "host port": b"GET /case HTTP/1.1\r\nHost: x:8080\r\n\r\n",
    "host upper": b"GET /case HTTP/1.1\r\nHost: X.Example\r\n\r\n",
    "host ipv6": b"GET /case HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
    "host empty": b"GET /case HTTP/1.1\r\nHost:\r\n\r\n",
    "host comma": b"GET /case HTTP/1.1\r\nHost: x,y\r\n\r\n",
    "absolute no path": line(b"GET http://x HTTP/1.1"),
    "absolute query only": line(b"GET http://x?a=b HTTP/1.1"),
    "absolute https": line(b"GET https://x/case HTTP/1.1"),
    "absolute upper": line(b"GET HTTP://X/case HTTP/1.1"),
    "absolute port": line(b"GET http://x:80/case HTTP/1.1"),
    "double slash": line(b"GET //y/case HTTP/1.1"),
    "backslash": line(b"GET /case\\..\\x HTTP/1.1"),
    "quote in target": line(b'GET /ca"<>^`{|}se HTTP/1.1'),
    "two spaces": line(b"GET  /case HTTP/1.1"),
    "blank before": b"\r\n" + line(b"GET /case HTTP/1.1"),
    "range": field(b"Range: bytes=0-1"),
    "expect odd": post(b"Expect: 200-ok\r\nContent-Length: 5", b"hello"),
    "expect twice": post(b"Expect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 5", b"hello"),
    "expect no body": field(b"Expect: 100-continue"),
    "expect 1.0": b"POST /case HTTP/1.0\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
    "upgrade websocket": field(
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: eA==\r\nSec-WebSocket-Version: 13"
    ),
    "upgrade hidden": field(
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: eA==\r\nSec-WebSocket-Version: 13"
    )
    + line(b"GET /next HTTP/1.1"),
    "connection names CL": post(b"Connection: Content-Length\r\nContent-Length: %d" % len(HIDDEN), HIDDEN),
    "connection names TE": post(
        b"Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked", b"%x\r\n%b\r\n" % (len(HIDDEN), HIDDEN) + LAST
    ),
    "connection names Host": field(b"Connection: Host, X-A\r\nX-A: b"),
    "hop by hop": field(
        b"Connection: X-A, close\r\nX-A: b\r\nKeep-Alive: timeout=5\r\nTE: trailers\r\n"
        b"Proxy-Connection: close\r\nTrailer: X-B"
    ),
    "proxy": field(b"Proxy: http://evil.example"),
    "underscore": field(b"X_A: b\r\nX_Forwarded_For: 203.0.113.9\r\nX-Forwarded_For: 203.0.113.8"),
    "forwarded spoof": field(
        b"X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil.example\r\n"
        b"Forwarded: for=203.0.113.9"
    ),
    "CL leading zeros": post(b"Content-Length: 0005", b"hello"),
    "CL tab": post(b"Content-Length:\t5\t", b"hello"),
    "CL on GET hidden": b"GET /case HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(HIDDEN) + HIDDEN,
    "TE GET": b"GET /case HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(HIDDEN), HIDDEN)
    + LAST,
    "chunk ext long": chunked(b"5;" + b"a" * 3000 + b"\r\nhello\r\n" + LAST),
    "trailer host": chunked(b"5\r\nhello\r\n0\r\nHost: evil.example\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n"),
    "trailer long": chunked(b"0\r\nX-A: " + b"b" * 100000 + b"\r\n\r\n"),
    "HTTP/1.0 URL": b"GET http://other.example/case HTTP/1.0\r\n\r\n",
    "HTTP/1.0 no host": b"GET /case HTTP/1.0\r\n\r\n",
    "HTTP/1.0 length": b"POST /case HTTP/1.0\r\nContent-Length: 5\r\nHost: x\r\n\r\nhello",
    "HTTP/1.0 keep pipelined": b"GET /case HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n" * 2,
    "h2c upgrade": field(
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"
    ),
    "ten pipelined": b"".join(line(b"GET /case?n=%d HTTP/1.1" % n) for n in range(10)),
    "max forwards": b"TRACE /case HTTP/1.1\r\nHost: x\r\nMax-Forwards: 0\r\n\r\n",
}
"""Requests that a server must take, though some proxies do not."""

ILLEGAL = HOSTILE | {
    "host space": b"GET /case HTTP/1.1\r\nHost: x y\r\n\r\n",
    "host tab": b"GET /case HTTP/1.1\r\nHost: x\ty\r\n\r\n",
    "host twice same": field(b"Host: x"),
    "host folded": b"GET /case HTTP/1.1\r\nHost:\r\n x\r\n\r\n",
    "absolute user": line(b"GET http://u@x/case HTTP/1.1"),
    "absolute ftp": line(b"GET ftp://x/case HTTP/1.1"),
    "relative": line(b"GET case HTTP/1.1"),
    "star GET": line(b"GET * HTTP/1.1"),
    "raw utf8 target": line(b"GET /c\xc3\xa4se HTTP/1.1"),
    "del in target": line(b"GET /ca\x7fse HTTP/1.1"),
    "tab in line": line(b"GET\t/case\tHTTP/1.1"),
    "trailing space line": line(b"GET /case HTTP/1.1 "),
    "LF before": b"\n" + line(b"GET /case HTTP/1.1"),
    "http/1.2": line(b"GET /case HTTP/1.2"),
    "http/01.1": line(b"GET /case HTTP/01.1"),
    "HTTP/1.10": line(b"GET /case HTTP/1.10"),
    "http lower": line(b"GET /case http/1.1"),
    "long method": line(b"A" * 40 + b" /case HTTP/1.1"),
    "method odd": line(b"G@T /case HTTP/1.1"),
    "content-type twice": post(
        b"Content-Length: 5\r\nContent-Type: text/plain\r\nContent-Type: application/json", b"hello"
    ),
    "authorization twice": field(b"Authorization: Basic a\r\nAuthorization: Basic b"),
    "range twice": field(b"Range: bytes=0-1\r\nRange: bytes=2-3"),
    "user agent twice": field(b"User-Agent: a\r\nUser-Agent: b"),
    "origin twice": field(b"Origin: http://a\r\nOrigin: http://b"),
    "CL empty": post(b"Content-Length:", b"hello"),
    "CL hex": post(b"Content-Length: 0x5", b"hello"),
    "CL space inside": post(b"Content-Length: 1 0", b"hello"),
    "CL decimal point": post(b"Content-Length: 5.0", b"hello"),
    "CL NUL": post(b"Content-Length: 5\0", b"hello"),
    "CL too short": post(b"Content-Length: 3", b"hello"),
    "CL vs CL0": post(b"Content-Length: %d\r\nContent-Length: 0" % len(HIDDEN), HIDDEN),
    "CL folded": post(b"Content-Length:\r\n 5", b"hello"),
    "CL folded name": post(b"X-A: b\r\n Content-Length: 5", b"") + line(b"GET /next HTTP/1.1"),
    "TE twice chunked": post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", b"5\r\nhello\r\n" + LAST),
    "TE list chunked chunked": post(b"Transfer-Encoding: chunked, chunked", b"5\r\nhello\r\n" + LAST),
    "TE chunked, identity": post(b"Transfer-Encoding: chunked, identity", b"5\r\nhello\r\n" + LAST),
    "TE identity": post(b"Transfer-Encoding: identity\r\nContent-Length: 5", b"hello"),
    "TE empty": post(b"Transfer-Encoding:\r\nContent-Length: 5", b"hello"),
    "TE comma": post(b"Transfer-Encoding: , chunked", b"5\r\nhello\r\n" + LAST),
    "TE param": post(b"Transfer-Encoding: chunked;a=b\r\nContent-Length: 5", LAST + HIDDEN),
    "TE quoted": post(b'Transfer-Encoding: "chunked"\r\nContent-Length: 5', LAST + HIDDEN),
    "TE trailing tab": post(b"Transfer-Encoding: chunked\t\r\nContent-Length: 5", LAST + HIDDEN),
    "TE obs-text": post(b"Transfer-Encoding: \xa0chunked\r\nContent-Length: 5", LAST + HIDDEN),
    "TE NUL": post(b"Transfer-Encoding: chunked\0\r\nContent-Length: 5", LAST + HIDDEN),
    "TE name NUL": post(b"Transfer-Encoding\0: chunked\r\nContent-Length: 5", LAST + HIDDEN),
    "TE name obs": post(b"\xffTransfer-Encoding: chunked\r\nContent-Length: 5", LAST + HIDDEN),
    "TE dotless": post(b"Transfer-Encod\xc4\xb1ng: chunked\r\nContent-Length: 5", LAST + HIDDEN),
    "chunk negative": chunked(b"-5\r\nhello\r\n" + LAST),
    "chunk plus": chunked(b"+5\r\nhello\r\n" + LAST),
    "chunk space first": chunked(b" 5\r\nhello\r\n" + LAST),
    "chunk underscore": chunked(b"1_0\r\n" + b"a" * 16 + b"\r\n" + LAST),
    "chunk empty size": chunked(b"\r\nhello\r\n" + LAST),
    "chunk ext only": chunked(b";a\r\nhello\r\n" + LAST),
    "chunk 32 bits": chunked(b"100000005\r\nhello\r\n" + LAST),
    "last chunk with no end": chunked(b"5\r\nhello\r\n0\r\n"),
    "chunk ext quoted CRLF": chunked(b'5;a="\r\n"\r\nhello\r\n' + LAST),
    "trailer folded": chunked(b"0\r\nX-A: b\r\n c\r\n\r\n"),
    "trailer no colon": chunked(b"0\r\nnocolon\r\n\r\n"),
    "trailer hidden": chunked(b"0\r\nX: y\n\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"),
    "head 70K": field(b"X-A: " + b"b" * 70000),
    "300 fields": field(b"\r\n".join(b"X-%d: a" % n for n in range(300))),
    "target 70K": line(b"GET /" + b"a" * 70000 + b" HTTP/1.1"),
    "CR in value": field(b"X-A: b\rc"),
    "LF in value": field(b"X-A: b\nX-B: c"),
    "LF LF ends the head": b"POST /case HTTP/1.1\r\nHost: x\r\nContent-Length: %d\n\n" % len(HIDDEN) + HIDDEN,
    "CR CR LF": b"POST /case HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\r\nX: y\r\n\r\nhello",
    "DEL in value": field(b"X-A: b\x7fc"),
    "VT in value": field(b"X-A: b\x0bc"),
    "empty name": field(b": b"),
    "space name": field(b"X A: b"),
    "tab before colon": field(b"X-A\t: b"),
    "obs name": field(b"X-\xe4: b"),
    "fold first": b"GET /case HTTP/1.1\r\n\tX-A: b\r\nHost: x\r\n\r\n",
    "h2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "pipelined bad second": line(b"GET /case HTTP/1.1") + b"GET /next HTTP/1.1\r\nHost : x\r\n\r\n",
    "tls": bytes.fromhex("160301020001000130030300"),
    "proxy protocol": b"PROXY TCP4 203.0.113.9 127.0.0.1 1 2\r\n" + line(b"GET /case HTTP/1.1"),
}


def exchange(port: int, data: bytes) -> bytes:
    """What comes back for these bytes until the connection is closed."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=QUICK) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(data)
        with suppress(ConnectionResetError):
            while piece := connection.recv(65536):
                received += piece
    return received
