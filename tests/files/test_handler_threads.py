"""Requests for files, with threads and requests of the test's own: what waits, what does not, and what is left over."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import REGISTRY
from twisted.internet.task import Clock
from whitenoise.responders import Redirect, StaticFile

from tests.support.hand_threads import HandThreads
from tests.support.http1 import Lab, get
from tests.support.requests import FakeConnection, make_request
from twistserve.files import page_cache, responder
from twistserve.files.cache import MemoryCache, OpenFile
from twistserve.files.handler import FileHandler
from twistserve.http.deadlines import Deadlines
from twistserve.http.request import Request
from twistserve.http.response import Response


class Connection(FakeConnection):
    """A connection whose client takes all of a file at once."""

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert not streaming
        while not (self.ended or self.aborted):
            producer.resumeProducing()


class Bench:
    """Handlers of one directory: `media` whose files may change, and `static` whose are indexed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.threads = HandThreads()
        self.clock = Clock()
        self.index: dict[str, Any] = {
            path.name: StaticFile(str(path), [("Content-Type", "text/plain")]) for path in directory.iterdir()
        }
        self.media = self.make("media", self.look_up)
        self.static = self.make("static", self.find, MemoryCache())
        self.limited = self.make("media", self.look_up, deadlines=Deadlines(5.0, self.clock))
        self.failure: OSError | None = None

    def make(self, kind: str, find: Any, cache: MemoryCache | None = None, **arguments: Any) -> FileHandler:
        threads: Any = self.threads
        return FileHandler(kind, find, threads, cache, depth=1, **arguments)

    def find(self, name: str, url: str) -> Any:
        return self.index.get(name)

    def look_up(self, name: str, url: str) -> StaticFile | None:
        if self.failure is not None:
            raise self.failure
        path = self.directory / name
        return StaticFile(str(path), [("Content-Type", "text/plain")]) if path.exists() else None

    def get(self, handler: FileHandler, name: str, method: str = "GET", **fields: str) -> Request:
        """A request for a file that the handler was called with."""
        given = [(field.replace("_", "-").encode(), value.encode()) for field, value in fields.items()]
        request = make_request(f"/files/{name}".encode(), *given, method=method.encode(), connection=Connection())
        handler(request)
        return request


def status(request: Request) -> int | None:
    """That of the response, if there is one."""
    response: Response | None = request.connection.response
    return None if response is None else response.status


def body(request: Request) -> bytes:
    """All of the body that was sent."""
    assert request.connection.ended
    sent: bytes = request.connection.body
    return sent


def fields(request: Request) -> dict[bytes, bytes]:
    """Those of the response."""
    return {name: value for _, name, value in request.connection.response.fields}


def file_of(request: Request) -> OpenFile:
    """What the body was sent from."""
    file: OpenFile = request.connection.response.producer.file
    return file


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    (tmp_path / "small.txt").write_bytes(b"small")
    (tmp_path / "large.txt").write_bytes(b"l" * 100_000)
    # All of a file is in memory.
    monkeypatch.setattr(page_cache, "read_now", lambda descriptor, offset, size: os.pread(descriptor, size, offset))
    return Bench(tmp_path)


def is_open(file: OpenFile) -> bool:
    return os.path.exists(f"/proc/self/fd/{file.descriptor}")


def test_files_that_may_change_wait_for_a_thread(bench: Bench) -> None:
    """Each time, whatever is asked of them."""
    for _ in range(2):
        request = bench.get(bench.media, "small.txt")
        assert status(request) is None
        opening: Any = request.pending
        assert opening.where() == "waiting for a thread that opens files"
        bench.threads.begin()
        assert opening.where() == "its file is being opened"
        bench.threads.tell()
        assert (status(request), body(request), request.pending) == (200, b"small", None)
    large = bench.get(bench.media, "large.txt")
    bench.threads.run()
    assert (status(large), body(large)) == (200, b"l" * 100_000)
    assert not is_open(file_of(large))
    missing = bench.get(bench.media, "none.txt")
    bench.threads.run()
    assert status(missing) == 404


