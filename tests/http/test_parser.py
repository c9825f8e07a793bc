"""Requests out of the bytes of a connection, however these arrive: no socket, and a clock that the test moves."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.http1 import Lab, Record, get, posted
from twistserve.http.head import Head
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
                lab.recorder.respond()
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
            lab.recorder.respond()
    lab.wait(1000)
    statuses = [status for status in connection.statuses if status != 100]
    assert statuses.count(200) == len(lab.recorder.seen)
    assert len(statuses) - statuses.count(200) <= 1
    assert 200 not in statuses[len(lab.recorder.seen) :]
    assert connection.closed
    connection.lose()
    assert not lab.site.connections
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
        (b"\r" + get(b"/bad"), 400),
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
        assert lab.recorder.targets == seen
        assert connection.statuses == [200] * len(seen) + [status]


def test_empty_lines_before_a_request() -> None:
    """Are tolerated (RFC 9112 section 2.2), wherever they are cut."""
    data = b"\r\n\r\n" + get(b"/1") + b"\r\n" + get(b"/2")
    for place in range(len(data)):
        lab = Lab(at_once=True)
        lab.connect().feed(*filter(None, (data[:place], data[place:])))
        assert lab.recorder.targets == [b"/1", b"/2"]


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


def bodies(heads: list[Head]) -> list[tuple[bytes, bytes]]:
    """Target and body of each request."""
    found = [(head.target, head.body.read() if head.body is not None else b"") for head in heads]
    assert [head.size_of_body for head in heads] == [len(body) for _, body in found]
    return found


def test_what_the_parser_tells() -> None:
    """The requests that are complete, whether another is being received, and how much of a body is missing."""
    parser = RequestParser(Limits())
    complete: list[Head] = []
    for data, begun, receiving, missing in (
        (b"\r\nG", 1, True, None),
        (b"ET / HTTP/1.1\r\nHost: x\r\n\r\n", 0, False, None),
        (posted(b"/b", 5), 1, True, 5),
        (b"abc", 0, True, 2),
        (b"de" + get(b"/c") + posted(b"/d", 1), 2, True, 1),
    ):
        complete += parser.feed(data)
        told = parser.begun, parser.receiving, parser.missing if parser.in_body else None
        assert told == (begun, receiving, missing)
    assert bodies(complete) == [(b"/", b""), (b"/b", b"abcde"), (b"/c", b"")]


def test_nothing_is_parsed_after_the_last_request() -> None:
    """What follows counts as not sent, wrong or not."""
    parser = RequestParser(Limits())
    data = get(b"/1") + get(b"/2", b"Connection: close") + get(b"/3") + b"nonsense\r\n\r\n"
    assert [head.target for head in parser.feed(data)] == [b"/1", b"/2"]
    assert (parser.finished, parser.refusal, parser.feed(get(b"/4"))) == (True, None, [])


def test_requests_before_what_is_refused() -> None:
    """They are complete, and count."""
    parser = RequestParser(Limits())
    assert [head.target for head in parser.feed(get(b"/1") + get(b"/2") + b"nonsense\r\n\r\n")] == [b"/1", b"/2"]
    assert parser.refusal is not None
    assert (parser.refusal.status, parser.finished, parser.receiving) == (400, True, False)


def test_a_sender_that_waits_is_told_once() -> None:
    """With its head, and not with each piece of its body."""
    parser = RequestParser(Limits())
    parser.feed(posted(b"/", 3, b"Expect: 100-continue"))
    assert [parser.awaits_continue() for _ in range(2)] == [True, False]
    parser.feed(b"abc" + posted(b"/", 3))
    assert not parser.awaits_continue()


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
    offer = get(b"/up", b"Connection: Upgrade", b"Upgrade: websocket", *fields, method=b"POST")
    complete = RequestParser(Limits()).feed(offer + body + get(b"/next"))
    assert bodies(complete) == [(b"/up", b"abc" if body else b""), (b"/next", b"")]


def test_a_request_that_is_dropped() -> None:
    """Its connection is gone: nothing is received any more, and its body is not kept."""
    parser = RequestParser(Limits())
    parser.feed(posted(b"/", 5) + b"abc")
    parser.drop()
    assert (parser.receiving, parser.in_body) == (False, False)
    parser.drop()


@pytest.mark.parametrize("most", [1000, 100_000])
def test_what_surrounds_chunks_is_bounded(most: int) -> None:
    """A body of tiny chunks is taken; extensions and trailers count like a head."""
    tiny = b"".join(b"1\r\nx\r\n" for _ in range(5000))
    head = get(b"/", b"Transfer-Encoding: chunked", method=b"POST")
    parser = RequestParser(Limits(max_head=most))
    complete = [parser.feed(data) for data in (head, tiny[:20_000], tiny[20_000:], b"0\r\n\r\n")]
    assert [[each.size_of_body for each in heads] for heads in complete] == [[], [], [], [5000]]
    for wrong in (b"1;" + b"e" * (most + 100) + b"\r\nx\r\n", b"0\r\nX-Trailer: " + b"t" * (most + 100)):
        parser = RequestParser(Limits(max_head=most))
        parser.feed(head)
        assert parser.feed(wrong) == []
        assert parser.refusal is not None
        assert (parser.refusal.status, parser.refusal.reason) == (431, "head_too_large")


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
@pytest.mark.parametrize("connection", [b"close", b"keep-alive"])
def test_what_the_sender_wants_of_the_connection(version: bytes, connection: bytes) -> None:
    """It is the last request, or more may come."""
    parser = RequestParser(Limits())
    assert len(parser.feed(get(b"/", b"Connection: " + connection, version=version))) == 1
    assert parser.finished is (connection == b"close")
