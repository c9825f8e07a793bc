"""Requests through a WSGI application; the test is the request thread, and the reactor when it delivers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.bench import Bench
from tests.support.http1 import Connection, get, posted

Start = Callable[..., Callable[[bytes], None]]


class Lab:
    """A site with an application, whose requests run when `run` is called."""

    def __init__(self, application: Callable[[dict[str, Any], Start], Any]) -> None:
        self.bench = Bench(application)
        self.connection = self.bench.connect()

    def run(self, data: bytes = b"") -> Connection:
        """Have a request run to its end, and its response arrive."""
        self.connection.feed(data or get(b"/"))
        self.bench.pool._jobs.popleft()()
        self.bench.deliver()
        return self.connection


def respond(*blocks: bytes, status: str = "200 OK", fields: Any = ()) -> Callable[[dict[str, Any], Start], Any]:
    """An application that responds by these blocks."""

    def application(environ: dict[str, Any], start_response: Start) -> Any:
        start_response(status, list(fields))
        return iter(blocks) if len(blocks) > 1 else list(blocks)

    return application


def body_of(connection: Connection) -> bytes:
    return connection.sent.partition(b"\r\n\r\n")[2]


def test_a_socket_is_asked_nothing_on_a_request_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the reactor's, and closed when the client has left: its number may be another connection's by then."""
    seen: list[str] = []

    def application(environ: dict[str, Any], start_response: Start) -> list[bytes]:
        seen.append(environ["REMOTE_ADDR"])
        start_response("200 OK", [])
        return [b"ok"]

    lab = Lab(application)
    lab.connection.feed(get(b"/1"))

    def fail() -> None:
        raise OSError(9, "Bad file descriptor")

    for name in ("getHost", "getPeer"):
        monkeypatch.setattr(lab.connection.transport, name, fail)
    lab.bench.pool._jobs.popleft()()
    lab.bench.deliver()
    assert (lab.connection.statuses, seen) == ([200], ["192.168.1.1"])


@pytest.mark.parametrize(
    ("application", "field", "body"),
    [
        (respond(b"whole"), b"Content-Length: 5", b"whole"),
        (respond(b""), b"Content-Length: 0", b""),
        (respond(), b"Content-Length: 0", b""),
        (respond(b"who", b"", b"le", fields=[("Content-Length", "5")]), b"Content-Length: 5", b"whole"),
        (respond(b"who", b"le"), b"Transfer-Encoding: chunked", b"3\r\nwho\r\n2\r\nle\r\n0\r\n\r\n"),
        (respond(b"x" * 9, fields=[("Content-Length", "5")]), b"Content-Length: 5", b"x" * 5),
    ],
    ids=["one block", "an empty block", "no block", "several of known length", "several", "more than was said"],
)
def test_bodies(application: Any, field: bytes, body: bytes) -> None:
    """They are framed by the length that is known, or else in chunks, and the connection goes on."""
    connection = Lab(application).run()
    assert b"\r\n" + field + b"\r\n" in connection.sent
    assert body_of(connection) == body
    assert not connection.closed


@pytest.mark.parametrize(
    ("status", "method", "fields", "kept"),
    [
        ("204 No Content", b"GET", [("Content-Length", "0")], []),
        ("304 Not Modified", b"GET", [("Content-Length", "5")], [b"Content-Length: 5"]),
        ("200 OK", b"HEAD", [("Content-Length", "5")], [b"Content-Length: 5"]),
        ("200 OK", b"HEAD", [], []),
    ],
)
def test_responses_without_a_body(status: str, method: bytes, fields: Any, kept: list[bytes]) -> None:
    """A body that is given all the same is not sent, and need not end; 204 has no length (RFC 9110 section 8.6)."""
    closed: list[bool] = []

    def endless() -> Iterator[bytes]:
        try:
            while True:
                yield b"block"
        finally:
            closed.append(True)

    def application(environ: dict[str, Any], start_response: Start) -> Iterator[bytes]:
        start_response(status, fields)
        return endless()

    connection = Lab(application).run(get(b"/", method=method))
    lines = connection.sent.split(b"\r\n")
    assert [line for line in lines if line.startswith((b"Content-Length", b"Transfer"))] == kept
    assert (body_of(connection), closed, connection.closed) == (b"", [True], False)


