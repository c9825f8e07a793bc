"""Requests for files, with threads and requests of the test's own: what waits, what does not, and what is left over."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from whitenoise.responders import Redirect, StaticFile

from tests.support.hand_threads import HandThreads
from twistserve.files import resource as static
from twistserve.files import responder as file_answers
from twistserve.files.cache import MemoryCache, OpenFile
from twistserve.files.resource import FileResource
from twistserve.http.deadlines import Deadlines


class Request:
    """What a resource needs of a request; `sent` are status, head and body, or the file."""

    def __init__(self, path: str, method: str = "GET", **headers: str) -> None:
        self.method = method.encode()
        self.path = path.encode()
        self.postpath = [part.encode() for part in path.split("/")[2:]]
        self.raw_headers = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        self.handler = ""
        self.exchange: Any = None
        self.site = self
        self.counted = 0
        self.sent: list[Any] = []

    def count(self, event: object) -> None:
        self.counted += 1

    def send(self, status: int, head: bytes, body: bytes) -> None:
        self.sent += [status, head, body]

    def send_head(self, status: int, head: bytes) -> None:
        self.sent += [status, head]


class Bench:
    """Resources of one directory: `media` whose files may change, and `static` whose are indexed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.threads = HandThreads()
        self.clock = Clock()
        self.index: dict[str, Any] = {
            path.name: StaticFile(str(path), [("Content-Type", "text/plain")]) for path in directory.iterdir()
        }
        threads: Any = self.threads
        self.media = FileResource("media", self.look_up, threads)
        self.static = FileResource("static", lambda name, url: self.index.get(name), threads, MemoryCache())
        self.limited = FileResource("media", self.look_up, threads, None, Deadlines(5.0, self.clock))
        self.failure: OSError | None = None
        self.files: list[OpenFile] = []

    def look_up(self, name: str, url: str) -> StaticFile | None:
        if self.failure is not None:
            raise self.failure
        path = self.directory / name
        return StaticFile(str(path), [("Content-Type", "text/plain")]) if path.exists() else None

    def get(self, resource: FileResource, name: str, method: str = "GET", **headers: str) -> Request:
        request = Request(f"/files/{name}", method, **headers)
        resource.render(request)  # type: ignore[arg-type]
        return request

    def send_file(self, request: Any, file: OpenFile, first: int, length: int, threads: object) -> None:
        request.sent.append(os.pread(file.descriptor, length, first))
        self.files.append(file)
        file.close()


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    (tmp_path / "small.txt").write_bytes(b"small")
    (tmp_path / "large.txt").write_bytes(b"l" * 100_000)
    bench = Bench(tmp_path)
    monkeypatch.setattr(static, "send_file", bench.send_file)
    return bench


def is_open(file: OpenFile) -> bool:
    return os.path.exists(f"/proc/self/fd/{file.descriptor}")


def test_files_that_may_change_wait_for_a_thread(bench: Bench) -> None:
    """Each time, whatever is asked of them."""
    for _ in range(2):
        request = bench.get(bench.media, "small.txt")
        assert request.sent == []
        assert request.exchange.where() == "waiting for a thread that opens files"
        bench.threads.begin()
        assert request.exchange.where() == "its file is being opened"
        bench.threads.tell()
        assert (request.sent[0], request.sent[2], request.exchange) == (200, b"small", None)
    large = bench.get(bench.media, "large.txt")
    bench.threads.run()
    assert (large.sent[0], large.sent[2]) == (200, b"l" * 100_000)
    assert not is_open(bench.files[0])
    missing = bench.get(bench.media, "none.txt")
    bench.threads.run()
    assert missing.sent[0] == 404


def test_indexed_files_wait_once(bench: Bench) -> None:
    """Then small ones are in memory and large ones open; nobody waits for what the index knows."""
    small, large = bench.get(bench.static, "small.txt"), bench.get(bench.static, "large.txt")
    assert (small.sent, large.sent, len(bench.threads.jobs)) == ([], [], 2)
    bench.threads.run()
    for _ in range(2):
        assert bench.get(bench.static, "small.txt").sent[2] == b"small"
        assert bench.get(bench.static, "large.txt").sent[2] == b"l" * 100_000
        part = bench.get(bench.static, "large.txt", Range="bytes=1-70000")
        assert (part.sent[0], part.sent[2]) == (206, b"l" * 70_000)
        assert bench.get(bench.static, "large.txt", "HEAD").sent[2] == b""
        assert bench.get(bench.static, "large.txt", Range="bytes=100000-").sent[0] == 416
    assert bench.get(bench.static, "none.txt").sent[0] == 404
    assert bench.get(bench.static, "small.txt", "POST").sent[0] == 405
    assert bench.get(bench.static, "..").sent[0] == 404
    assert bench.get(bench.static, "small.txt", If_None_Match="*").sent[0] == 304
    assert bench.threads.jobs == []
    assert len({file.descriptor for file in bench.files}) == 1
    assert is_open(bench.files[0])
    bench.get(bench.static, "large.txt", Range="bytes=5-9")
    bench.threads.run()
    bench.files[0].close()
    assert not is_open(bench.files[0])


