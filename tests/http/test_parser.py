"""Requests out of the bytes of a connection, however these arrive: no socket, and a clock that the test moves."""

from __future__ import annotations

import itertools
from typing import IO

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.http1 import Lab, Record, get, posted
from twistserve.http.head import Head, Refusal
from twistserve.http.limits import Limits
from twistserve.http.parser import RequestParser


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (posted(b"/", 11), 413),
        (get(b"/", b"Transfer-Encoding: chunked", method=b"POST") + b"b\r\nhello world\r\n", 413),
        (get(b"/" + b"a" * 200), 414),
        (b"GET /" + b"a" * 200, 414),
        (get(b"/", b"X-A: " + b"a" * 200), 431),
        (get(b"/", *[b"A:"] * 300), 431),
    ],
    ids=["length", "chunks", "target", "target without end", "field", "many fields"],
)
def test_sizes_are_bounded(data: bytes, status: int) -> None:
    """A body, target or head beyond its limit is refused by its status."""
    lab = Lab(at_once=True, limits=Limits(max_body=10, max_head=150))
    connection = lab.connect()
    connection.feed(data)
    assert connection.statuses == [status]
    assert connection.closed
    assert lab.recorder.seen == []


PROPERTY = settings(
    max_examples=200, deadline=None, database=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)


token = st.text("abcXYZ019!#$%&'*+.^_`|~-", min_size=1, max_size=12).map(lambda text: b"X-" + text.encode())


visible = [*range(0x21, 0x7F), *range(0x80, 0x100)]


words = st.lists(st.lists(st.sampled_from(visible), min_size=1, max_size=8).map(bytes), max_size=4)


value = words.map(b" ".join)


paths = st.text("abc/%20?=&;:@~.", max_size=20).map(lambda text: b"/" + text.encode())


blank = st.sampled_from([b"", b" ", b"\t", b"  "])


@st.composite
def framed(draw: st.DrawFn, body: bytes) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Framing fields for a body, and the body as it is on the wire."""
    if not draw(st.booleans()):
        fields = [(b"Content-Length", b"%d" % len(body))] if body or draw(st.booleans()) else []
        return fields, body
    sent, at = [], 0
    while at < len(body):
        size = draw(st.integers(1, len(body) - at))
        extension = draw(st.sampled_from([b"", b";a", b";a=b", b';a="b c"']))
        sent.append(b"%x%b\r\n%b\r\n" % (size, extension, body[at : at + size]))
        at += size
    trailer = draw(st.sampled_from([b"", b"X-Trailer: dropped\r\n", b"X-B: 1\r\nX-C:\r\n"]))
    return [(b"Transfer-Encoding", b"chunked")], b"".join([*sent, b"0\r\n", trailer, b"\r\n"])


@st.composite
def message(draw: st.DrawFn) -> tuple[bytes, Record]:
    """A valid request that keeps the connection, as it is on the wire and as the resource should see it."""
    method = draw(st.sampled_from([b"GET", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH"]))
    uri, body = draw(paths), draw(st.binary(max_size=60))
    fields = [(b"Host", b"x"), *draw(st.lists(st.tuples(token, value), max_size=5))]
    framing, sent = draw(framed(body))
    fields += framing
    if draw(st.integers(0, 5)) == 0:
        fields += [(b"Connection", b"Upgrade"), (b"Upgrade", b"h2c")]
    fields = draw(st.permutations(fields))
    lines = [b"%b:%b%b\r\n" % (name, draw(blank), content) for name, content in fields]
    head = b"%b %b HTTP/1.1\r\n%b\r\n" % (method, uri, b"".join(lines))
    return head + sent, (method, uri, fields, body)


streams = st.lists(message(), min_size=1, max_size=4)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """The data in pieces that begin at these places."""
    ends = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in itertools.pairwise(ends)]


places = st.lists(st.integers(0, 10_000), max_size=12)


@PROPERTY
@given(streams, places, st.booleans(), st.booleans())
def test_requests_do_not_depend_on_how_they_arrive(
    sent: list[tuple[bytes, Record]], places: list[int], late: bool, bytewise: bool
) -> None:
    """However a stream of valid requests is cut, the resource sees what was sent, and all are answered."""
    data = b"".join(wire for wire, _ in sent)
    pieces = [bytes([byte]) for byte in data] if bytewise else cut(data, places)
    for parts in ([data], pieces):
        lab = Lab(at_once=not late)
        connection = lab.connect()
        for part in parts:
            connection.feed(part)
            while lab.recorder.pending:
                lab.recorder.answer()
        assert lab.recorder.seen == [record for _, record in sent]
        assert connection.sent.count(b"HTTP/1.1 200 OK\r\n") == len(sent)
        assert not connection.closed
        assert not connection.paused


def survive(data: bytes, places: list[int], late: bool) -> None:
    """Feed the bytes in pieces: nothing may be raised, and every request seen is answered, once."""
    lab = Lab(at_once=not late, limits=Limits(max_body=1000, max_head=2000))
    connection = lab.connect()
    for part in cut(data, places):
        if not connection.paused:
            connection.feed(part)
        while lab.recorder.pending:
            lab.recorder.answer()
    lab.wait(1000)
    statuses = [status for status in connection.statuses if status != 100]
    assert statuses.count(200) == len(lab.recorder.seen)
    assert len(statuses) - statuses.count(200) <= 1
    assert 200 not in statuses[len(lab.recorder.seen) :]
    assert connection.closed
    connection.lose()
    assert not lab.site.channels
    assert not lab.site.requests


@PROPERTY
@given(st.binary(max_size=300), places, st.booleans())
def test_arbitrary_bytes(data: bytes, places: list[int], late: bool) -> None:
    """Whatever comes, nothing is raised, and the connection ends."""
    survive(data, places, late)


@pytest.mark.parametrize("text", [b"Fahrt mit ICE/IC", b"GET /x RTSP/1.0", b"a b ICE/\r\nGET /y RTSP/1.0\r\n"])
def test_bodies_and_fields_may_say_anything(text: bytes) -> None:
    """What looks like another protocol's request line is none in a body or a field, wherever that is cut."""
    body = b"a=1\r\n" + text
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    data = posted(b"/1", len(body)) + body
    data += get(b"/2", b"Transfer-Encoding: chunked", method=b"POST") + chunked + get(b"/3", b"X-A: b RTSP/1.0")
    for place in range(len(data)):
        lab = Lab(at_once=True)
        lab.connect().feed(*filter(None, (data[:place], data[place:])))
        assert [(uri, found) for _, uri, _, found in lab.recorder.seen] == [(b"/1", body), (b"/2", body), (b"/3", b"")]


