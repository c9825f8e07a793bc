"""What a request thread does with a request whose client may leave at any moment; the test is that thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.bench import Bench
from tests.support.http1 import get

seen: list[dict[str, Any]] = []


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    seen.append(environ)
    start_response("200 OK", [])
    return [b"ok"]


@pytest.fixture
def bench() -> Bench:
    seen.clear()
    return Bench(application)


def test_a_socket_is_asked_nothing_on_a_request_thread(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the reactor's, and closed when the client has left: its number may be another connection's by then."""
    connection = bench.connect()
    connection.feed(get(b"/1"))

    def fail() -> None:
        raise OSError(9, "Bad file descriptor")

    for name in ("getHost", "getPeer"):
        monkeypatch.setattr(connection.transport, name, fail)
    bench.pool._jobs.popleft()()
    bench.deliver()
    assert connection.statuses == [200]
    assert seen[0]["REMOTE_ADDR"] == "192.168.1.1"


def test_a_client_that_leaves_while_its_thread_begins(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """The application is not called, and the log does not say that it failed."""
    connection = bench.connect()
    connection.feed(get(b"/1"))
    job: Any = bench.pool._jobs.popleft()
    # The connection is lost after the thread has looked whether it is.
    job.request.channel = None
    job()
    bench.deliver()
    assert seen == []
    assert caplog.records == []
