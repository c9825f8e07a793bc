"""Heads of requests, judged: what is refused by which status, in HTTP/1.1 and HTTP/2."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.http1 import Lab, get
from tests.support.http2 import LIMITS
from twistserve.http.head import Head, Refusal, checked_as_http1


def test_white_space_around_values() -> None:
    """White space around a value is none of it, and does not make a request wrong (RFC 9112 section 5.1)."""
    lab = Lab(at_once=True)
    connection = lab.connect()
    fields = b"Host:  x:80 \t\r\nContent-Length: 2 \r\nExpect:\t100-continue\t\r\nX-A: a b  \r\nX-B: \t\r\nC:c\r\n\r\n"
    connection.feed(b"POST / HTTP/1.1\r\n" + fields + b"ab" + get(b"/after"))
    assert connection.statuses == [100, 200, 200]
    _, _, headers, body = lab.recorder.seen[0]
    assert [value for _, value in headers] == [b"x:80", b"2", b"100-continue", b"a b", b"", b"c"]
    assert body == b"ab"


@pytest.mark.parametrize(
    "name",
    [
        *("Content-Type", "Authorization", "Range", "If-Range", "If-Modified-Since", "If-Unmodified-Since", "Origin"),
        *("Content-Range", "Date", "Referer", "User-Agent", "Max-Forwards", "Proxy-Authorization", "From"),
    ],
)
def test_a_field_that_may_stand_once(name: str) -> None:
    """Repeated, it would mean one thing to a proxy and another to Django, which sees the values joined."""
    field = name.encode() + b": a"
    for fields, status in (((field,), 200), ((field, b"X-A: b", field.lower()), 400)):
        connection = Lab(at_once=True).connect()
        connection.feed(get(b"/", *fields))
        assert connection.statuses == [status]


@pytest.mark.parametrize("name", ["Cookie", "Forwarded", "Via", "Accept", "X-Forwarded-For", "If-None-Match", "X-A"])
def test_a_field_that_may_be_repeated(name: str) -> None:
    """It is a list, or nobody's."""
    connection = Lab(at_once=True).connect()
    connection.feed(get(b"/", name.encode() + b": a", name.lower().encode() + b": b"))
    assert connection.statuses == [200]


HEADS: dict[str, tuple[list[tuple[bytes, bytes]], int]] = {
    "method unknown": ([(b":method", b"BREW")], 501),
    "method small": ([(b":method", b"get")], 501),
    "method with space": ([(b":method", b"GET /x")], 400),
    "method connect": ([(b":method", b"CONNECT")], 501),
    "method preface": ([(b":method", b"PRI")], 400),
    "target absolute": ([(b":path", b"https://x/")], 400),
    "target relative": ([(b":path", b"a")], 400),
    "target fragment": ([(b":path", b"/a#b")], 400),
    "target space": ([(b":path", b"/a b")], 400),
    "target with version": ([(b":path", b"/ HTTP/1.1")], 400),
    "target control": ([(b":path", b"/\x01")], 400),
    "star": ([(b":path", b"*")], 400),
    "scheme": ([(b":scheme", b"ftp")], 400),
    "authority user": ([(b":authority", b"me@x")], 400),
    "authority empty and host": ([(b":authority", b"a b")], 400),
    "control character": ([(b"x-a", b"a\x01b")], 400),
    "delete": ([(b"x-a", b"a\x7fb")], 400),
    "name": ([(b"x(a)", b"a")], 400),
    "length": ([(b"content-length", b"+1")], 400),
    "lengths": ([(b"content-length", b"1"), (b"content-length", b"1")], 400),
    "target too long": ([(b":path", b"/" + b"a" * 70_000)], 414),
    "fields too many": ([(b"x-a", b"")] * 256, 431),
    "fields too long": ([(b"x-a", b"a" * 70_000)], 431),
}


@pytest.mark.parametrize(("changed", "status"), HEADS.values(), ids=HEADS)
def test_refused_heads(changed: list[tuple[bytes, bytes]], status: int) -> None:
    """What HTTP/1.1 refuses is refused here too, with the same status."""
    pseudo = {b":method": b"GET", b":scheme": b"https", b":authority": b"x", b":path": b"/"}
    pseudo |= {name: value for name, value in changed if name.startswith(b":")}
    fields = [(name, value) for name, value in changed if not name.startswith(b":")]
    with pytest.raises(Refusal) as refusal:
        checked_as_http1([*pseudo.items(), *fields], LIMITS)
    assert refusal.value.status == status


@given(st.binary(max_size=40), st.binary(max_size=40), st.binary(max_size=40), st.binary(max_size=40))
def test_no_head_becomes_another(method: bytes, path: bytes, name: bytes, value: bytes) -> None:
    """Whatever a head holds is refused, or is the request's to the byte."""
    pseudo = [(b":method", method), (b":scheme", b"https"), (b":authority", b"x"), (b":path", path)]
    try:
        head = checked_as_http1([*pseudo, (b"x" + name, value)], LIMITS)
    except Refusal:
        return
    assert (head.method, head.target) == (method, path)
    assert head.fields == [(b"host", b"x"), (b"x" + name, value)]