@pytest.mark.parametrize(
    ("before", "seen"),
    [
        (b"", []),
        (posted(b"/1", 5) + b"abcde", [b"/1"]),
        (get(b"/1", b"Transfer-Encoding: chunked", method=b"POST") + b"1\r\na\r\n0\r\nX-A: b\r\n\r\n", [b"/1"]),
        (get(b"/1") + b"\r\n\r\n", [b"/1"]),
    ],
)
@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        (b"GET /bad RTSP/1.0\r\nHost: x\r\n\r\n", 505),
        (b"SOURCE /bad ICE/1.0\r\nHost: x\r\n\r\n", 505),
        (b"\n" + get(b"/bad"), 400),
        (b"\r\n\n" + get(b"/bad"), 400),
        (b"\r\r\n" + get(b"/bad"), 400),
    ],
)
def test_a_wrong_beginning_is_refused_wherever_it_is_cut(
    before: bytes, seen: list[bytes], wrong: bytes, status: int
) -> None:
    """llhttp takes request lines of other protocols, and any line ends before a request."""
    data = before + wrong
    for place in range(len(data)):
        lab = Lab(at_once=True)
        connection = lab.connect()
        connection.feed(*filter(None, (data[:place], data[place:])))
        assert lab.recorder.uris == seen
        assert connection.statuses == [200] * len(seen) + [status]


def test_empty_lines_before_a_request() -> None:
    """Are tolerated (RFC 9112 section 2.2), wherever they are cut."""
    data = b"\r\n\r\n" + get(b"/1") + b"\r\n" + get(b"/2")
    for place in range(len(data)):
        lab = Lab(at_once=True)
        lab.connect().feed(*filter(None, (data[:place], data[place:])))
        assert lab.recorder.uris == [b"/1", b"/2"]


