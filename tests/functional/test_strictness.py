"""What is refused, what is bounded, and whom the server believes: raw bytes against an application that keeps a record.

The contract: a malformed request is answered with an error, its connection is closed, and neither the request nor
anything after it on the connection reaches the application.
"""

from __future__ import annotations

import itertools
import json
import re
import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.functional.harness import (
    PATIENCE,
    Serve,
    Server,
    assert_failed,
    free_port,
    serving,
    wait_for,
    write_project,
)
from tests.support.functional.processes import resident
from tests.support.functional.recorder import RECORDER, seen
from tests.support.functional.wire import LAST_CHUNK, Wire, asking, wire

QUICK = 10.0
"""Seconds within which a refused connection must be closed, on a slow machine."""


FOLLOWING = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
HOST = b"Host: x\r\n"

Case = tuple[bytes, set[int]]


def project_of(directory: Path) -> Path:
    """A project whose WSGI application is the recorder."""
    return write_project(directory / "project", recorder=RECORDER)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with one thread, so that requests reach the application in the order in which they were sent.

    Connections from 127.0.0.1 are a trusted proxy's, those from 127.0.0.2 are not.
    """
    directory = project_of(tmp_path_factory.mktemp("strict"))
    options = ["--wsgi", "recorder.application", "--threads", "1", "--log-format", "json"]
    options += ["--forwarded-allow-ips", "127.0.0.1,10.0.0.0/8,2001:db8::/32"]
    with serving(*options, cwd=directory, logs=directory, settings="site_settings") as running:
        yield running


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with small limits and short timeouts."""
    directory = project_of(tmp_path_factory.mktemp("limited"))
    options = ["--wsgi", "recorder.application", "--threads", "4"]
    options += ["--max-header-size", "2K", "--max-body-size", "10K"]
    options += ["--header-timeout", "1", "--body-timeout", "1", "--keep-alive-timeout", "1"]
    with serving(*options, cwd=directory, logs=directory, settings="site_settings") as running:
        yield running


@pytest.fixture
def clean(server: Server) -> Server:
    """The server with an empty record."""
    seen(server)
    return server


def statuses(received: bytes) -> list[int]:
    """The status of every answer in what a connection received; the bodies here contain no status line."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", received)]


def exchange(port: int, data: bytes) -> bytes:
    """What comes back for these bytes until the server closes the connection, which it must do soon."""
    with wire(port) as connection:
        connection.socket.settimeout(QUICK)
        # The server may have refused and closed before it has taken everything.
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.send(data)
        return connection.rest()


def environ_of(connection: Wire, *headers: str, target: str = "/environ") -> dict[str, str]:
    """The environ of a request with these header lines."""
    connection.send(asking(target, *headers))
    environ: dict[str, str] = connection.answer().json()
    return environ


class Connected(Wire):
    """The wire over a socket that was connected in another way."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self.file = connected.makefile("rb")


@contextmanager
def from_address(server: Server, address: str) -> Iterator[Wire]:
    """A connection from another address of the loopback network."""
    target = ("127.0.0.1", server.port)
    connection = Connected(socket.create_connection(target, timeout=PATIENCE, source_address=(address, 0)))
    try:
        yield connection
    finally:
        connection.close()


def line(start: bytes, *, host: bytes = HOST) -> bytes:
    """A request without a body, from its request line."""
    return start + b"\r\n" + host + b"\r\n"


def field(text: bytes) -> bytes:
    """A request with one more header line."""
    return b"GET /bad HTTP/1.1\r\n" + HOST + text + b"\r\n\r\n"


def post(fields: bytes, body: bytes = b"", version: bytes = b"1.1") -> bytes:
    """A request with these framing fields, each ended by CRLF, and this body."""
    return b"POST /bad HTTP/" + version + b"\r\n" + HOST + fields + b"\r\n" + body


def chunks(body: bytes) -> bytes:
    """A request with a chunked body, as it is on the wire."""
    return post(b"Transfer-Encoding: chunked\r\n", body)


def variants(name: str, make: Callable[[bytes], bytes], expected: set[int], values: bytes) -> dict[str, Case]:
    """A case for each of the values, which are separated by `~`."""
    return {f"{name} {str(value)[2:-1]}": (make(value), expected) for value in values.split(b"~")}