def test_the_body_of_a_request() -> None:
    """The application reads it to its end; it is closed after that."""
    bodies: list[Any] = []

    def application(environ: dict[str, Any], start_response: Start) -> list[bytes]:
        bodies.append(environ["wsgi.input"])
        start_response("200 OK", [])
        return [environ["wsgi.input"].read()]

    assert body_of(Lab(application).run(posted(b"/", 4) + b"body")) == b"body"
    assert bodies[0].closed


def test_a_file(tmp_path: Path) -> None:
    """One that is wrapped is sent by the reactor, from where it was read to, and the application's is closed."""
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    files: list[Any] = []

    def application(environ: dict[str, Any], start_response: Start) -> Any:
        files.append(path.open("rb"))
        files[0].seek(4)
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](files[0])

    connection = Lab(application).run()
    assert (body_of(connection), files[0].closed) == (b"456789", True)
    assert b"\r\nContent-Length: 6\r\n" in connection.sent
    assert not connection.closed


@pytest.mark.parametrize("when", ["before it begins", "while it runs", "when it has responded"])
def test_a_client_that_leaves(when: str, caplog: pytest.LogCaptureFixture) -> None:
    """The application is not called any more, or its response discarded; the log does not say that it failed."""
    called: list[str] = []

    def application(environ: dict[str, Any], start_response: Start) -> Iterator[bytes]:
        called.append(environ["PATH_INFO"])
        start_response("200 OK", [])
        if when == "while it runs":
            lab.connection.lose()
        yield b"one"
        yield b"two"
        called.append("the end")

    lab = Lab(application)
    lab.connection.feed(get(b"/left"))
    call = lab.bench.pool._jobs[0]
    if when == "before it begins":
        lab.connection.lose()
    call()
    if when == "when it has responded":
        lab.connection.lose()
    lab.bench.deliver()
    expected = {"before it begins": [], "while it runs": ["/left"], "when it has responded": ["/left", "the end"]}
    assert called == expected[when]
    assert (lab.connection.sent, caplog.records, lab.bench.pool.snapshot().queued) == (b"", [], 0)


@pytest.mark.parametrize("begun", [False, True])
def test_an_application_that_raises(begun: bool, caplog: pytest.LogCaptureFixture) -> None:
    """It is responded to by 500; what was begun is broken off. The log has the request line."""

    def application(environ: dict[str, Any], start_response: Start) -> Iterator[bytes]:
        start_response("200 OK", [])
        if begun:
            yield b"one"
        raise KeyError("secret")

    lab = Lab(application)
    aborted: list[bool] = []
    lab.connection.transport.abortConnection = lambda: aborted.append(True)  # type: ignore[method-assign]
    connection = lab.run()
    assert (connection.statuses, aborted) == (([200], [True]) if begun else ([500], []))
    assert b"secret" not in connection.sent
    assert "the application failed: GET /" in caplog.text


@pytest.mark.parametrize(
    ("application", "error"),
    [
        (lambda environ, start_response: [b"x"], "wrote before calling start_response"),
        (lambda environ, start_response: [], "returned without calling start_response"),
        (respond("text", fields=[("Content-Length", "4")]), "returned a str"),  # type: ignore[arg-type]
        (respond(b"x", fields=[("Content-Length", "1"), ("content-length", "1")]), "more than one Content-Length"),
        (respond(b"x", status="OK"), "is not the status of a response"),
        (respond(b"", fields=[("Content-Length", "4")]), "has no body where its Content-Length says 4"),
    ],
)
def test_what_pep_3333_forbids(application: Any, error: str, caplog: pytest.LogCaptureFixture) -> None:
    """The response is 500, and the log says what is wrong."""
    assert Lab(application).run().statuses == [500]
    assert error in caplog.text