FRAGMENTS = [
    *(b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\0", b" ", b"\t", b":", b"0", b"f", b";", b",", b"\xff", b"HTTP/1.0", b"*"),
    *(b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Host: y\r\n", b"Expect: 100-continue\r\n"),
    *(b"Connection: close\r\n", b"Connection: upgrade\r\nUpgrade: x\r\n", b"Connection: keep-alive\r\n", b"0\r\n\r\n"),
    *(
        b"CONNECT x:80 HTTP/1.1\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"9" * 25,
    ),
]


mutations = st.lists(
    st.tuples(st.integers(0, 10_000), st.integers(0, 3), st.sampled_from(FRAGMENTS)), min_size=1, max_size=4
)


@settings(PROPERTY, max_examples=400)
@given(streams, mutations, places, st.booleans())
def test_mutated_requests(
    sent: list[tuple[bytes, Record]], changes: list[tuple[int, int, bytes]], places: list[int], late: bool
) -> None:
    """Valid requests with bytes taken out and fragments put in raise nothing, and the connection ends."""
    data = b"".join(wire for wire, _ in sent)
    for place, length, fragment in changes:
        at = place % (len(data) + 1)
        data = data[:at] + fragment + data[at + length :]
    survive(data, places, late)


class Receiving:
    """Notes what the parser tells; it is closing after so many requests."""

    def __init__(self, most: int = 100) -> None:
        self.told: list[str] = []
        self.most = most
        self.requests: list[tuple[bytes, bytes, bool]] = []

    @property
    def closing(self) -> bool:
        return len(self.requests) >= self.most

    def request_begins(self) -> None:
        self.told.append("begins")

    def body_follows(self, head: Head) -> None:
        self.told.append("body follows")

    def body_comes(self, missing: int) -> None:
        self.told.append(f"{missing} missing")

    def request_complete(self, head: Head, content: IO[bytes] | None, size: int, persistent: bool) -> None:
        self.told.append("complete")
        body = content.read() if content is not None else b""
        assert len(body) == size
        self.requests.append((head.target, body, persistent))


def test_what_the_receiver_is_told_and_when() -> None:
    """A body of known length is told piece by piece with what is missing, so that it can be read in large pieces."""
    receiver = Receiving()
    parser = RequestParser(receiver, Limits())
    for data, receiving, in_body in (
        (b"\r\nG", True, False),
        (b"ET / HTTP/1.1\r\nHost: x\r\n\r\n", False, False),
        (posted(b"/b", 5), True, True),
        (b"abc", True, True),
        (b"de", False, False),
    ):
        parser.feed(data)
        assert (parser.receiving, parser.in_body) == (receiving, in_body)
    assert receiver.told == [
        *("begins", "complete", "begins", "body follows", "2 missing", "0 missing", "complete"),
    ]
    assert receiver.requests == [(b"/", b"", True), (b"/b", b"abcde", True)]


def test_nothing_is_parsed_once_the_receiver_closes() -> None:
    """What follows a last request counts as not sent, wrong or not."""
    receiver = Receiving(most=1)
    RequestParser(receiver, Limits()).feed(get(b"/1") + get(b"/2") + b"nonsense\r\n\r\n")
    assert [target for target, _, _ in receiver.requests] == [b"/1"]


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        ((), b""),
        ((b"Content-Length: 3",), b"abc"),
        ((b"Transfer-Encoding: chunked",), b"3\r\nabc\r\n0\r\n\r\n"),
    ],
    ids=["none", "length", "chunks"],
)
def test_an_upgrade_is_not_taken_up(fields: tuple[bytes, ...], body: bytes) -> None:
    """The request that offers it is one as any other, with its body and with what follows it (RFC 9110 section 7.8)."""
    receiver = Receiving()
    offer = get(b"/up", b"Connection: Upgrade", b"Upgrade: websocket", *fields, method=b"POST")
    RequestParser(receiver, Limits()).feed(offer + body + get(b"/next"))
    assert [(target, content) for target, content, _ in receiver.requests] == [
        (b"/up", b"abc" if body else b""),
        (b"/next", b""),
    ]


def test_a_request_that_is_dropped() -> None:
    """Its connection is gone: nothing is received any more, and its body is not kept."""
    parser = RequestParser(Receiving(), Limits())
    parser.feed(posted(b"/", 5) + b"abc")
    parser.drop()
    assert (parser.receiving, parser.in_body) == (False, False)
    parser.drop()


@pytest.mark.parametrize("most", [1000, 100_000])
def test_what_surrounds_chunks_is_bounded(most: int) -> None:
    """A body of tiny chunks is taken; extensions and trailers count like a head."""
    tiny = b"".join(b"1\r\nx\r\n" for _ in range(5000))
    head = get(b"/", b"Transfer-Encoding: chunked", method=b"POST")
    receiver = Receiving()
    parser = RequestParser(receiver, Limits(max_head=most))
    for data in (head, tiny[:20_000], tiny[20_000:], b"0\r\n\r\n"):
        parser.feed(data)
    assert [len(body) for _, body, _ in receiver.requests] == [5000]
    for wrong in (b"1;" + b"e" * (most + 100) + b"\r\nx\r\n", b"0\r\nX-Trailer: " + b"t" * (most + 100)):
        parser = RequestParser(Receiving(), Limits(max_head=most))
        parser.feed(head)
        with pytest.raises(Refusal) as refused:
            parser.feed(wrong)
        assert (refused.value.status, refused.value.reason) == (431, "head_too_large")


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
@pytest.mark.parametrize("connection", [b"close", b"keep-alive"])
def test_what_the_sender_wants_of_the_connection(version: bytes, connection: bytes) -> None:
    """It is told with each request."""
    receiver = Receiving()
    RequestParser(receiver, Limits()).feed(get(b"/", b"Connection: " + connection, version=version))
    assert receiver.requests == [(b"/", b"", connection == b"keep-alive")]
