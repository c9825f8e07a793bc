"""Responses: their fields and heads, and those that tell an error."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from twistserve.http.response import Field, Response, Tails, content_length, error, fields_of, whole


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (200, b"200 OK"),
        (413, b"413 Content Too Large"),
        (416, b"416 Range Not Satisfiable"),
        (431, b"431 Request Header Fields Too Large"),
        (299, b"299 "),
    ],
)
def test_status_lines(status: int, line: bytes) -> None:
    """The reasons are RFC 9110's; a status that has none is sent without."""
    assert Response(status, fields_of([(b"A", b"b")])).head == b"HTTP/1.1 %b\r\nA: b\r\n" % line


def test_fields() -> None:
    """They are made for either version of HTTP, more than one of a name too; those of the server are left out."""
    raw = [(b"Set-Cookie", b"a=b"), (b"set-cookie", b" c: d "), (b"Date", b"then"), (b"Server", b"mine")]
    hop_by_hop = [(b"Connection", b"x"), (b"Keep-Alive", b"x"), (b"Upgrade", b"x"), (b"TE", b"x"), (b"Trailer", b"x")]
    assert fields_of(raw + hop_by_hop) == [
        Field(b"Set-Cookie: a=b\r\n", b"set-cookie", b"a=b"),
        Field(b"set-cookie: c: d\r\n", b"set-cookie", b"c: d"),
    ]
    assert content_length(12) == fields_of([(b"Content-Length", b"12")])[0]


def test_a_whole_response() -> None:
    """It has type and length."""
    response = whole(200, b"body", b"text/html", (b"X-A", b"b"))
    assert response.head == b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nX-A: b\r\nContent-Length: 4\r\n"
    assert response.head is response.head


@pytest.mark.parametrize(("status", "retry"), [(400, False), (503, True)])
def test_a_response_that_tells_an_error(status: int, retry: bool) -> None:
    """It says what is wrong in plain text, its own or the reason phrase; a 503 asks to try again."""
    response = error(status)
    fields = {field.name: field.value for field in response.fields}
    assert fields[b"content-length"] == b"%d" % len(response.body)
    assert fields[b"content-type"] == b"text/plain; charset=utf-8"
    assert response.body == (b"Service Unavailable.\n" if retry else b"Bad Request.\n")
    assert (fields.get(b"retry-after") == b"1") is retry
    assert error(status, b"no\n").body == b"no\n"


def test_the_end_of_a_head_is_made_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the time of the second in which it is asked for, and says whether the connection goes on."""
    tails, now = Tails(), [784111777.5]
    monkeypatch.setattr("twistserve.http.response.time", SimpleNamespace(time=lambda: now[0]))
    tail = tails(True)
    assert tail == b"Server: twistserve\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n"
    assert tails(True) is tail
    now[0] += 1
    assert tails(False) == b"Server: twistserve\r\nDate: Sun, 06 Nov 1994 08:49:38 GMT\r\nConnection: close\r\n\r\n"
    now[0] += 1
    assert tails.fields() == [(b"server", b"twistserve"), (b"date", b"Sun, 06 Nov 1994 08:49:39 GMT")]
