"""Server-Timing of the application's responses."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.bench import Bench
from twistserve.development.server_timing import TimedCall
from twistserve.wsgi.handler import Call

TIMING = rb"Server-Timing: queue;dur=\d+\.\d, application;dur=\d+\.\d\r\n"


def respond(bench: Bench) -> bytes:
    connection = bench.ask()
    bench.pool._jobs.popleft()()
    bench.deliver()
    return connection.sent


@pytest.fixture
def timed() -> Callable[[Callable[..., Any]], Bench]:
    def make(application: Callable[..., Any]) -> Bench:
        bench = Bench(application, deadlines=False)
        handler: Any = bench.site.handler
        handler._make_call = TimedCall
        return bench

    return make


def test_a_response_tells_its_times(timed: Any) -> None:
    """Beside what the application says itself."""

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response("200 OK", [("Server-Timing", "db;dur=5")])
        return [b"ok"]

    response = respond(timed(application))
    assert len(re.findall(TIMING, response)) == 1
    assert b"Server-Timing: db;dur=5\r\n" in response
    assert response.endswith(b"\r\n\r\nok")


def test_a_head_that_is_replaced_tells_once(timed: Any) -> None:
    """PEP 3333: start_response may be called again with an error."""

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response("200 OK", [])
        try:
            raise ValueError
        except ValueError as error:
            start_response("500 Oh no", [], (type(error), error, error.__traceback__))
        return [b"failed"]

    response = respond(timed(application))
    assert response.startswith(b"HTTP/1.1 500 Oh no\r\n")
    assert len(re.findall(TIMING, response)) == 1


def test_other_calls_tell_nothing() -> None:
    """Nor is there anything that would have to look whether they do."""

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response("200 OK", [])
        return [b"ok"]

    bench = Bench(application, deadlines=False)
    handler: Any = bench.site.handler
    assert handler._make_call is Call
    assert b"Server-Timing" not in respond(bench)
