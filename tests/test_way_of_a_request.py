"""How long the way of a request through our code is: each call is a place to look at, and costs 50 ns."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import twistserve
from tests.support.bench import Bench
from tests.support.http1 import get

PACKAGE = str(Path(twistserve.__file__).parent)
MOST = 45
"""Calls of a GET, from what was read of the socket to what is to be written to it; Django's and its router's apart."""


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]


def test_a_get_of_a_view() -> None:
    """With three fields, on a connection that had one before."""
    bench = Bench(application, deadlines=False)
    connection = bench.connect()
    calls: Counter[str] = Counter()

    def count(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
            calls[frame.f_code.co_qualname] += 1

    def ask() -> None:
        connection.feed(get(b"/", b"User-Agent: test", b"Accept: */*"))
        bench.pool._jobs.popleft()()
        bench.deliver()

    ask()
    before = sys.getprofile()
    sys.setprofile(count)
    try:
        ask()
    finally:
        sys.setprofile(before)
    assert connection.statuses == [200, 200]
    assert 30 < calls.total() < MOST, calls