def test_a_request_that_a_proxy_may_have_sent(bench: Bench) -> None:
    """Is identified before it is answered, whether its file is in memory or not; others cost nothing."""
    told: list[Any] = []
    threads: Any = bench.threads
    find = bench.static._find
    resource = FileResource("static", find, threads, MemoryCache(), identify=told.append)
    for _ in range(2):
        bench.get(resource, "small.txt", Accept_Encoding="gzip")
        bench.threads.run()
    bench.get(resource, "small.txt", If_None_Match='"x"', Range="bytes=0-1")
    bench.threads.run()
    assert told == []
    asked = [
        bench.get(resource, "small.txt", X_Forwarded_For="203.0.113.9", Accept_Encoding="gzip"),
        bench.get(resource, "none.txt", x_request_id="a"),
        bench.get(resource, "small.txt", "POST", If_None_Match='"x"', X_REQUEST_ID="a"),
    ]
    assert told == asked
    assert asked[0].sent[2] == b"small"
    assert bench.threads.jobs == []


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_files_before_somebody_else(bench: Bench, method: str) -> None:
    """Where any path may be a file's, what is none is answered by another, and a file is only read."""
    rendered: list[Any] = []

    class Other(Resource):
        def render(self, request: Any) -> int:
            rendered.append(request)
            return NOT_DONE_YET

    threads: Any = bench.threads
    resource = FileResource("static", bench.look_up, threads, otherwise=Other())
    requests = [bench.get(resource, name, method) for name in ("small.txt", "none.txt", "..", "a/../b")]
    bench.threads.run()
    assert [request.sent[:1] for request in requests] == [[405 if method == "POST" else 200], [], [], []]
    assert sorted(map(id, rendered)) == sorted(map(id, requests[1:]))
    assert requests[1].exchange is None


def test_an_index_file(bench: Bench) -> None:
    """WhiteNoise's redirects to directories are answered on the spot."""
    bench.index["guide"] = Redirect("guide/", {"Cache-Control": "max-age=60, public"})
    request = bench.get(bench.static, "guide")
    assert request.sent[0] == 302
    for line in (b"Location: guide/", b"Cache-Control: max-age=60, public", b"Content-Length: 0"):
        assert line in request.sent[1].split(b"\r\n")


@pytest.mark.parametrize("moment", ["waiting", "begun"])
def test_a_client_that_leaves(bench: Bench, moment: str) -> None:
    """Nothing is sent, and what is opened is closed; what has not begun is not done."""
    request = bench.get(bench.media, "large.txt")
    if moment == "begun":
        bench.threads.begin()
    request.exchange.client_left()
    assert bench.threads.jobs == []
    if moment == "begun":
        ((_, answer, _),) = bench.threads.begun
        bench.threads.tell()
        assert not is_open(answer.file)
    assert (request.sent, request.exchange) == ([], None)


def test_more_than_may_wait(bench: Bench) -> None:
    """Is refused at once, and counted."""
    bench.threads.room = 1
    bench.get(bench.media, "small.txt")
    request = bench.get(bench.media, "small.txt")
    assert request.sent[0] == 503
    assert b"\r\nRetry-After: 1\r\n" in request.sent[1]
    assert (request.counted, request.exchange) == (1, None)


def test_a_deadline(bench: Bench) -> None:
    """It is the requests': 504 when it has passed, and a file that is opened after that is closed."""
    late, early = bench.get(bench.limited, "large.txt"), bench.get(bench.limited, "small.txt")
    bench.threads.begin()
    bench.threads.begin()
    bench.threads.begun.reverse()
    bench.threads.tell()
    bench.clock.advance(6)
    assert (late.sent[0], late.counted, early.sent[0]) == (504, 1, 200)
    ((_, answer, _),) = bench.threads.begun
    bench.threads.tell()
    assert late.sent[0] == 504
    assert not is_open(answer.file)


@pytest.mark.parametrize(
    ("number", "status"),
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
def test_errors(bench: Bench, number: int, status: int) -> None:
    """What is not there is 404; what may be there in a moment is 503, and when to try again."""
    bench.failure = OSError(number, os.strerror(number))
    request = bench.get(bench.media, "small.txt")
    bench.threads.run()
    assert request.sent[0] == status
    assert (b"Retry-After" in request.sent[1]) is (status == 503)


def test_an_answer_that_cannot_be_sent(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The request is told, as if that had been while it was rendered."""
    failures: list[Any] = []
    request = bench.get(bench.media, "small.txt")
    monkeypatch.setattr(request, "send", None)
    monkeypatch.setattr(request, "processingFailed", failures.append, raising=False)
    bench.threads.run()
    assert [failure.type for failure in failures] == [TypeError]


def test_an_error_that_nobody_expects(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """Is answered and logged."""
    answer = file_answers.answer_to_error(ValueError("odd"), "/files/a")
    assert answer.status == 500
    assert "ValueError: odd" in caplog.text


def test_a_file_that_fails_is_not_left_open(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between its opening and its answer."""
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
        file_answers.answer_with(
            bench.index["small.txt"], str(bench.directory / "small.txt"), [], file_answers.Asked({}, False)
        )
    monkeypatch.undo()
    assert not os.path.exists(f"/proc/self/fd/{opened[0]}")