def test_a_body_that_is_shorter_than_its_length(caplog: pytest.LogCaptureFixture) -> None:
    """The connection is aborted, so that the client learns of it."""
    lab = Lab(respond(b"on", b"e", fields=[("Content-Length", "5")]))
    aborted: list[bool] = []
    lab.connection.transport.abortConnection = lambda: aborted.append(True)  # type: ignore[method-assign]
    lab.run()
    assert aborted == [True]
    assert "the response ended after 3 of 5 bytes" in caplog.text


def test_start_response_again() -> None:
    """It replaces the head after an error, if nothing was sent yet (PEP 3333, Error Handling)."""

    def application(environ: dict[str, Any], start_response: Start) -> list[bytes]:
        start_response("200 OK", [("X-A", "one")])
        try:
            raise KeyError
        except KeyError as error:
            start_response("503 No", [("X-A", "two")], (KeyError, error, None))
        return [b"no"]

    connection = Lab(application).run()
    assert connection.statuses == [503]
    assert b"one" not in connection.sent


def test_the_write_callable() -> None:
    """What is written comes before what is returned (PEP 3333, The write() Callable)."""

    def application(environ: dict[str, Any], start_response: Start) -> list[bytes]:
        write = start_response("200 OK", [("Content-Length", "6")])
        write(b"one")
        return [b"two"]

    assert body_of(Lab(application).run()) == b"onetwo"


def test_an_id_of_the_applications() -> None:
    """It is in the response once, and is what the log has."""
    lab = Lab(respond(b"ok", fields=[("x-request-id", "mine")]))
    seen: list[bytes] = []
    lab.bench.site._on_responses = lambda requests: seen.extend(request.request_id for request in requests)
    for _ in range(2):
        lab.run()
    lab.bench.site.tell()
    assert lab.connection.sent.lower().count(b"x-request-id") == 2
    assert lab.connection.sent.count(b"\r\nx-request-id: mine\r\n") == 2
    assert seen == [b"mine", b"mine"]


@pytest.mark.parametrize("ids", [[("x-request-id", "")], [("x-request-id", "a"), ("X-Request-ID", "b")]])
def test_ids_that_are_not_one(ids: list[tuple[str, str]]) -> None:
    """There is one field all the same: ours where the application's says nothing, else its first."""
    lab = Lab(respond(b"ok", fields=ids))
    lab.run()
    assert lab.connection.sent.lower().count(b"x-request-id") == 1
    assert (b"\r\nx-request-id: a\r\n" in lab.connection.sent) is bool(ids[0][1])
    assert b"x-request-id: \r\n" not in lab.connection.sent.lower()


def test_the_id_of_a_head_that_is_replaced() -> None:
    """It is not sent, and ours stands in the response."""

    def application(environ: dict[str, Any], start_response: Start) -> list[bytes]:
        start_response("200 OK", [("X-Request-ID", "mine")])
        start_response("500 Failed", [], (ValueError, ValueError(), None))
        return [b"failed"]

    lab = Lab(application)
    lab.run()
    assert lab.connection.sent.lower().count(b"x-request-id") == 1
    assert b"mine" not in lab.connection.sent


def test_a_queue_that_is_full() -> None:
    """The response is 503 at once, and asks to try again."""
    lab = Lab(respond(b"ok"))
    lab.bench.pool._max_queue = 0
    lab.connection.feed(get(b"/"))
    assert lab.connection.statuses == [503]
    assert b"\r\nRetry-After: 1\r\n" in lab.connection.sent


def test_how_long_a_request_has_waited() -> None:
    """Is told of it, whichever way it ends."""
    lab = Lab(respond(b"ok"))
    lab.bench.site._on_responses = lambda requests: seen.extend(request.queue_time for request in requests)
    seen: list[float] = []
    lab.run()
    lab.connection.feed(get(b"/"))
    lab.connection.lose()
    lab.bench.site.tell()
    assert len(seen) == 2
    assert all(0 < seconds < 60 for seconds in seen)