def test_indexed_files_wait_once(bench: Bench) -> None:
    """Then small ones are in memory and large ones open; nobody waits for what the index knows."""
    small, large = bench.get(bench.static, "small.txt"), bench.get(bench.static, "large.txt")
    assert (status(small), status(large), len(bench.threads.jobs)) == (None, None, 2)
    bench.threads.run()
    sent = [large]
    for _ in range(2):
        assert body(bench.get(bench.static, "small.txt")) == b"small"
        whole = bench.get(bench.static, "large.txt")
        assert body(whole) == b"l" * 100_000
        part = bench.get(bench.static, "large.txt", Range="bytes=1-70000")
        assert (status(part), body(part)) == (206, b"l" * 70_000)
        sent += [whole, part]
        assert body(bench.get(bench.static, "large.txt", "HEAD")) == b""
        assert status(bench.get(bench.static, "large.txt", Range="bytes=100000-")) == 416
    assert status(bench.get(bench.static, "none.txt")) == 404
    assert status(bench.get(bench.static, "small.txt", "POST")) == 405
    assert status(bench.get(bench.static, "..")) == 404
    assert status(bench.get(bench.static, "small.txt", If_None_Match="*")) == 304
    assert bench.threads.jobs == []
    [file] = {file_of(request) for request in sent}
    assert is_open(file)
    little = bench.get(bench.static, "large.txt", Range="bytes=5-9")
    bench.threads.run()
    assert (status(little), body(little)) == (206, b"l" * 5)
    file.close()
    assert not is_open(file)


def heads_and_bodies(sent: bytes) -> list[tuple[bytes, bytes]]:
    """Status line and body of each response, whose length its head tells."""
    found = []
    while sent:
        head, _, sent = sent.partition(b"\r\n\r\n")
        [length] = re.findall(rb"\r\nContent-Length: (\d+)", head)
        found.append((head.partition(b"\r\n")[0], sent[: int(length)]))
        sent = sent[int(length) :]
    return found


def test_files_over_a_connection(bench: Bench) -> None:
    """Opened, out of memory, or while it stays open: in the order of the requests, HEAD without a body."""
    lab = Lab(handler=bench.static)
    connection = lab.connect()
    for _ in range(2):
        connection.feed(get(b"/files/small.txt"), get(b"/files/large.txt"))
        bench.threads.run()
    assert heads_and_bodies(connection.sent) == 2 * [
        (b"HTTP/1.1 200 OK", b"small"),
        (b"HTTP/1.1 200 OK", b"l" * 100_000),
    ]
    connection.transport.clear()
    connection.feed(get(b"/files/small.txt", method=b"HEAD"), get(b"/files/large.txt", method=b"HEAD"))
    bench.threads.run()
    assert [int(size) for size in re.findall(rb"\r\nContent-Length: (\d+)", connection.sent)] == [5, 100_000]
    assert connection.sent.count(b"\r\n\r\n") == 2
    assert connection.sent.endswith(b"\r\n\r\n")
    lab.site.tell()
    assert [(request.status, request.sent, request.handler) for request in lab.told] == [
        *(2 * [(200, 5, "static"), (200, 100_000, "static")]),
        *(2 * [(200, 0, "static")]),
    ]
    assert not connection.closed


def test_a_file_that_becomes_shorter_over_a_connection(bench: Bench) -> None:
    """The response breaks off with its connection, so that it does not look complete, and counts as an error."""
    lab = Lab(handler=bench.static)
    connection = lab.connect()
    connection.feed(get(b"/files/large.txt"))
    bench.threads.begin()
    os.truncate(bench.directory / "large.txt", 70_000)
    bench.threads.tell()
    assert connection.sent.endswith(b"\r\n\r\n" + b"l" * 70_000)
    assert connection.transport.disconnected
    lab.site.tell()
    [request] = lab.told
    assert (request.status, request.sent) == (500, 70_000)