def head_of(*fields: tuple[bytes, bytes], method: bytes = b"GET", target: bytes = b"/", version: str = "1.1") -> Head:
    """A head as llhttp lets it pass."""
    head = Head()
    head.method, head.target, head.version, head.fields = method, target, version, list(fields)
    return head


HOST = (b"Host", b"x.example:80")
JUDGED: dict[str, tuple[Head, int | None]] = {
    "right": (head_of(HOST), None),
    "version": (head_of(HOST, version="2.0"), 505),
    "no host": (head_of(), 400),
    "no host in 1.0": (head_of(version="1.0"), None),
    "two hosts": (head_of(HOST, HOST), 400),
    "two hosts in 1.0": (head_of(HOST, HOST, version="1.0"), 400),
    "wrong host": (head_of((b"hOST", b"x/y")), 400),
    "empty host": (head_of((b"Host", b"")), None),
    "host in IPv6": (head_of((b"Host", b"[::1]:80")), None),
    "host with a user": (head_of((b"Host", b"me@x")), 400),
    "chunked": (head_of(HOST, (b"Transfer-Encoding", b" Chunked ")), None),
    "chunked twice": (head_of(HOST, *[(b"Transfer-Encoding", b"chunked")] * 2), 400),
    "chunked in 1.0": (head_of(HOST, (b"Transfer-Encoding", b"chunked"), version="1.0"), 400),
    "another coding": (head_of(HOST, (b"Transfer-Encoding", b"gzip, chunked")), 501),
    "connect": (head_of(HOST, method=b"CONNECT", target=b"x:80"), 501),
    "source": (head_of(HOST, method=b"SOURCE"), 501),
    "star": (head_of(HOST, target=b"*"), 400),
    "star with options": (head_of(HOST, target=b"*", method=b"OPTIONS"), None),
    "relative target": (head_of(HOST, target=b"a"), 400),
    "fragment": (head_of(HOST, target=b"/a#b"), 400),
    "URL": (head_of(HOST, target=b"http://X.example/a"), None),
    "URL of TLS": (head_of((b"Host", b"x.example"), target=b"https://x.example:443/a"), None),
    "URL of another host": (head_of(HOST, target=b"http://y.example/a"), 400),
    "URL of another port": (head_of(HOST, target=b"https://x.example/a"), 400),
    "URL without a host": (head_of(target=b"http://y.example/a", version="1.0"), None),
    "URL of no host": (head_of(target=b"http://y[example/a", version="1.0"), 400),
    "long body": (head_of(HOST, (b"Content-Length", b"3000001")), 413),
    "long target": (head_of(HOST, target=b"/" + b"a" * 70_000), 414),
    "long field": (head_of(HOST, (b"A", b"a" * 70_000)), 431),
    "many fields": (head_of(HOST, *[(b"A", b"")] * 256), 431),
    "not too many fields": (head_of(HOST, *[(b"A", b"")] * 255), None),
}


@pytest.mark.parametrize(("head", "status"), JUDGED.values(), ids=JUDGED)
def test_heads_that_llhttp_lets_pass(head: Head, status: int | None) -> None:
    """Each is right, or refused by the status that says most."""
    if status is None:
        head.check(LIMITS)
        return
    with pytest.raises(Refusal) as refused:
        head.check(LIMITS)
    assert refused.value.status == status


def test_what_a_head_means() -> None:
    """Once it is judged, it tells of the body, of an offered upgrade, and whether the sender waits to be invited."""
    head = head_of(HOST, (b"CONTENT-LENGTH", b"5"), (b"expect", b"100-Continue"), (b"Upgrade", b"h2c"))
    assert head.size == sum(len(name) + len(value) + 4 for name, value in head.fields) + 1
    head.check(LIMITS)
    assert (head.length, head.chunked, head.expects_continue, head.offers_upgrade) == (5, False, True, True)
    old = head_of(HOST, (b"Expect", b"100-continue"), version="1.0")
    old.check(LIMITS)
    assert not old.expects_continue


def test_the_host_of_a_url_counts_where_no_field_says_it() -> None:
    """An HTTP/1.0 request for a URL is for its host: behind a proxy and directly, an application sees the same."""
    head = head_of(target=b"http://y.example:8000/a", version="1.0")
    head.check(LIMITS)
    assert head.fields == [(b"Host", b"y.example:8000")]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n", 501),
        (b"get / HTTP/1.1\r\nHost: x\r\n\r\n", 501),
        (b"\x16\x03\x01\x02\x00", 400),
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        (b"GET / HTTP/9.9\r\nHost: x\r\n\r\n", 505),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"GET / HTTP/1.1\nHost: x\n\n", 400),
        (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1, 1\r\n\r\n", 400),
    ],
)
def test_what_llhttp_does_not_take(data: bytes, status: int) -> None:
    """An unknown method, another version of HTTP and what is no HTTP at all are told apart."""
    connection = Lab(at_once=True).connect()
    connection.feed(data)
    assert connection.statuses == [status]
