"""Heads of requests, judged: what is refused by which status, in HTTP/1.1 and HTTP/2."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.http1 import Lab, get
from tests.support.http2 import LIMITS
from twistserve.http.head import Refusal, checked_as_http1


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