FRAMING: dict[str, Case] = {
    "length-and-chunked": (post(b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", LAST_CHUNK), {400}),
    "chunked-and-length": (post(b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", LAST_CHUNK), {400}),
    "length-0-and-chunked": (post(b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", LAST_CHUNK), {400}),
    "length-and-CHUNKED": (post(b"content-length: 5\r\nTRANSFER-ENCODING: CHUNKED\r\n", LAST_CHUNK), {400}),
    "length-and-gzip": (post(b"Content-Length: 5\r\nTransfer-Encoding: gzip\r\n", b"hello"), {400, 501}),
    "two-lengths": (post(b"Content-Length: 5\r\nContent-Length: 6\r\n", b"hello!"), {400}),
    "two-lengths-0-first": (post(b"Content-Length: 0\r\nContent-Length: 44\r\n"), {400}),
    "two-lengths-in-a-list": (post(b"Content-Length: 5, 6\r\n", b"hello!"), {400}),
    "equal-lengths-in-a-list": (post(b"Content-Length: 5, 5\r\n", b"hello"), {400}),
    **variants(
        "length",
        lambda value: post(b"Content-Length: " + value + b"\r\n", b"hello"),
        {400},
        b"~+5~-5~0x5~5 5~5.0~5;~five~1e1~1_0~5\x0b~\xd9\xa5~5,",
    ),
    "length-of-30-digits": (post(b"Content-Length: " + b"9" * 30 + b"\r\n", b"hello"), {400, 413}),
    "length-above-64-bits": (post(b"Content-Length: 18446744073709551621\r\n", b"hello"), {400, 413}),
    **variants(
        "coding",
        lambda value: post(b"Transfer-Encoding: " + value + b"\r\n", b"5\r\nhello\r\n" + LAST_CHUNK),
        {400, 501},
        b"~gzip~gzip, chunked~chunked, gzip~chunked, chunked~identity~identity, chunked~chunked, identity~chunked,"
        b"~,chunked~xchunked~chunkedx~chunked;q=1~\x0bchunked~chunked\x0c~chunked\x00~chun ked~chunked\tx~\xa0"
        b'~"chunked"',
    ),
    "two-codings": (post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", LAST_CHUNK), {400, 501}),
    "coding-then-identity": (
        post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", LAST_CHUNK),
        {400, 501},
    ),
    "coding-in-1.0": (post(b"Transfer-Encoding: chunked\r\n", LAST_CHUNK, b"1.0"), {400}),
    "coding-in-1.0-kept-alive": (
        post(b"Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n", LAST_CHUNK, b"1.0"),
        {400},
    ),
    "coding-and-length-in-1.0": (
        post(b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", LAST_CHUNK, b"1.0"),
        {400},
    ),
    "upgrade-with-both": (
        post(b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n", LAST_CHUNK),
        {400},
    ),
    "upgrade-with-two-lengths": (
        post(b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 5\r\nContent-Length: 6\r\n", b"hello!"),
        {400},
    ),
}

FIELDS: dict[str, Case] = {
    "space-before-colon": (field(b"X-A : b"), {400}),
    "tab-before-colon": (field(b"X-A\t: b"), {400}),
    "space-before-colon-of-host": (b"GET /bad HTTP/1.1\r\nHost : x\r\n\r\n", {400}),
    "space-before-colon-of-length": (post(b"Content-Length : 5\r\n", b"hello"), {400}),
    "space-before-colon-of-coding": (post(b"Transfer-Encoding : chunked\r\n", LAST_CHUNK), {400}),
    "folded": (field(b"X-A: b\r\n c"), {400}),
    "folded-by-tab": (field(b"X-A: b\r\n\tc"), {400}),
    "folded-empty": (field(b"X-A:\r\n b"), {400}),
    "folded-coding": (post(b"Transfer-Encoding:\r\n chunked\r\n", LAST_CHUNK), {400}),
    "folded-length": (post(b"Content-Length: 5\r\n 0\r\n", b"hello"), {400}),
    "first-line-folded": (b"GET /bad HTTP/1.1\r\n X-A: b\r\n" + HOST + b"\r\n", {400}),
    "no-colon": (field(b"X-A"), {400}),
    "empty-name": (field(b": b"), {400}),
    **{
        f"name-with-{byte:#04x}": (field(b"X" + bytes([byte]) + b"A: b"), {400})
        for byte in (*b'\x00\x01\x08\x0b\x0c\x1b\x1f "(),/;<=>?@[\\]{}\x7f', 0x80, 0xFF)
    },
    **{
        f"value-with-{byte:#04x}": (field(b"X-A: b" + bytes([byte]) + b"c"), {400})
        for byte in b"\x00\x01\x08\x0b\x0c\x1b\x1f\x7f"
    },
    **{
        f"target-with-{byte:#04x}": (line(b"GET /bad" + bytes([byte]) + b"c HTTP/1.1"), {400})
        for byte in b"\x00\x01\x08\t\x0b\x0c\x1b\x1f\x7f"
    },
    "lf-everywhere": (b"GET /bad HTTP/1.1\nHost: x\n\n", {400}),
    "lf-before-the-request-line": (b"\n" + line(b"GET /bad HTTP/1.1"), {400}),
    "lf-after-the-request-line": (b"GET /bad HTTP/1.1\nHost: x\r\n\r\n", {400}),
    "lf-after-a-field": (b"GET /bad HTTP/1.1\r\nHost: x\nX-A: b\r\n\r\n", {400}),
    "lf-ends-the-head": (b"GET /bad HTTP/1.1\r\nHost: x\r\n\n", {400}),
    "lf-cr-lf-ends-the-head": (b"GET /bad HTTP/1.1\r\nHost: x\n\r\n", {400}),
    "lf-hides-a-length": (b"POST /bad HTTP/1.1\r\nHost: x\r\nX-A: b\nContent-Length: 5\r\n\r\nhello", {400}),
    "cr-in-a-value": (field(b"X-A: b\rc"), {400}),
    "cr-hides-a-coding": (post(b"X-A: b\rTransfer-Encoding: chunked\r\n", LAST_CHUNK), {400}),
    "cr-after-the-request-line": (b"GET /bad HTTP/1.1\rHost: x\r\n\r\n", {400}),
    "cr-ends-the-head": (b"GET /bad HTTP/1.1\r\nHost: x\r\n\r\r\n", {400}),
    "cr-cr-lf": (field(b"X-A: b\r"), {400}),
    "cr-in-the-target": (line(b"GET /bad\rc HTTP/1.1"), {400}),
    "cr-before-the-version": (line(b"GET /bad\r HTTP/1.1"), {400}),
    "no-host": (b"GET /bad HTTP/1.1\r\n\r\n", {400}),
    "two-hosts": (field(b"Host: x"), {400}),
    "two-hosts-that-differ": (field(b"hOST: y"), {400}),
    "two-hosts-in-1.0": (b"GET /bad HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n", {400}),
    **variants(
        "host",
        lambda value: line(b"GET /bad HTTP/1.1", host=b"Host: " + value + b"\r\n"),
        {400},
        b"a b~a/b~u@h~x:port~x:80:80~[::1~::1~x?y~x#y~a\\b~<x>~x y:80",
    ),
}

CHUNKS: dict[str, Case] = {
    **variants(
        "size",
        lambda value: chunks(value + b"\r\nhello\r\n" + LAST_CHUNK),
        {400},
        b'~g~-5~+5~0x5~ 5~5 ~5 5~5,~\x005~5\x00~5_0~\xd9\xa5~5\t~5\x0b~five~5.~5:a=b~5;a=\x00~5;\x01~"5"~5;a="\x7f"',
    ),
    "size-above-64-bits": (chunks(b"10000000000000005\r\nhello\r\n" + LAST_CHUNK), {400, 413}),
    "size-of-1000-digits": (chunks(b"f" * 1000 + b"\r\nhello\r\n" + LAST_CHUNK), {400, 413}),
    "size-ended-by-lf": (chunks(b"5\nhello\r\n" + LAST_CHUNK), {400}),
    "size-ended-by-cr": (chunks(b"5\rhello\r\n" + LAST_CHUNK), {400}),
    "extension-ended-by-lf": (chunks(b"5;a=b\nhello\r\n" + LAST_CHUNK), {400}),
    "extension-with-cr": (chunks(b"5;a\rb\r\nhello\r\n" + LAST_CHUNK), {400}),
    "extension-with-lf-in-quotes": (chunks(b'5;a="b\nc"\r\nhello\r\n' + LAST_CHUNK), {400}),
    "data-longer-than-its-size": (chunks(b"5\r\nhello!\r\n" + LAST_CHUNK), {400}),
    "data-shorter-than-its-size": (chunks(b"5\r\nhell\r\n" + LAST_CHUNK), {400}),
    "data-not-ended": (chunks(b"5\r\nhello" + LAST_CHUNK), {400}),
    "data-ended-by-lf": (chunks(b"5\r\nhello\n" + LAST_CHUNK), {400}),
    "data-ended-by-cr": (chunks(b"5\r\nhello\r" + LAST_CHUNK), {400}),
    "data-ended-by-anything": (chunks(b"5\r\nhelloXX" + LAST_CHUNK), {400}),
    "last-chunk-ended-by-lf": (chunks(b"5\r\nhello\r\n0\n\r\n"), {400}),
    "body-ended-by-lf": (chunks(b"5\r\nhello\r\n0\r\n\n"), {400}),
    "body-ended-by-anything": (chunks(b"5\r\nhello\r\n0\r\nXX"), {400}),
    "trailer-without-colon": (chunks(b"0\r\nX-A\r\n\r\n"), {400}),
    "trailer-with-space-before-colon": (chunks(b"0\r\nX-A : b\r\n\r\n"), {400}),
    "trailer-folded": (chunks(b"0\r\nX-A: b\r\n c\r\n\r\n"), {400}),
    "trailer-with-lf": (chunks(b"0\r\nX-A: b\nX-B: c\r\n\r\n"), {400}),
    "trailer-with-nul": (chunks(b"0\r\nX-A: b\x00\r\n\r\n"), {400}),
}

REQUEST_LINES: dict[str, Case] = {
    **variants(
        "target",
        lambda target: line(b"GET " + target + b" HTTP/1.1"),
        {400},
        b"bad~*~?bad~../bad~\\bad~x:80~*/bad~/bad#part~/a b~//x:y@/ z~http:/x/bad~http://~http:///bad~http:x~://x/bad"
        b"~http://x y/bad~http://x/bad#part~ftp://x/bad~javascript:bad~file:///etc/passwd",
    ),
    "no-target": (line(b"GET  HTTP/1.1"), {400}),
    "star-with-post": (line(b"POST * HTTP/1.1"), {400}),
    "connect": (line(b"CONNECT x:80 HTTP/1.1"), {400, 501}),
    **variants(
        "version",
        lambda version: line(b"GET /bad " + version),
        {505},
        b"HTTP/0.9~HTTP/1.2~HTTP/1.9~HTTP/2.0~HTTP/3.0~HTTP/9.9",
    ),
    **variants(
        "no version",
        lambda version: line(b"GET /bad " + version),
        {400, 505},
        b"H~HTTP/1~HTTP/1.~HTTP/.1~HTTP/1.1.1~HTTP/11~HTTP/1.10~HTTP/01.1~HTTP/2~HTTP/x.y~HTTP/-1.1~HTTP/1,1~HTTP/1.1x"
        b"~HTTP/1.1 x~HTTP/1.1 HTTP/1.1~http/1.1~HTTP/ 1.1~HTTP 1.1~HTTPS/1.1~XTTP/1.1~RTSP/1.0~RTSP/1.1~ICE/1.1",
    ),
    "rtsp-post": (b"POST /bad RTSP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", {400, 505}),
    "http-0.9": (b"GET /bad\r\n", {400, 505}),
    "http-2-preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, 505}),
    "unknown-method": (line(b"FROBNICATE /bad HTTP/1.1"), {501}),
    "no-method": (line(b" /bad HTTP/1.1"), {400, 501}),
    "method-with-a-bracket": (line(b"G(T /bad HTTP/1.1"), {400, 501}),
    "method-with-nul": (line(b"GET\x00 /bad HTTP/1.1"), {400, 501}),
    "tls": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", {400, 501}),
    "words": (b"EHLO mail.example\r\n", {400, 501}),
}

MALFORMED = {
    f"{group}:{name}": case
    for group, cases in (("framing", FRAMING), ("field", FIELDS), ("chunk", CHUNKS), ("line", REQUEST_LINES))
    for name, case in cases.items()
}


# Refusals


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_requests_are_refused(clean: Server, name: str) -> None:
    """A malformed request is answered once with an error, nothing of the connection reaches the application."""
    data, expected = MALFORMED[name]
    received = exchange(clean.port, data + FOLLOWING * 2)
    assert seen(clean) == []
    assert len(statuses(received)) == 1, received
    assert statuses(received)[0] in expected, received
    assert b"\r\nconnection: close\r\n" in received.lower()


def test_malformed_requests_after_a_good_one(clean: Server) -> None:
    """What came before a malformed request is answered first; the malformed one and what follows are not seen."""
    names = ("length-and-chunked", "two-lengths", "coding-in-1.0", "coding gzip, chunked")
    cases = [FRAMING[name] for name in names] + [CHUNKS["size g"], FIELDS["folded"], REQUEST_LINES["target bad"]]
    good = asking("/good", "Content-Length: 3", method="POST") + b"abc"
    for data, expected in cases:
        received = statuses(exchange(clean.port, good + data + FOLLOWING))
        assert received[0] == 200
        assert len(received) == 2
        assert received[1] in expected
        assert seen(clean) == [["POST", "/good", "abc"]]


def test_nothing_is_read_after_a_refusal(clean: Server) -> None:
    """A good request that is sent after the refusal has arrived is not seen either."""
    with wire(clean.port) as connection:
        connection.socket.settimeout(QUICK)
        connection.send(field(b"X-A : b"))
        assert connection.answer().status == 400
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.send(FOLLOWING)
        assert connection.rest() == b""
    assert seen(clean) == []


def test_a_refusal_survives_input_that_is_still_coming(clean: Server) -> None:
    """The client gets to see the refusal although it is still sending when the connection is closed."""
    received = exchange(clean.port, field(b"X-A : b") + b"x" * 500_000)
    assert statuses(received) == [400]


def test_incomplete_requests_are_not_seen(clean: Server) -> None:
    """A request whose client leaves before its end never reaches the application."""
    halves = (
        asking("/half", "Content-Length: 10", method="POST") + b"12345",
        chunks(b"5\r\nhello\r\n"),
        chunks(b"5\r\nhello\r\n0\r\n"),
        chunks(b"5\r\nhello\r\n0\r\nX-A: b\r\n"),
        asking("/half")[:-2],
    )
    for half in halves:
        with wire(clean.port) as connection:
            connection.send(half)
            connection.socket.shutdown(socket.SHUT_WR)
            connection.rest()
    assert seen(clean) == []


# What is accepted


def test_http_1_0_with_and_without_keep_alive(clean: Server) -> None:
    """An HTTP/1.0 connection goes on only if its client asks for that; no Host is needed."""
    with wire(clean.port) as connection:
        for _ in range(2):
            connection.send(b"GET /old HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            answer = connection.answer()
            assert answer.body == b"GET /old"
            assert answer.headers["Connection"].lower() == "keep-alive"
        connection.send(b"GET /last HTTP/1.0\r\n\r\n" + FOLLOWING)
        assert connection.answer().body == b"GET /last"
        assert connection.rest() == b""
    assert [path for _, path, _ in seen(clean)] == ["/old", "/old", "/last"]


def test_connection_close_ends_the_connection(clean: Server) -> None:
    """What follows a request with `Connection: close` is not looked at, whatever it is."""
    for following in (FOLLOWING, b"\x00\x01\x02", field(b"X-A : b")):
        received = exchange(clean.port, asking("/last", "Connection: close") + following)
        assert statuses(received)[0] == 200
        assert [path for _, path, _ in seen(clean)] == ["/last"]


@pytest.mark.parametrize(("method", "target"), [("HEAD", "/x"), ("GET", "/status/204"), ("GET", "/status/304")])
def test_answers_without_a_body(clean: Server, method: str, target: str) -> None:
    """HEAD, 204 and 304 have no body even if the application gives one, and the next answer is intact."""
    with wire(clean.port) as connection:
        connection.send(asking(target, method=method) + asking("/next"))
        first = connection.answer(method)
        assert first.status == (200 if method == "HEAD" else int(target[-3:]))
        assert first.headers["Transfer-Encoding"] is None
        if first.status == 204:
            assert first.headers["Content-Length"] is None
        assert connection.answer().body == b"GET /next"


def test_pipelined_requests_behind_a_slow_one(limited: Server) -> None:
    """Answers come in the order of the requests although the first one takes longest and threads are free."""
    seen(limited)
    targets = [f"/{number}" for number in range(50)]
    with wire(limited.port) as connection:
        connection.send(asking("/wait") + b"".join(map(asking, targets[:10])))
        wait_for(lambda: limited.probe("/metrics").text.count("twistserve_http_requests_in_progress 1.0"), "the wait")
        connection.send(b"".join(map(asking, targets[10:])))
        assert select.select([connection.socket], [], [], 0)[0] == []
        assert limited.get("/open").status == 200
        assert connection.answer().body == b"True"
        assert [connection.answer().body for _ in targets] == [f"GET {target}".encode() for target in targets]
    assert [path for _, path, _ in seen(limited)] == ["/wait", *targets]


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("http://testserver/environ", "/environ", ""),
        ("HTTP://testserver/environ?a=1", "/environ", "a=1"),
        ("http://testserver:80//environ/../environ", "//environ/../environ", ""),
        ("http://testserver", "/", ""),
        ("http://testserver?a=/b", "/", "a=/b"),
    ],
)
def test_absolute_form(clean: Server, target: str, path: str, query: str) -> None:
    """A target in absolute-form is accepted and means its path and query."""
    with wire(clean.port) as connection:
        connection.send(asking(target))
        answer = connection.answer()
    assert answer.status == 200
    assert seen(clean) == [["GET", path, ""]]
    if path == "/environ":
        assert answer.json()["QUERY_STRING"] == query


@pytest.mark.parametrize("target", ["http://inner.example/environ", "http://inner.example:8080/environ"])
def test_absolute_form_with_another_host(clean: Server, target: str) -> None:
    """The host in the target counts, not the Host field that contradicts it; or the request is refused.

    RFC 9112 section 3.2.2: an origin server must ignore the field and use the target's host.
    """
    received = exchange(clean.port, asking(target, "Connection: close"))
    if statuses(received) != [400]:
        environ = json.loads(received.partition(b"\r\n\r\n")[2])
        assert environ["HTTP_HOST"] == target.split("/")[2]


def test_options_star(clean: Server) -> None:
    """`OPTIONS *` is answered, and the connection goes on."""
    with wire(clean.port) as connection:
        connection.send(asking("*", method="OPTIONS"))
        assert connection.answer().status in (200, 204)
        connection.send(asking("/next"))
        assert connection.answer().body == b"GET /next"


def test_empty_lines_before_a_request(clean: Server) -> None:
    """An empty line before a request, which old clients send after a body, is ignored (RFC 9112 section 2.2)."""
    with wire(clean.port) as connection:
        connection.send(b"\r\n" + asking("/one", "Content-Length: 1", method="POST") + b"1\r\n" + asking("/two"))
        assert [connection.answer().body for _ in range(2)] == [b"POST /one", b"GET /two"]


def test_expect_continue_comes_in_its_turn(clean: Server) -> None:
    """`100 Continue` for a pipelined request comes after the answers before it, and the body is read then."""
    with wire(clean.port) as connection:
        first, second = asking("/first"), asking("/second", "Expect: 100-Continue", "Content-Length: 5", method="POST")
        connection.send(first + second)
        assert connection.answer().body == b"GET /first"
        assert connection.head().status == 100
        connection.send(b"hello" + asking("/third"))
        assert [connection.answer().body for _ in range(2)] == [b"POST /second", b"GET /third"]
    assert seen(clean) == [["GET", "/first", ""], ["POST", "/second", "hello"], ["GET", "/third", ""]]


@pytest.mark.parametrize(("version", "body"), [("1.0", b"hello"), ("1.1", b"")], ids=["http-1.0", "no-body"])
def test_expect_continue_that_needs_no_answer(clean: Server, version: str, body: bytes) -> None:
    """No `100 Continue` is sent to an HTTP/1.0 client nor for a request without a body (RFC 9110 section 10.1.1)."""
    with wire(clean.port) as connection:
        head = asking("/x", "Expect: 100-continue", f"Content-Length: {len(body)}", method="POST", version=version)
        connection.send(head + body)
        assert connection.answer().status == 200


def test_trailers_are_dropped(clean: Server) -> None:
    """Fields after a chunked body arrive nowhere, and replace nothing."""
    fields = ("Transfer-Encoding: chunked", "X-Mine: head", "Trailer: X-Mine")
    with wire(clean.port) as connection:
        connection.send(asking("/environ", *fields, method="POST") + b'5;name="a;b"\r\nhello\r\n00\r\n')
        connection.send(b"X-Mine: trailer\r\nX-Other: 1\r\nHost: evil\r\nCookie: a=1\r\n\r\n")
        environ = connection.answer().json()
        connection.send(asking("/environ"))
        following = connection.answer().json()
    assert environ["CONTENT_LENGTH"] == "5"
    assert environ["HTTP_X_MINE"] == "head"
    assert environ["HTTP_HOST"] == "testserver"
    assert not {"HTTP_X_OTHER", "HTTP_COOKIE", "HTTP_TRANSFER_ENCODING"} & environ.keys()
    assert not {"HTTP_X_OTHER", "HTTP_COOKIE", "HTTP_X_MINE"} & following.keys()
    assert seen(clean)[0] == ["POST", "/environ", "hello"]


@pytest.mark.parametrize("apart", [False, True], ids=["together", "apart"])
@pytest.mark.parametrize(
    ("framing", "body", "plain"),
    [
        ("Content-Length: 5", b"hello", "hello"),
        ("Transfer-Encoding: chunked", b"5\r\nhello\r\n1\r\n!\r\n0\r\nX-A: b\r\n\r\n", "hello!"),
        ("Content-Length: 0", b"", ""),
        ("X-None: 1", b"", ""),
    ],
    ids=["length", "chunked", "empty", "none"],
)
def test_upgrade_that_is_not_taken(clean: Server, framing: str, body: bytes, plain: str, apart: bool) -> None:
    """An offer to upgrade is answered as HTTP/1.1, with its body, and the requests after it are intact."""
    offer = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk", framing)
    pieces = [asking("/upgrade", *offer, method="POST"), body, asking("/next"), asking("/upgrade", *offer), body]
    pieces += [asking("/last", "Content-Length: 3", method="POST") + b"end"]
    with wire(clean.port) as connection:
        for piece in pieces if apart else [b"".join(pieces)]:
            connection.send(piece)
            if apart and piece:
                # Another request's answer: by then the server has read the piece.
                clean.probe("/alive")
        bodies = [connection.answer().body for _ in range(4)]
    assert bodies == [b"POST /upgrade", b"GET /next", b"GET /upgrade", b"POST /last"]
    expected = [["POST", "/upgrade", plain], ["GET", "/next", ""], ["GET", "/upgrade", plain], ["POST", "/last", "end"]]
    assert seen(clean) == expected


def test_many_upgrades_in_a_pipeline(clean: Server) -> None:
    """However many offers to upgrade arrive together, each is answered."""
    count = 1100
    offer = b"GET /u HTTP/1.1\r\nHost:x\r\nUpgrade:a\r\nConnection:upgrade\r\n\r\n"
    received = exchange(clean.port, offer * count + asking("/last", "Connection: close"))
    assert len(statuses(received)) == count + 1
    assert len(seen(clean)) == count + 1


# Sizes


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /" + b"a" * 3000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
        (b"GET /?" + b"a" * 3000, 414),
        (field(b"X-A: " + b"a" * 3000), 431),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X-A: " + b"a" * 3000, 431),
        (b"GET / HTTP/1.1\r\n" + HOST + b"a" * 3000, 431),
        (field(b"\r\n".join(b"X-%d: a" % number for number in range(300))), 431),
        (b"GET / HTTP/1.1\r\n" + HOST + b"".join(b"X-%d: a\r\n" % number for number in range(300)), 431),
    ],
    ids=["target", "open-target", "value", "open-value", "open-name", "many", "open-many"],
)
def test_heads_that_are_too_large(limited: Server, head: bytes, status: int) -> None:
    """A head beyond --max-header-size is refused, whether or not its end has come, and nothing reaches a view."""
    seen(limited)
    received = exchange(limited.port, head + (FOLLOWING if head.endswith(b"\r\n\r\n") else b""))
    assert statuses(received) == [status]
    assert seen(limited) == []


def test_heads_within_the_limit(limited: Server) -> None:
    """Heads just below the limit are accepted, one after another on a connection, in whatever pieces they come."""
    request = asking("/" + "a" * 900, "X-A: " + "b" * 900)
    with wire(limited.port) as connection:
        for start, end in itertools.pairwise((0, 700, len(request) + 700, 2 * len(request) + 1400, 4 * len(request))):
            connection.send((request * 4)[start:end])
        assert [connection.answer().status for _ in range(4)] == [200] * 4


def test_body_before_the_head_does_not_count(limited: Server) -> None:
    """The head limit counts the head alone, not the previous request's body that arrived together with it."""
    with wire(limited.port) as connection:
        upload = asking("/upload", "Content-Length: 9000", method="POST") + b"b" * 9000
        connection.send(upload + asking("/next")[:10])
        assert connection.answer().body == b"POST /upload"
        connection.send(asking("/next")[10:])
        answer = connection.answer()
        assert (answer.status, answer.body) == (200, b"GET /next")


@pytest.mark.parametrize("part", [b"0\r\nX-A: ", b"5;a=", b"0;"], ids=["trailer", "extension", "last-extension"])
def test_chunked_framing_without_end_is_refused(limited: Server, part: bytes) -> None:
    """What surrounds a chunked body, which no limit of bodies counts, is bounded too."""
    with wire(limited.port) as connection:
        connection.socket.settimeout(QUICK)
        before, sent = resident(limited), 0
        connection.send(chunks(part))
        try:
            while sent < 16 << 20 and not select.select([connection.socket], [], [], 0)[0]:
                sent += connection.socket.send(b"a" * 65536)
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert sent < 16 << 20, f"{sent} bytes taken, {resident(limited) - before} bytes of memory grown"
        assert connection.head().status in (400, 413, 431)


def test_trailers_without_end_are_refused(limited: Server) -> None:
    """Trailer fields beyond what a head may have are refused, although they are dropped."""
    with wire(limited.port) as connection:
        connection.socket.settimeout(QUICK)
        connection.send(chunks(b"0\r\n"))
        sent = 0
        try:
            while sent < 16 << 20 and not select.select([connection.socket], [], [], 0)[0]:
                sent += connection.socket.send(b"X-A: b\r\n" * 8192)
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert sent < 16 << 20
        assert connection.head().status in (400, 413, 431)


@pytest.mark.parametrize("expect", [False, True], ids=["plain", "expect"])
def test_body_too_large_by_its_length(limited: Server, expect: bool) -> None:
    """A length beyond --max-body-size is refused before a byte of the body is sent, and not invited."""
    seen(limited)
    headers = ["Content-Length: 10241", *(["Expect: 100-continue"] if expect else [])]
    with wire(limited.port) as connection:
        connection.socket.settimeout(QUICK)
        connection.send(asking("/upload", *headers, method="POST"))
        assert connection.answer().status == 413
        assert connection.rest() == b""
    assert seen(limited) == []


def test_chunked_body_too_large(limited: Server) -> None:
    """A chunked body is refused as soon as it passes the limit, without waiting for its end."""
    seen(limited)
    with wire(limited.port) as connection:
        connection.socket.settimeout(QUICK)
        connection.send(chunks(b"1000\r\n" + b"b" * 4096 + b"\r\n"))
        connection.send(b"1000\r\n" + b"b" * 4096 + b"\r\n" + b"801\r\n" + b"b" * 2049)
        assert connection.answer().status == 413
        assert connection.rest() == b""
    assert seen(limited) == []


def test_bodies_within_the_limit(limited: Server) -> None:
    """A body of exactly --max-body-size is accepted, by length and in chunks."""
    body = b"b" * 10240
    with wire(limited.port) as connection:
        connection.send(asking("/x", "Content-Length: 10240", method="POST") + body)
        connection.send(chunks(b"2800\r\n" + body + b"\r\n" + LAST_CHUNK))
        assert [connection.answer().status for _ in range(2)] == [200, 200]


# Times


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /half HTTP/1.1\r\nHos", 408),
        (asking("/half", "Content-Length: 10", method="POST") + b"12345", 408),
        (chunks(b"5\r\nhello\r\n"), 408),
        (asking("/whole"), 200),
    ],
    ids=["head", "body", "chunked", "idle"],
)
def test_timeouts(limited: Server, sent: bytes, status: int) -> None:
    """Half a head and half a body are answered 408, an idle connection is closed without a word."""
    begun = time.monotonic()
    assert statuses(exchange(limited.port, sent)) == [status]
    assert time.monotonic() - begun >= 0.9


def test_connection_on_which_nothing_comes(limited: Server) -> None:
    """A connection that never begins a request is closed."""
    assert statuses(exchange(limited.port, b"")) in ([], [408])


def trickle(connection: Wire, data: bytes, pause: float) -> bytes:
    """Send one byte after another until all is sent or something comes back; then read to the end."""
    for position in range(len(data)):
        if select.select([connection.socket], [], [], pause)[0]:
            break
        connection.send(data[position : position + 1])
    return connection.rest()


def test_head_at_a_trickle_is_cut(limited: Server) -> None:
    """A head has --header-timeout to arrive whole: bytes that keep coming do not prolong it."""
    with wire(limited.port) as connection:
        begun = time.monotonic()
        received = trickle(connection, asking("/slow", "X-A: " + "a" * 200), 0.1)
        assert statuses(received) == [408]
        assert time.monotonic() - begun < 10


def test_steady_body_is_not_cut(limited: Server) -> None:
    """A body that keeps coming may take as long as it needs."""
    with wire(limited.port) as connection:
        connection.send(asking("/slow", "Content-Length: 16", "Connection: close", method="POST"))
        begun = time.monotonic()
        received = trickle(connection, b"0123456789abcdef", 0.2)
        assert time.monotonic() - begun > 2.5
    assert statuses(received) == [200]
    assert ["POST", "/slow", "0123456789abcdef"] in seen(limited)


def test_connections_beyond_the_limit_wait(serve: Serve, tmp_path: Path) -> None:
    """Connections beyond --max-connections are not answered until another closes; the probes still are."""
    options = ("--wsgi", "recorder.application", "--max-connections", "2")
    server = serve(*options, cwd=project_of(tmp_path), settings="site_settings")
    first, second = Wire(server.port), Wire(server.port)
    for connection in (first, second):
        connection.send(asking("/held"))
        assert connection.answer().status == 200
    later = [Wire(server.port) for _ in range(3)]
    for number, connection in enumerate(later):
        connection.send(asking(f"/later/{number}"))
    assert server.probe("/alive").status == 200
    assert select.select([each.socket for each in later], [], [], 0.5)[0] == []
    first.send(asking("/still"))
    assert first.answer().body == b"GET /still"
    for closing, number in zip((first, second, later[0]), range(3), strict=True):
        closing.close()
        assert later[number].answer().body == f"GET /later/{number}".encode()
    for connection in later[1:]:
        connection.close()


# Whom to believe


def test_underscores_forge_nothing(clean: Server) -> None:
    """No spelling with underscores reaches the environ or counts for framing, trusted peer or not."""
    forged = ("X_Forwarded_For: 9.9.9.9", "X_Forwarded-Proto: https", "Content_Length: 5", "Transfer_Encoding: chunked")
    more = ("X_Request_ID: forged", "_Proxy: x", "Remote_Addr: 9.9.9.9", "HTTP_HOST: evil", "Host_: evil", "Proxy: x")
    with wire(clean.port) as connection:
        environ = environ_of(connection, *forged, *more)
        assert environ_of(connection)["REMOTE_ADDR"] == "127.0.0.1"
    assert not [value for value in environ.values() if value in ("9.9.9.9", "evil", "forged", "x", "chunked")]
    assert environ["wsgi.url_scheme"] == "http"
    assert environ.get("CONTENT_LENGTH", "") in ("", "0")


def test_forwarded_by_a_trusted_peer(clean: Server) -> None:
    """A trusted peer's X-Forwarded fields say who the client is, and by which scheme; host and port reach Django."""
    fields = ("X-Forwarded-For: 198.51.100.7", "X-Forwarded-Proto: https", "X-Forwarded-Host: shop.example")
    with wire(clean.port) as connection:
        environ = environ_of(connection, *fields, "X-Forwarded-Port: 443")
        assert environ["REMOTE_ADDR"] == "198.51.100.7"
        assert environ["wsgi.url_scheme"] == "https"
        assert (environ["HTTP_X_FORWARDED_HOST"], environ["HTTP_X_FORWARDED_PORT"]) == ("shop.example", "443")
        assert (environ["HTTP_HOST"], environ["SERVER_PORT"]) == ("testserver", str(clean.port))
        plain = environ_of(connection)
    assert (plain["REMOTE_ADDR"], plain["wsgi.url_scheme"]) == ("127.0.0.1", "http")
    assert (plain["HTTP_HOST"], plain["SERVER_PORT"]) == ("testserver", str(clean.port))


@pytest.mark.parametrize(
    ("hops", "address"),
    [
        (["203.0.113.9"], "203.0.113.9"),
        (["6.6.6.6, 203.0.113.9"], "203.0.113.9"),
        (["6.6.6.6, 203.0.113.9, 10.0.0.3"], "203.0.113.9"),
        (["6.6.6.6 ,203.0.113.9,10.0.0.3 , 10.9.9.9"], "203.0.113.9"),
        (["6.6.6.6", "203.0.113.9", "10.0.0.3"], "203.0.113.9"),
        (["10.0.0.4, 10.0.0.3"], "10.0.0.4"),
        (["203.0.113.9:4711"], "203.0.113.9"),
        (["2001:db9::7"], "2001:db9::7"),
        (["[2001:db9::7]:4711, 2001:db8::1"], "2001:db9::7"),
        (["2001:DB9:0::7"], "2001:db9::7"),
        (["::ffff:203.0.113.9"], "203.0.113.9"),
        (["6.6.6.6, nonsense, 10.0.0.3"], "10.0.0.3"),
        (["6.6.6.6, unknown"], "127.0.0.1"),
        ([""], "127.0.0.1"),
        (["203.0.113.9, "], "127.0.0.1"),
        (["<script>"], "127.0.0.1"),
    ],
)
def test_forwarded_list_is_walked_from_the_right(clean: Server, hops: list[str], address: str) -> None:
    """The client is the last address that is no trusted proxy's: what the client itself put before is not believed."""
    with wire(clean.port) as connection:
        environ = environ_of(connection, *(f"X-Forwarded-For: {each}" for each in hops))
    assert environ["REMOTE_ADDR"] == address


def test_forwarded_by_an_untrusted_peer(clean: Server) -> None:
    """An untrusted peer's X-Forwarded fields are not believed, and removed before the application sees them."""
    names = ("For: 10.0.0.1", "Proto: https", "Host: evil.example", "Port: 443")
    fields = [f"{prefix}-Forwarded-{name}" for prefix in ("X", "x") for name in names]
    with from_address(clean, "127.0.0.2") as connection:
        environ = environ_of(connection, *fields)
    assert environ["REMOTE_ADDR"] == "127.0.0.2"
    assert environ["wsgi.url_scheme"] == "http"
    assert environ["HTTP_HOST"] == "testserver"
    assert environ["SERVER_PORT"] == str(clean.port)
    assert not [name for name in environ if "FORWARDED" in name]


def test_trust_everyone(serve: Serve, tmp_path: Path) -> None:
    """--forwarded-allow-ips '*' believes every peer."""
    options = ("--wsgi", "recorder.application", "--forwarded-allow-ips", "*")
    server = serve(*options, cwd=project_of(tmp_path), settings="site_settings")
    with from_address(server, "127.0.0.3") as connection:
        environ = environ_of(connection, "X-Forwarded-For: 198.51.100.7", "X-Forwarded-Proto: https")
    assert (environ["REMOTE_ADDR"], environ["wsgi.url_scheme"]) == ("198.51.100.7", "https")


def test_request_id(clean: Server) -> None:
    """X-Request-ID is taken from a trusted peer, made otherwise, and is the same in environ and answer."""

    def of(connection: Wire, *headers: str) -> str:
        connection.send(asking("/environ", *headers))
        answer = connection.answer()
        assert answer.headers.get_all("X-Request-ID") == [answer.json()["HTTP_X_REQUEST_ID"]]
        return str(answer.headers["X-Request-ID"])

    with wire(clean.port) as proxy, from_address(clean, "127.0.0.2") as stranger:
        assert of(proxy, "X-Request-ID: from-the-proxy.1") == "from-the-proxy.1"
        made = [of(proxy), of(proxy), of(stranger, "X-Request-ID: forged"), of(stranger)]
        assert len(of(proxy, "X-Request-ID: " + "a" * 5000)) < 5000
    assert len(set(made)) == 4
    assert "forged" not in made
    assert all(re.fullmatch(r"[\w-]{8,}", each) for each in made)


# Answers


@pytest.mark.parametrize(
    "kind",
    [
        *("value-cr", "value-lf", "value-crlf", "value-nul", "value-end", "name-cr", "name-lf", "name-nul"),
        *("name-colon", "name-space", "name-empty", "type", "location", "length", "length-word"),
    ],
)
def test_headers_that_would_break_the_answer(clean: Server, kind: str) -> None:
    """A header that would end its line or the head makes the answer a 500, and is logged."""
    with wire(clean.port) as connection:
        connection.send(asking(f"/inject/{kind}", "Connection: close"))
        received = connection.rest()
    assert statuses(received) == [500]
    for part in (b"stolen", b"<script>", b"X-B", b"X-Injected", b"\0", b"HTTP/1.1 200"):
        assert part not in received
    wait_for(lambda: f"/inject/{kind}" in clean.output, "the log line")
    assert "Traceback" in clean.output


# The access log


def lines_with(server: Server, mark: str) -> list[str]:
    """The lines of the server's output that contain this, once there are some."""
    return wait_for(lambda: [each for each in server.output.splitlines() if mark in each], f"{mark!r} in the log")


def test_access_log_in_json(clean: Server) -> None:
    """Each request is one line of JSON with the fields that were promised."""
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    fields = ("X-Forwarded-For: 198.51.100.7", "X-Request-ID: request-77", f"traceparent: {parent}")
    with wire(clean.port) as connection:
        connection.send(asking("/json-line?a=1", *fields, "User-Agent: tests/1.0", method="PUT"))
        body = connection.answer().body
    [text] = lines_with(clean, "/json-line")
    entry = json.loads(text)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", entry.pop("time"))
    assert 0 <= entry.pop("queue_time") <= entry.pop("duration") < 60
    assert entry == {
        "level": "INFO",
        "logger": "twistserve.access",
        "message": "PUT /json-line?a=1 200",
        "request_id": "request-77",
        "remote": "198.51.100.7",
        "method": "PUT",
        "path": "/json-line?a=1",
        "status": 200,
        "bytes": len(body),
        "user_agent": "tests/1.0",
        "traceparent": parent,
    }


FORGERY = b'forged" 200 0 "-" "\\" \\x0a\\n {"status": 1} \x85\x9b31m\xa8 \xff \t end'
COMBINED = re.compile(
    r'(\S+) - - \[[^\]]+\] "((?:[^"\\]|\\.)*)" (\d{3}) (\d+) "((?:[^"\\]|\\.)*)" "((?:[^"\\]|\\.)*)"( \S+)*'
)


def without_prefix(text: str) -> str:
    """A line of the access log as it is in the combined format, without time, level and logger."""
    prefix, _, line = text.partition(" twistserve.access: ")
    assert re.fullmatch(r"\S+ \S+ [A-Z]+", prefix), text
    return line


def forge(server: Server, mark: bytes) -> str:
    """Send what could forge a line in every place that is logged, and return the one line it made."""
    target = b'/"%0d%0a"200\\"\\x0a' + mark
    with wire(server.port) as connection:
        connection.send(
            b"GET " + target + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\nUser-Agent: " + FORGERY + b"\r\n"
            b"Referer: " + FORGERY + b"\r\nTraceparent: " + FORGERY + b"\r\nX-Request-ID: " + FORGERY + b"\r\n"
            b"X-Forwarded-For: " + FORGERY + b"\r\n\r\n"
        )
        assert statuses(connection.rest()) == [200]
    [text] = lines_with(server, mark.decode())
    return text


def test_json_lines_cannot_be_forged(clean: Server) -> None:
    """What a client sends stays within its field of its line of JSON."""
    entry = json.loads(forge(clean, b"forging-json"))
    assert entry["status"] == 200
    assert entry["remote"] == "127.0.0.1"
    assert entry["user_agent"] == FORGERY.decode("latin-1")


def test_text_lines_cannot_be_forged(limited: Server) -> None:
    """What a client sends stays within its quotes of its line, and no control character reaches a terminal."""
    text = forge(limited, b"forging-text")
    assert not re.search(r"[\x00-\x1f\x7f-\x9f]", text)
    match = COMBINED.fullmatch(without_prefix(text))
    assert match, text
    assert (match[1], match[3], match[4]) == ("127.0.0.1", "200", match[4])
    assert "forged" in match[5]
    assert "forged" in match[6]


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_refusals_are_logged(server: Server, limited: Server, log_format: str) -> None:
    """A refused connection is a line too, which quotes nothing of what was sent."""
    logging = server if log_format == "json" else limited

    def refusals() -> list[str]:
        return [each for each in logging.output.splitlines() if re.search(r'"status": 400|" 400 ', each)]

    before = len(refusals())
    assert statuses(exchange(logging.port, field(b"X-A : unquoted"))) == [400]
    wait_for(lambda: len(refusals()) > before, "the line")
    text = refusals()[-1]
    assert "unquoted" not in logging.output
    if log_format == "json":
        assert json.loads(text).items() >= {"status": 400, "remote": "127.0.0.1"}.items()
    else:
        match = COMBINED.fullmatch(without_prefix(text))
        assert match
        assert match[1] == "127.0.0.1"


# Endpoints


@pytest.fixture(scope="module")
def endpoints(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path, int]]:
    """A server of three endpoints: TCP on its port, a Unix socket, and TCP behind a proxy that speaks PROXY."""
    directory = tmp_path_factory.mktemp("endpoints")
    port, proxied, path = free_port(), free_port(), directory / "web.sock"
    options = ["--endpoint", f"tcp:{port}:interface=127.0.0.1", "--endpoint", f"unix:{path}:mode=660"]
    options += ["--endpoint", f"haproxy:tcp:{proxied}:interface=127.0.0.1", "--probe-port", str(port + 1)]
    options += ["--wsgi", "recorder.application"]
    cwd = project_of(directory)
    with serving(*options, cwd=cwd, logs=directory, settings="site_settings", port=port) as running:
        yield running, path, proxied


def test_tcp_endpoint(endpoints: tuple[Server, Path, int]) -> None:
    """A tcp endpoint serves on the address it names alone."""
    server, _, _ = endpoints
    with wire(server.port) as connection:
        environ = environ_of(connection)
    assert (environ["REMOTE_ADDR"], environ["SERVER_PORT"]) == ("127.0.0.1", str(server.port))
    with pytest.raises(OSError, match=r"refused|assign|unreachable|not supported"):
        socket.create_connection(("127.0.0.2", server.port), timeout=PATIENCE)


@contextmanager
def unix_wire(path: Path) -> Iterator[Wire]:
    """A connection to a Unix socket."""
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(PATIENCE)
    client.connect(str(path))
    connection = Connected(client)
    try:
        yield connection
    finally:
        connection.close()


def test_unix_endpoint(endpoints: tuple[Server, Path, int]) -> None:
    """A unix endpoint has the mode it was given, serves requests with and without bodies, and refuses as others do."""
    server, path, _ = endpoints
    assert path.stat().st_mode & 0o777 == 0o660
    with unix_wire(path) as connection:
        environ = environ_of(connection)
        assert environ["SERVER_NAME"]
        assert environ["HTTP_HOST"] == "testserver"
        connection.send(asking("/upload", "Content-Length: 3000000", method="POST") + b"b" * 3_000_000)
        connection.send(asking("/next"))
        assert [connection.answer().body for _ in range(2)] == [b"POST /upload", b"GET /next"]
        connection.send(FRAMING["length-and-chunked"][0])
        assert connection.answer().status == 400
        assert connection.rest() == b""
    assert seen(server)


@pytest.mark.parametrize(
    ("greeting", "address"),
    [
        (b"PROXY TCP4 198.51.100.7 127.0.0.1 4711 80\r\n", "198.51.100.7"),
        (b"PROXY TCP6 2001:db8::7 ::1 4711 80\r\n", "2001:db8::7"),
    ],
    ids=["ipv4", "ipv6"],
)
@pytest.mark.parametrize("apart", [False, True], ids=["together", "apart"])
def test_proxy_protocol(endpoints: tuple[Server, Path, int], greeting: bytes, address: str, apart: bool) -> None:
    """Behind a proxy that speaks the PROXY protocol, the client's address is the one that was forwarded."""
    server, _, proxied = endpoints
    with wire(proxied) as connection:
        if apart:
            connection.send(greeting)
            server.probe("/alive")
            greeting = b""
        connection.send(greeting + asking("/environ", "User-Agent: proxied" + address, "X-Forwarded-For: 1.2.3.4"))
        environ = connection.answer().json()
        again = environ_of(connection)
    assert environ["REMOTE_ADDR"] == again["REMOTE_ADDR"] == address
    assert environ["REMOTE_PORT"] == "4711"
    assert "HTTP_X_FORWARDED_FOR" not in environ
    lines = lines_with(server, "proxied" + address)
    assert all(without_prefix(text).startswith(f"{address} ") for text in lines)


@pytest.mark.parametrize("greeting", [b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN ::1 ::1 4711 80\r\n"])
def test_proxy_protocol_of_nobody(endpoints: tuple[Server, Path, int], greeting: bytes) -> None:
    """A proxy's own connections, such as its health checks, tell no address: it is the proxy's."""
    _, _, proxied = endpoints
    with wire(proxied) as connection:
        connection.send(greeting)
        assert environ_of(connection)["REMOTE_ADDR"] == "127.0.0.1"


@pytest.mark.parametrize(
    "greeting",
    [
        b"",
        b"PROXY nonsense\r\n",
        b"PROXY TCP4 1.2.3.4\r\n",
        b"PROXY TCP4 a b c d\r\n",
        b"PROXY TCP4 1.2.3.4 127.0.0.1 c 80\r\n",
        b"PROXY TCP4 1.2.3.4 127.0.0.1 4711 65536\r\n",
        b"PROXY TCP4 1.2.3.4 127.0.0.1 -1 80\r\n",
        b'PROXY TCP4 1.2.3.4\x1b[31m"evil 127.0.0.1 4711 80\r\n',
        b"PROXY TCP4 1.2.3.4 evil 4711 80\r\n",
        b"PROXY TCP4 1.2.3.4\0 127.0.0.1 4711 80\r\n",
        b"PROXY TCP4 1.2.3.\xff 127.0.0.1 4711 80\r\n",
        b"PROXY TCP4 ::1 ::1 4711 80\r\n",
        b"PROXY TCP6 1.2.3.4 127.0.0.1 4711 80\r\n",
        b"PROXY TCP6 fe80::1%evil ::1 4711 80\r\n",
    ],
)
def test_proxy_protocol_that_is_not_spoken(endpoints: tuple[Server, Path, int], greeting: bytes) -> None:
    """A connection to a haproxy endpoint without a PROXY line that is right is closed; no request on it is seen."""
    server, _, proxied = endpoints
    seen(server)
    assert exchange(proxied, greeting + FOLLOWING + FOLLOWING * 20) == b""
    assert seen(server) == []
    assert "Traceback" not in server.output


@pytest.mark.parametrize(
    ("endpoint", "named"),
    [
        ("nonsense", "nonsense"),
        ("tcp:http", "tcp:http"),
        ("unix:/nonexistent/web.sock", "/nonexistent/web.sock"),
        ("ssl:8443:privateKey=/nonexistent.pem", "/nonexistent.pem"),
    ],
)
def test_bad_endpoint(serve: Serve, project: Callable[..., Path], endpoint: str, named: str) -> None:
    """An endpoint that cannot be is told in one line, with status 1."""
    port = free_port()
    options = ("--endpoint", endpoint, "--probe-port", str(port))
    server = serve(*options, cwd=project(), settings="site_settings", until=None, port=port)
    assert_failed(server, "--endpoint", named)


def test_endpoint_in_use(serve: Serve, project: Callable[..., Path]) -> None:
    """An endpoint whose port is taken is told in one line, with status 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        endpoint = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
        options = ("--endpoint", endpoint, "--probe-port", str(free_port()))
        server = serve(*options, cwd=project(), settings="site_settings", until=None, port=free_port())
        assert_failed(server, "--endpoint", endpoint)


def test_unix_socket_that_was_left_behind(serve: Serve, tmp_path: Path) -> None:
    """A socket file that a killed server left is no obstacle to the next start."""
    cwd, path, port = project_of(tmp_path), tmp_path / "web.sock", free_port()
    options = ("--endpoint", f"unix:{path}:mode=600", "--probe-port", str(port + 1), "--wsgi", "recorder.application")
    serve(*options, cwd=cwd, settings="site_settings", port=port).kill()
    assert path.exists()
    serve(*options, cwd=cwd, settings="site_settings", port=port)
    with unix_wire(path) as connection:
        connection.send(asking("/again"))
        assert connection.answer().body == b"GET /again"