def test_a_client_that_reads_slowly(bench: Bench) -> None:
    """It gets no more than it takes, and when it leaves, the file is closed."""
    lab = Lab(handler=bench.media)
    connection = lab.connect()
    connection.feed(get(b"/files/large.txt"))
    connection.http.pauseProducing()
    bench.threads.begin()
    ((_, response, _),) = bench.threads.begun
    bench.threads.tell()
    assert connection.sent.endswith(b"\r\n\r\n")
    assert is_open(response.producer.file)
    connection.http.stopProducing()
    connection.lose()
    assert not is_open(response.producer.file)
    lab.site.tell()
    [request] = lab.told
    assert (request.status, request.sent, request.left) == (499, 0, True)


def test_a_request_that_a_proxy_may_have_sent(bench: Bench) -> None:
    """It is identified before the response, whether its file is in memory or not; others cost nothing."""
    told: list[Any] = []
    handler = bench.make("static", bench.find, MemoryCache(), identify=told.append)
    for _ in range(2):
        bench.get(handler, "small.txt", Accept_Encoding="gzip")
        bench.threads.run()
    bench.get(handler, "small.txt", If_None_Match='"x"', Range="bytes=0-1")
    bench.threads.run()
    assert told == []
    asked = [
        bench.get(handler, "small.txt", X_Forwarded_For="203.0.113.9", Accept_Encoding="gzip"),
        bench.get(handler, "none.txt", x_request_id="a"),
        bench.get(handler, "small.txt", "POST", If_None_Match='"x"', X_REQUEST_ID="a"),
    ]
    assert told == asked
    assert body(asked[0]) == b"small"
    assert bench.threads.jobs == []


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_files_before_somebody_else(bench: Bench, method: str) -> None:
    """Where any path may be a file's, another handler gets what is none, and a file is only read."""
    handled: list[Request] = []
    handler = bench.make("static", bench.look_up, otherwise=handled.append)
    requests = [bench.get(handler, name, method) for name in ("small.txt", "none.txt", "..", "a/../b")]
    bench.threads.run()
    assert [status(request) for request in requests] == [405 if method == "POST" else 200, None, None, None]
    assert sorted(map(id, handled)) == sorted(map(id, requests[1:]))
    assert requests[1].pending is None


def test_an_index_file(bench: Bench) -> None:
    """The response to WhiteNoise's redirects to directories is given on the spot."""
    bench.index["guide"] = Redirect("guide/", {"Cache-Control": "max-age=60, public"})
    request = bench.get(bench.static, "guide")
    assert status(request) == 302
    expected = {b"location": b"guide/", b"cache-control": b"max-age=60, public", b"content-length": b"0"}
    assert fields(request).items() >= expected.items()


@pytest.mark.parametrize("moment", ["waiting", "begun"])
def test_a_client_that_leaves(bench: Bench, moment: str) -> None:
    """Nothing is sent, and what is opened is closed; what has not begun is not done."""
    request = bench.get(bench.media, "large.txt")
    if moment == "begun":
        bench.threads.begin()
    opening: Any = request.pending
    opening.given_up()
    assert bench.threads.jobs == []
    if moment == "begun":
        ((_, response, _),) = bench.threads.begun
        assert is_open(response.producer.file)
        bench.threads.tell()
        assert not is_open(response.producer.file)
    assert (status(request), request.pending) == (None, None)


def counted(name: str, **labels: str) -> float:
    """What the metrics say of refusals and timeouts so far."""
    return REGISTRY.get_sample_value(f"twistserve_http_{name}", labels) or 0.0


def test_more_than_may_wait(bench: Bench) -> None:
    """It is refused at once, and counted."""
    before = counted("rejected_requests_total", reason="queue_full")
    bench.threads.room = 1
    bench.get(bench.media, "small.txt")
    request = bench.get(bench.media, "small.txt")
    assert status(request) == 503
    assert fields(request)[b"retry-after"] == b"1"
    assert counted("rejected_requests_total", reason="queue_full") == before + 1
    assert request.pending is None


