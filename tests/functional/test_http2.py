"""HTTP/2 over TLS: what a client gets, what it cannot do to the server, and how the connections end."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from tests.support.functional.harness import PATIENCE, Serve, Server, serving, wait_for, write_project
from tests.support.functional.http2 import MEGABYTE, NAME, WHOLE_WINDOW, Secure, start
from tests.support.functional.processes import descriptors, resident
from tests.support.functional.recorder import RECORDER, seen

VIEWS = """
import hashlib
import json
import os
import threading
import time

from django.conf import settings
from django.http import FileResponse, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path

opened = threading.Event()
told = []


def tell(request):
    environ = {name: value for name, value in request.environ.items() if isinstance(value, str)}
    digest = hashlib.sha256(request.read()).hexdigest()
    return JsonResponse({"environ": environ, "cookies": request.COOKIES, "secure": request.is_secure(), "body": digest})


def hold(request):
    told.append(request.GET["name"])
    while not (settings.BASE_DIR / request.GET["name"]).exists():
        time.sleep(0.01)
    return HttpResponse(request.GET["name"])


def endless(request):
    def blocks():
        try:
            while True:
                yield b"x" * 65536
        finally:
            told.append("closed")

    return StreamingHttpResponse(blocks())


def lines(request):
    return StreamingHttpResponse(b"%d\\n" % number for number in range(1000))


def begin(request):
    def blocks():
        yield b"begun"
        time.sleep(60)

    return StreamingHttpResponse(blocks())


