"""Status lines and fields of applications: what is right, what is refused, and what is remembered."""

from __future__ import annotations

import pytest

from twistserve.http.response import Field
from twistserve.wsgi import response_head
from twistserve.wsgi.response_head import checked_field, checked_status


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(response_head, "known_fields", {})
    monkeypatch.setattr(response_head, "known_statuses", {})


@pytest.mark.parametrize(
    ("status", "code", "line"),
    [
        ("200 OK", 200, b"HTTP/1.1 200 OK\r\n"),
        ("404 Nicht gefunden\xfc", 404, b"HTTP/1.1 404 Nicht gefunden\xfc\r\n"),
        ("599", 599, b"HTTP/1.1 599 \r\n"),
    ],
)
def test_a_status(status: str, code: int, line: bytes) -> None:
    """The reason phrase is the application's, and may be missing."""
    assert checked_status(status) == (code, line)
    assert response_head.known_statuses[status] == (code, line)


@pytest.mark.parametrize("status", ["", "OK", "100 Continue", "99 Low", "1000 High", "200OK", "200 O\nK", "200 \x7f"])
def test_what_is_no_status(status: str) -> None:
    """An application that gives it is told; informational ones are not its to send."""
    with pytest.raises(ValueError, match="is not the status of a response"):
        checked_status(status)


def test_a_field() -> None:
    """Its line is as the application wrote it; a Content-Length is a number besides."""
    assert checked_field("X-A", "b") == (Field(b"X-A: b\r\n", b"x-a", b"b"), None)
    length = Field(b"content-length: 12\r\n", b"content-length", b"12")
    assert checked_field("content-length", "12") == (length, 12)
    assert response_head.known_fields[("content-length", "12")] == (length, 12)


@pytest.mark.parametrize("name", ["Connection", "date", "Server", "Transfer-Encoding", "Keep-Alive", "Upgrade", "TE"])
def test_a_field_that_is_not_the_applications(name: str) -> None:
    """It is left out (PEP 3333, Other HTTP Features)."""
    assert checked_field(name, "x") == (None, None)


@pytest.mark.parametrize(
    ("name", "value"),
    [("X A", "b"), ("", "b"), ("X:A", "b"), ("X-\xe4", "b"), ("X-A", "b\r\nX-B: c"), ("X-A", "b\n"), ("X-A", "\0")],
)
def test_a_field_that_would_break_the_response(name: str, value: str) -> None:
    """Or split it in two."""
    with pytest.raises(ValueError, match="would break the response"):
        checked_field(name, value)


@pytest.mark.parametrize("value", ["", "-1", "+1", "1.5", "0x1", "1 2", "\u0661"])
def test_a_length_that_is_no_number(value: str) -> None:
    """Nor is what only Python takes for one."""
    with pytest.raises(ValueError, match=r"Content-Length .* is not a number|would break"):
        checked_field("Content-Length", value)


def test_what_is_remembered() -> None:
    """Neither cookies, which differ, nor what is long, nor more than so much."""
    checked_field("Set-Cookie", "a=b")
    checked_field("X-A", "b" * 300)
    assert response_head.known_fields == {}
    for number in range(5000):
        checked_field("X-A", str(number))
    assert 0 < len(response_head.known_fields) <= 4096