def test_a_deadline(bench: Bench) -> None:
    """It is the requests': 504 when it has passed, and a file that is opened after that is closed."""
    before = counted("request_timeouts_total")
    late, early = bench.get(bench.limited, "large.txt"), bench.get(bench.limited, "small.txt")
    bench.threads.begin()
    bench.threads.begin()
    bench.threads.begun.reverse()
    bench.threads.tell()
    bench.clock.advance(6)
    assert (status(late), status(early)) == (504, 200)
    assert counted("request_timeouts_total") == before + 1
    ((_, response, _),) = bench.threads.begun
    bench.threads.tell()
    assert status(late) == 504
    assert not is_open(response.producer.file)


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOENT, 404),
        (errno.EACCES, 404),
        (errno.ENAMETOOLONG, 404),
        (errno.EMFILE, 503),
        (errno.ENFILE, 503),
        (errno.EIO, 503),
        (errno.ESTALE, 503),
        (errno.ENOMEM, 503),
    ],
)
def test_errors(bench: Bench, number: int, expected: int) -> None:
    """What is not there is 404; what may be there in a moment is 503, and when to try again."""
    bench.failure = OSError(number, os.strerror(number))
    request = bench.get(bench.media, "small.txt")
    bench.threads.run()
    assert status(request) == expected
    assert (b"retry-after" in fields(request)) is (expected == 503)


def test_a_response_that_cannot_be_sent(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The site hears of it while the error is handled, as if the handler had raised it at once."""
    raised: list[Any] = []
    request = bench.get(bench.media, "small.txt")
    monkeypatch.setattr(request.connection, "respond", None)
    site = SimpleNamespace(failed=lambda request: raised.append((request, sys.exc_info()[0])))
    monkeypatch.setattr(request.connection, "site", site, raising=False)
    bench.threads.run()
    assert raised == [(request, TypeError)]


def test_an_error_that_nobody_expects(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the response tells of it."""
    response = responder.response_to_error(ValueError("odd"), "/files/a")
    assert response.status == 500
    assert "ValueError: odd" in caplog.text


def test_a_file_that_fails_is_not_left_open(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever happens between its opening and its response."""
    opened: list[int] = []
    real: Callable[..., int] = os.open

    def note(*arguments: Any) -> int:
        opened.append(real(*arguments))
        return opened[-1]

    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, "open", note)
    monkeypatch.setattr(os, "fstat", fail)
    with pytest.raises(OSError, match="broken"):
        responder.response_with(
            bench.index["small.txt"], str(bench.directory / "small.txt"), [], responder.Asked({}, False)
        )
    monkeypatch.undo()
    assert not os.path.exists(f"/proc/self/fd/{opened[0]}")


def renew(bench: Bench) -> None:
    """A new index, of what there is now."""
    for path in bench.directory.iterdir():
        bench.index[path.name] = StaticFile(str(path), [("Content-Type", "text/plain"), ("ETag", '"new"')])
    bench.static.renew(MemoryCache())


def test_nothing_is_at_hand_of_an_index_from_before(bench: Bench) -> None:
    """Neither in memory nor open; a response that is being sent goes on with the file that it has."""
    for name in ("small.txt", "large.txt"):
        bench.get(bench.static, name)
        bench.threads.run()
        assert bench.get(bench.static, name).connection.response is not None
        (bench.directory / "new").write_bytes(b"n" * len(name))
        (bench.directory / "new").rename(bench.directory / name)
        renew(bench)
        request = bench.get(bench.static, name)
        bench.threads.run()
        assert body(request) == b"n" * len(name)


def test_what_waits_for_its_file_is_looked_up_in_the_new_index(bench: Bench) -> None:
    """It has the headers that are the file's, or is not there any more."""
    first, second = bench.get(bench.static, "small.txt"), bench.get(bench.static, "large.txt")
    (bench.directory / "small.txt").write_bytes(b"other")
    renew(bench)
    del bench.index["large.txt"]
    bench.threads.run()
    assert (status(first), body(first)) == (200, b"other")
    assert fields(first)[b"etag"] == b'"new"'
    assert (status(second), second.pending) == (404, None)


def test_a_client_that_leaves_while_the_index_is_renewed(bench: Bench) -> None:
    """Nothing is looked up for it."""
    request = bench.get(bench.static, "small.txt")
    renew(bench)
    bench.threads.begin()
    opening: Any = request.pending
    opening.given_up()
    bench.threads.tell()
    assert (status(request), bench.threads.jobs) == (None, [])