urlpatterns = [
    path("tell/", tell),
    path("hold/", hold),
    path("endless/", endless),
    path("lines/", lines),
    path("begin/", begin),
    path("large/", lambda request: HttpResponse(b"x" * 3_000_000)),
    path("file/", lambda request: FileResponse((settings.BASE_DIR / "static_root" / "large.bin").open("rb"))),
    path("told/", lambda request: JsonResponse(told, safe=False)),
    path("pid/", lambda request: HttpResponse(str(os.getpid()))),
]
"""
SETTINGS = "STATIC_URL = '/static/'\nSTATIC_ROOT = BASE_DIR / 'static_root'\n"


@contextmanager
def secure(directory: Path, *options: str, **modules: str) -> Iterator[Secure]:
    """A server of the views, or of the modules that are given, for several tests."""
    project = write_project(directory / "project", VIEWS, SETTINGS, **modules)
    static = project / "static_root"
    static.mkdir()
    (static / "small.txt").write_text("small\n")
    (static / "large.bin").write_bytes(os.urandom(2_000_000))
    servers: list[Any] = []

    def begin(*words: str, **keywords: Any) -> Server:
        servers.append(serving(*words, cwd=project, logs=directory, **keywords))
        started: Server = servers[0].__enter__()
        return started

    try:
        yield start(begin, directory, *options)
    finally:
        servers[0].__exit__(None, None, None)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    """Views and files, two threads."""
    with secure(tmp_path_factory.mktemp("http2"), "--static", "--threads", "2", "--max-queue", "5") as running:
        yield running


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    """A recorder behind small limits and short timeouts."""
    options = ["--wsgi", "recorder.application", "--max-header-size", "2K", "--max-body-size", "100K"]
    options += ["--header-timeout", "2", "--body-timeout", "2", "--keep-alive-timeout", "3", "--request-timeout", "3"]
    with secure(tmp_path_factory.mktemp("limited"), *options, recorder=RECORDER) as running:
        seen(running.server)
        yield running


# What a client gets


def test_a_request(site: Secure) -> None:
    """A view sees the request as it does over HTTP/1.1; the answer, its log line and its metrics are the same."""
    before = site.count('twistserve_http_requests_total{handler="django",method="POST",status="200"}')
    fields = [
        ("cookie", "a=b"),
        ("cookie", "c=d"),
        ("x-a", "1"),
        ("x-a", "2"),
        ("x_b", "forged"),
        ("proxy", "http://x"),
    ]
    with site.connect() as client:
        answer = client.get("/tell/?q=%C3%A9", *fields, ("x-request-id", "given"), method="POST", body=b"body")
    told = answer.json()
    environ = told["environ"]
    assert (answer.status, told["secure"], told["cookies"]) == (200, True, {"a": "b", "c": "d"})
    assert told["body"] == hashlib.sha256(b"body").hexdigest()
    expected = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/tell/",
        "QUERY_STRING": "q=%C3%A9",
        "SERVER_PROTOCOL": "HTTP/2.0",
        "HTTP_HOST": NAME,
        "HTTP_COOKIE": "a=b; c=d",
        "HTTP_X_A": "1,2",
        "CONTENT_LENGTH": "4",
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.url_scheme": "https",
        "HTTP_X_REQUEST_ID": "given",
    }
    assert {name: environ.get(name) for name in expected} == expected
    assert not {"HTTP_X_B", "HTTP_PROXY"} & set(environ)
    assert (answer.head["x-request-id"], answer.head["server"]) == ("given", "twistserve")
    assert re.fullmatch(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT", answer.head["date"])
    assert not {"connection", "transfer-encoding", "keep-alive"} & set(answer.head)
    wait_for(lambda: '"POST /tell/?q=%C3%A9 HTTP/2.0" 200' in site.server.stdout, "the line in the access log")
    after = site.count('twistserve_http_requests_total{handler="django",method="POST",status="200"}')
    assert after == before + 1


def test_bodies(site: Secure) -> None:
    """Uploads arrive whole, whatever their size, with and without a length."""
    with site.connect() as client:
        for size in (0, 1, 65536, 3 * MEGABYTE):
            body = os.urandom(size)
            for fields in ([], [("content-length", str(size))]):
                told = client.get("/tell/", *fields, method="POST", body=body).json()
                assert told["body"] == hashlib.sha256(body).hexdigest()
                assert told["environ"]["CONTENT_LENGTH"] == str(size)


def test_a_large_body_is_in_a_file(site: Secure) -> None:
    """What is beyond 1 MiB of a body does not stay in memory."""
    with site.connect() as client:
        before = resident(site.server)
        number = client.ask("/tell/", method="POST", end=False)
        client.send(number, b"x" * 60 * MEGABYTE, end=False)
        assert resident(site.server) - before < 20 * MEGABYTE
        client.h2.end_stream(number)
        client.flush()
        assert client.answer(number).status == 200


def test_answers(site: Secure) -> None:
    """Answers of one block, streamed ones and files arrive whole."""
    large = (site.server.cwd / "static_root" / "large.bin").read_bytes()
    with site.connect() as client:
        assert client.get("/large/").body == b"x" * 3_000_000
        assert client.get("/lines/").body == b"".join(b"%d\n" % number for number in range(1000))
        assert client.get("/file/").body == large
        head = client.get("/large/", method="HEAD")
    assert (head.status, head.body) == (200, b"")


def test_files(site: Secure) -> None:
    """Files are served as over HTTP/1.1: out of memory and from the disk, in parts, by HEAD, and not if current."""
    large = (site.server.cwd / "static_root" / "large.bin").read_bytes()
    with site.connect() as client:
        for _ in range(2):
            small = client.get("/static/small.txt")
            assert (small.status, small.body, small.head["content-length"]) == (200, b"small\n", "6")
        assert client.get("/static/large.bin").body == large
        part = client.get("/static/large.bin", ("range", "bytes=100-1000099"))
        assert (part.status, part.body) == (206, large[100:1_000_100])
        assert part.head["content-range"] == "bytes 100-1000099/2000000"
        head = client.get("/static/large.bin", method="HEAD")
        assert (head.status, head.body, head.head["content-length"]) == (200, b"", "2000000")
        current = client.get("/static/small.txt", ("if-none-match", small.head["etag"]))
        assert (current.status, current.body) == (304, b"")
        assert client.get("/static/missing.txt").status == 404
        assert client.get("/static/small.txt", method="POST").status == 405


def test_the_same_answers_as_over_http1(site: Secure) -> None:
    """The heads differ in nothing but what HTTP/2 has no use for."""
    for path in ("/pid/", "/static/small.txt", "/nothing/", "/lines/"):
        plain = site.server.get(path)
        with site.connect() as client:
            answer = client.get(path)
        of_connection = {"connection", "transfer-encoding", "date", "x-request-id", ":status"}
        assert {name: value for name, value in answer.head.items() if name not in of_connection} == {
            name.lower(): value for name, value in plain.headers.items() if name.lower() not in of_connection
        }
        assert (answer.status, answer.body) == (plain.status, plain.body)


def test_many_at_a_time(site: Secure) -> None:
    """Requests on one connection are answered as they are ready, while another one waits for its view."""
    with site.connect() as client:
        held = client.ask("/hold/?name=many")
        files = [client.ask("/static/large.bin") for _ in range(20)]
        others = [client.ask("/static/small.txt") for _ in range(70)]
        assert {client.answer(number).status for number in files + others} == {200}
        assert not client.answers[held].ended
        assert client.get("/pid/").status == 200
        (site.server.cwd / "many").touch()
        assert client.answer(held).body == b"many"


def test_curl(site: Secure) -> None:
    """curl agrees on HTTP/2 where it can, and on HTTP/1.1 where it is told to."""
    url = f"https://127.0.0.1:{site.port}/large/"
    for option, version in (("--http2", "2"), ("--http1.1", "1.1")):
        words = ["curl", "-sk", option, "-o", "/dev/null", "-w", "%{http_version} %{http_code} %{size_download}", url]
        done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=PATIENCE)
        assert done.stdout == f"{version} 200 3000000"


# Limits


def test_heads_that_are_refused(limited: Secure) -> None:
    """A head that is wrong or too large is answered so on its stream, and reaches nobody; the others go on."""
    refused: list[tuple[int, dict[str, Any]]] = [
        (400, {"path": "/a b"}),
        (400, {"path": "a"}),
        (400, {"path": "https://one.example/"}),
        (400, {"path": "/#a"}),
        (501, {"method": "BREW"}),
        (400, {"authority": "a b"}),
        (400, {"scheme": "gopher"}),
        (414, {"path": "/" + "a" * 3000}),
    ]
    before = limited.count("twistserve_http_rejected_requests_total")
    with limited.connect() as client:
        for status, pseudo in refused:
            assert client.answer(client.ask(pseudo.pop("path", "/"), **pseudo)).status == status, pseudo
        assert client.get("/", ("x-a", "a" * 3000)).status == 431
        assert client.get("/", *[("x-a", "")] * 260).status == 431
        assert client.get("/", ("x-a", "a\x01")).status == 400
        assert client.get("/fine").status == 200
    assert seen(limited.server) == [["GET", "/fine", ""]]
    assert limited.count("twistserve_http_rejected_requests_total") == before + len(refused) + 3


@pytest.mark.parametrize(
    "fields",
    [
        [("connection", "close")],
        [("transfer-encoding", "chunked")],
        [("upgrade", "websocket")],
        [("te", "gzip")],
        [("host", "other.example")],
        [("x-a", "a\r\nX-B: b")],
        [("x-a\r\nx-b", "a")],
        [("x-a ", "a")],
        [(":path", "/twice")],
        [("x-a", "a"), (":late", "a")],
        [("content-length", "1"), ("content-length", "2")],
        [("content-length", "-1")],
    ],
)
def test_heads_that_end_the_connection(limited: Secure, fields: list[tuple[str, str]]) -> None:
    """What is no HTTP/2 ends the connection, and nothing of it reaches the application."""
    with limited.connect() as client:
        client.h2.config.normalize_outbound_headers = False
        client.ask("/bad", *fields)
        client.until_closed()
    assert client.goaway[0][0] == ErrorCodes.PROTOCOL_ERROR
    assert seen(limited.server) == []


def test_bodies_that_are_too_large(limited: Secure) -> None:
    """413, announced or not; what a client sends regardless is dropped, and then its stream is reset."""
    with limited.connect() as client:
        for fields in ([], [("content-length", "200000")]):
            number = client.ask("/large", *fields, method="POST", end=False)
            client.send(number, b"x" * 200_000, end=False)
            assert client.answer(number).status == 413
            client.until(lambda number=number: client.answers[number].error is not None)  # type: ignore[misc]
            assert client.answers[number].error == ErrorCodes.NO_ERROR
        assert client.get("/fits", method="POST", body=b"x" * 100_000).status == 200
    assert [record[1] for record in seen(limited.server)] == ["/fits"]


def test_a_body_that_stalls(limited: Secure) -> None:
    """408 for the stream, while others are answered."""
    with limited.connect() as client:
        number = client.ask("/stalls", method="POST", end=False)
        client.send(number, b"x", end=False)
        assert client.get("/other").status == 200
        assert client.answer(number).status == 408
        assert client.get("/another").status == 200
    assert [record[1] for record in seen(limited.server)] == ["/other", "/another"]


def test_connections_that_are_silent(limited: Secure) -> None:
    """Idle ones end with a GOAWAY, and so do those that say nothing at all, in TLS or before."""
    with limited.connect() as idle, limited.connect() as silent:
        assert idle.get("/first").status == 200
        begun = time.monotonic()
        silent.until_closed()
        idle.until_closed()
        assert time.monotonic() - begun < 10
    assert (idle.goaway, silent.goaway) == ([(ErrorCodes.NO_ERROR, 1)], [(ErrorCodes.NO_ERROR, 0)])
    plain = socket.create_connection(("127.0.0.1", limited.port), timeout=PATIENCE)
    with plain, suppress(ConnectionResetError):
        assert plain.recv(1) == b""
    seen(limited.server)


def test_injected_headers(limited: Secure) -> None:
    """A header that would break the answer is a logged 500."""
    with limited.connect() as client:
        for kind in ("value-crlf", "value-nul", "name-lf", "name-colon", "length"):
            answer = client.get(f"/inject/{kind}")
            assert (answer.status, answer.body) == (500, b"The application failed.\n")
    wait_for(lambda: limited.server.output.count("start_response: ") >= 5, "the errors to be logged")
    seen(limited.server)


def test_the_request_deadline(limited: Secure) -> None:
    """504 on the stream of a request that takes too long."""
    with limited.connect() as client:
        late = client.ask("/wait")
        assert client.get("/other").status == 200
        assert client.answer(late).status == 504
        client.get("/open")
    seen(limited.server)


def test_the_request_deadline_after_the_head(serve: Serve, project: Callable[..., Path], tmp_path: Path) -> None:
    """A streamed answer that takes too long is broken off by a reset; the connection goes on."""
    running = start(serve, tmp_path, "--request-timeout", "1", cwd=project(VIEWS, SETTINGS))
    with running.connect() as client:
        answer = client.get("/begin/")
        assert (answer.body, answer.ended, answer.error) == (b"begun", False, ErrorCodes.INTERNAL_ERROR)
        assert client.get("/pid/").status == 200


def test_a_full_queue(site: Secure) -> None:
    """Requests beyond --max-queue get 503 at once, and those that are reset leave the queue."""
    with site.connect() as client:
        held = [client.ask(f"/hold/?name=full{number}") for number in range(2)]
        wait_for(lambda: _busy(site) == 2, "two busy threads")
        queued = [client.ask("/hold/?name=never") for _ in range(5)]
        turned_away = client.get("/pid/")
        assert (turned_away.status, turned_away.head["retry-after"]) == (503, "1")
        for number in queued:
            client.h2.reset_stream(number, ErrorCodes.CANCEL)
        client.flush()
        wait_for(lambda: site.count("twistserve_http_request_queue_length") == 0, "an empty queue")
        for number in range(2):
            (site.server.cwd / f"full{number}").touch()
        assert [client.answer(number).status for number in held] == [200, 200]
    assert "never" not in site.told()


def _busy(site: Secure) -> float:
    return site.count("twistserve_threads_busy")


# Clients that do not take what they ask for


@pytest.mark.parametrize("way", ["window", "socket"])
def test_streams_that_nobody_takes(site: Secure, way: str) -> None:
    """Neither a closed window nor an unread socket fills the memory; resets free the threads, and close() is called."""
    before, closed = resident(site.server), site.told().count("closed")
    options: dict[str, Any] = {"window": WHOLE_WINDOW, "buffer": 4096} if way == "socket" else {"window": 1000}
    with site.connect(takes=False, **options) as client:
        streams = [client.ask("/endless/") for _ in range(2)]
        wait_for(lambda: _busy(site) == 2, "two busy threads")
        time.sleep(2)
        assert resident(site.server) - before < 20 * MEGABYTE
        if way == "window":
            for number in streams:
                client.h2.reset_stream(number, ErrorCodes.CANCEL)
            client.flush()
            assert client.get("/static/small.txt").status == 200
        else:
            client.socket.close()
        wait_for(lambda: _busy(site) == 0, "free threads")
        wait_for(lambda: site.told().count("closed") == closed + 2, "both answers to be closed")
        if way == "window":
            assert client.get("/static/small.txt").status == 200


def test_files_that_nobody_takes(site: Secure) -> None:
    """A hundred large files at a time on a connection without windows cost next to nothing, and leave nothing open."""
    memory, files = resident(site.server), descriptors(site.server)
    with site.connect(window=0, takes=False) as client:
        streams = [client.ask("/static/large.bin") for _ in range(100)]
        client.until(lambda: all(client.answers[number].head for number in streams))
        assert resident(site.server) - memory < 20 * MEGABYTE
    wait_for(lambda: descriptors(site.server) <= files, "closed files")


def test_a_closed_window_costs_no_time(site: Secure) -> None:
    """The server does not spin while it waits for a window, nor after one was taken back."""
    with site.connect(window=1000, takes=False) as client:
        number = client.ask("/large/")
        client.until(lambda: len(client.answers[number].body) == 1000)
        client.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
        client.flush()
        before = _seconds(site.server)
        time.sleep(2)
        assert _seconds(site.server) - before < 1
        assert client.get("/static/small.txt", method="HEAD").status == 200


def _seconds(server: Server) -> float:
    """Processor time that a server has used."""
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_an_answer_that_is_never_taken(limited: Secure) -> None:
    """A client that opens no window loses the stream."""
    with limited.connect(window=0, takes=False) as client:
        answer = client.answer(client.ask("/never-taken"))
        assert (answer.status, answer.body, answer.error) == (200, b"", ErrorCodes.CANCEL)
    seen(limited.server)


# Floods


def test_rapid_reset(site: Secure) -> None:
    """Thousands of requests that are reset at once end the connection; the application sees few, others are served."""
    queued = site.count("twistserve_http_request_queue_length")
    with site.connect() as client:
        with suppress(BrokenPipeError, ConnectionResetError, ssl.SSLError):
            for _ in range(100):
                for _ in range(50):
                    number = client.h2.get_next_available_stream_id()
                    head = [(":method", "GET"), (":scheme", "https"), (":authority", NAME), (":path", "/pid/")]
                    client.h2.send_headers(number, head, end_stream=True)
                    client.h2.reset_stream(number, ErrorCodes.CANCEL)
                client.socket.sendall(client.h2.data_to_send())
        client.until_closed()
    assert client.goaway[0][0] == ErrorCodes.ENHANCE_YOUR_CALM
    with site.connect() as other:
        assert other.get("/pid/").status == 200
    assert site.count("twistserve_http_request_queue_length") == queued


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"\0\0\x08\x06\0\0\0\0\0" + b"12345678", ErrorCodes.ENHANCE_YOUR_CALM),
        (b"\0\0\0\x04\0\0\0\0\0", ErrorCodes.ENHANCE_YOUR_CALM),
        (b"\0\0\x05\x02\0\0\0\0\x01" + b"\0\0\0\0\x10", ErrorCodes.ENHANCE_YOUR_CALM),
        (b"\0\0\0\xee\0\0\0\0\0", ErrorCodes.ENHANCE_YOUR_CALM),
        (b"\0\0\x01\x01\0\0\0\0\x01\x82" + b"\0\0\x01\x09\0\0\0\0\x01\x84" * 99, ErrorCodes.PROTOCOL_ERROR),
    ],
    ids=["pings", "settings", "priorities", "unknown", "continuations"],
)
def test_floods(site: Secure, frame: bytes, code: int) -> None:
    """Frames that only cost end the connection, and bring nobody else into trouble."""
    before = resident(site.server)
    with site.connect() as client:
        with suppress(BrokenPipeError, ConnectionResetError, ssl.SSLError):
            for _ in range(100):
                client.socket.sendall(frame * 100)
        client.until_closed()
    assert client.goaway[0][0] == code
    assert resident(site.server) - before < 20 * MEGABYTE
    with site.connect() as other:
        assert other.get("/pid/").status == 200


def test_fields_that_unpack_to_much(site: Secure) -> None:
    """A few kilobytes of HPACK that stand for megabytes of fields end the connection."""
    with site.connect() as client:
        client.ask("/bomb", *[("x-a", "a" * 3000)] * 400)
        client.until_closed()
    assert client.goaway == [(ErrorCodes.ENHANCE_YOUR_CALM, 0)]


# The end


@pytest.mark.parametrize("workers", ["1", "2"])
def test_drain(serve: Serve, project: Callable[..., Path], tmp_path: Path, workers: str) -> None:
    """On SIGTERM clients get a first GOAWAY; idle connections end soon, others with their answers; then the process."""
    running = start(serve, tmp_path, "--workers", workers, cwd=project(VIEWS, SETTINGS))
    with running.connect() as busy, running.connect() as idle:
        assert idle.get("/pid/").status == 200
        held = busy.ask("/hold/?name=held")
        wait_for(lambda: running.count("twistserve_http_requests_in_progress") == 1, "the request to run")
        running.server.signal(signal.SIGTERM)
        idle.until_closed()
        assert idle.goaway == [(ErrorCodes.NO_ERROR, WHOLE_WINDOW), (ErrorCodes.NO_ERROR, 1)]
        busy.until(lambda: busy.goaway)
        assert busy.goaway == [(ErrorCodes.NO_ERROR, WHOLE_WINDOW)]
        (running.server.cwd / "held").touch()
        assert busy.answer(held).body == b"held"
        busy.until_closed()
        assert busy.goaway[-1] == (ErrorCodes.NO_ERROR, 1)
    assert running.server.wait() == 0


def test_without_h2(serve: Serve, project: Callable[..., Path], tmp_path: Path) -> None:
    """Where h2 is not installed, TLS agrees on HTTP/1.1."""
    hiding = tmp_path / "hiding"
    hiding.mkdir()
    (hiding / "sitecustomize.py").write_text("import sys\nsys.modules['h2'] = None\n")
    running = start(serve, tmp_path, cwd=project(VIEWS, SETTINGS), env={"PYTHONPATH": str(hiding)})
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    plain = socket.create_connection(("127.0.0.1", running.port), timeout=PATIENCE)
    with context.wrap_socket(plain, server_hostname=NAME) as connection:
        assert connection.selected_alpn_protocol() == "http/1.1"
        connection.sendall(b"GET /pid/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")
