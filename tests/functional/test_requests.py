"""Requests through the server: what a view or a WSGI application is told, and what the client gets back."""

from __future__ import annotations

import hashlib
import http.client
import json
import random
import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from tests.support.functional.harness import (
    EXAMPLE,
    PATIENCE,
    Serve,
    Server,
    at_once,
    raw,
    serving,
    wait_for,
    write_project,
)
from tests.support.functional.processes import resident
from tests.support.functional.wire import LAST_CHUNK, asking, wire

MEGABYTE = 1 << 20

VIEWS = """
import itertools
import threading
import time

from django.conf import settings
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path

LOCK = threading.Lock()
MEETING = threading.Barrier(8)
counts = {"active": 0, "produced": 0}


def wait(gate):
    while not (settings.BASE_DIR / gate).exists():
        time.sleep(0.01)


def tell(request, rest=""):
    environ = {name: value for name, value in request.environ.items() if isinstance(value, str)}
    return JsonResponse(
        {
            "method": request.method,
            "path": request.path,
            "query": dict(request.GET.lists()),
            "cookies": request.COOKIES,
            "body": request.body.decode(),
            "environ": environ,
        }
    )


def gated(request):
    def pieces():
        yield "first\\n"
        wait(request.GET["gate"])
        yield "second\\n"

    return StreamingHttpResponse(pieces())


def breaking(request):
    def pieces():
        yield "first\\n"
        wait(request.GET["gate"])
        raise RuntimeError("broke off")

    return StreamingHttpResponse(pieces())


def endless(request):
    def pieces():
        try:
            while True:
                yield "tick\\n"
                time.sleep(0.005)
        finally:
            (settings.BASE_DIR / request.GET["marker"]).touch()

    return StreamingHttpResponse(pieces())


def huge(request):
    def pieces():
        try:
            for number in range(int(request.GET["megabytes"])):
                yield bytes([number % 256]) * (1 << 20)
                counts["produced"] += 1
        finally:
            (settings.BASE_DIR / request.GET["marker"]).touch()

    counts["produced"] = 0
    return StreamingHttpResponse(pieces())


def produced(request):
    return HttpResponse(str(counts["produced"]))


def meet(request):
    return HttpResponse(str(MEETING.wait(60)))


def company(request):
    with LOCK:
        counts["active"] += 1
    time.sleep(0.05)
    with LOCK:
        seen = counts["active"]
        counts["active"] -= 1
    return HttpResponse(str(seen))


urlpatterns = [
    path("tell/", tell),
    path("tell/<path:rest>", tell),
    path("gated/", gated),
    path("breaking/", breaking),
    path("endless/", endless),
    path("huge/", huge),
    path("produced/", produced),
    path("meet/", meet),
    path("company/", company),
]
"""

WSGI_APPLICATIONS = """
import sys
from wsgiref.validate import validator

PLAIN = [("Content-Type", "text/plain")]
closed = []


def blocks(environ, start_response):
    start_response("200 OK", PLAIN)
    return [b"one ", b"", b"two ", b"three"]


def generator(environ, start_response):
    start_response("200 OK", PLAIN)
    yield b"one "
    yield b""
    yield b"two"


def written(environ, start_response):
    write = start_response("200 OK", PLAIN)
    write(b"one ")
    write(b"two ")
    return [b"three"]


def unlengthed(environ, start_response):
    start_response("200 OK", PLAIN)
    return [b"hello"]


def lengthed(environ, start_response):
    start_response("200 OK", [*PLAIN, ("Content-Length", "5")])
    return [b"hello"]


def nothing(environ, start_response):
    start_response("204 No Content", [])
    return []


def nothing_of_length(environ, start_response):
    start_response("204 No Content", [("CONTENT-Length", "0"), ("X-Name", "kept")])
    return [b""]


def unchanged(environ, start_response):
    start_response("304 Not Modified", [("Content-Length", "5")])
    return []


def corrected(environ, start_response):
    start_response("200 OK", PLAIN)
    try:
        raise RuntimeError("noticed in time")
    except RuntimeError:
        start_response("503 Sorry", [("X-Corrected", "yes")], sys.exc_info())
    return [b"sorry"]


def too_late(environ, start_response):
    start_response("200 OK", PLAIN)
    yield b"begun"
    try:
        raise RuntimeError("noticed too late")
    except RuntimeError:
        start_response("500 Sorry", PLAIN, sys.exc_info())
    yield b"never sent"


def twice(environ, start_response):
    start_response("200 OK", PLAIN)
    start_response("200 OK", PLAIN)
    return [b"never sent"]


def never(environ, start_response):
    return [b"never sent"]


def raises(environ, start_response):
    raise RuntimeError("raised at once")


def raises_later(environ, start_response):
    start_response("200 OK", PLAIN)
    raise RuntimeError("raised after start_response")


def missing_bytes(environ, start_response):
    start_response("200 OK", [*PLAIN, ("Content-Length", "10")])
    return [b"12345"]


def missing_blocks(environ, start_response):
    start_response("200 OK", [*PLAIN, ("Content-Length", "10")])
    yield b"123"
    yield b"45"


def surplus_bytes(environ, start_response):
    start_response("200 OK", [*PLAIN, ("Content-Length", "5")])
    return [b"1234567890"]


def surplus_blocks(environ, start_response):
    start_response("200 OK", [*PLAIN, ("Content-Length", "5")])
    yield b"123"
    yield b"4567"
    yield b"890"


def split_value(environ, start_response):
    start_response("200 OK", [*PLAIN, ("X-Name", "value\\r\\nSet-Cookie: stolen=1")])
    return [b"never sent"]


def split_name(environ, start_response):
    start_response("200 OK", [*PLAIN, ("X-Name: value\\r\\nSet-Cookie", "stolen=1")])
    return [b"never sent"]


def split_status(environ, start_response):
    start_response("200 OK\\r\\nSet-Cookie: stolen=1", PLAIN)
    return [b"never sent"]


def interim(environ, start_response):
    start_response("103 Early Hints", [("Link", "</style.css>")])
    return [b"never sent"]


def cookies(environ, start_response):
    start_response("200 OK", [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X-Name", "caf\\xe9")])
    return [b"two cookies"]


class Closing:
    def __init__(self, blocks):
        self.blocks = iter(blocks)

    def __iter__(self):
        return self

    def __next__(self):
        block = next(self.blocks)
        if block is None:
            raise RuntimeError("broken block")
        return block

    def close(self):
        closed.append(1)


def closing(environ, start_response):
    start_response("200 OK", PLAIN)
    return Closing([b"first", None] if environ["QUERY_STRING"] == "broken" else [b"first", b"second"])


def closed_count(environ, start_response):
    start_response("200 OK", PLAIN)
    return [str(len(closed)).encode()]


def read_all(environ, start_response):
    start_response("200 OK", PLAIN)
    return [environ["wsgi.input"].read(), b"|", environ["wsgi.input"].read()]


def read_lines(environ, start_response):
    start_response("200 OK", PLAIN)
    first = environ["wsgi.input"].readline()
    return [first, b"|", *environ["wsgi.input"], b"|", environ["wsgi.input"].readline()]


def told(environ, start_response):
    start_response("200 OK", PLAIN)
    names = ("version", "url_scheme", "multithread", "multiprocess", "run_once")
    return [repr([environ[f"wsgi.{name}"] for name in names]).encode()]


def complaint(environ, start_response):
    environ["wsgi.errors"].write("a complaint of the application\\n")
    environ["wsgi.errors"].flush()
    start_response("200 OK", PLAIN)
    return [b"complained"]


@validator
def validated(environ, start_response):
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    start_response("200 OK", [*PLAIN, ("Content-Length", str(len(body) + 5))])
    return [b"valid", body]


def application(environ, start_response):
    return globals()[environ["PATH_INFO"].strip("/")](environ, start_response)
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of the views above, with eight request threads."""
    directory = write_project(tmp_path_factory.mktemp("lab") / "project", VIEWS)
    with serving("--threads", "8", cwd=directory, logs=directory, settings="site_settings") as server:
        yield server


@pytest.fixture(scope="module")
def wsgi(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of the WSGI applications above, chosen by the path."""
    directory = write_project(tmp_path_factory.mktemp("wsgi") / "project", raw_wsgi=WSGI_APPLICATIONS)
    options = ("--wsgi", "raw_wsgi.application")
    with serving(*options, cwd=directory, logs=directory, settings="site_settings") as server:
        yield server


@pytest.fixture(scope="module")
def shop(prepared_example: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of the example project with its media files."""
    directory = Path(copytree(prepared_example, tmp_path_factory.mktemp("shop") / "example"))
    (directory / "media").mkdir()
    with serving("--static", "--media", cwd=directory, logs=directory) as server:
        yield server


def tell(server: Server, target: str = "/tell/", *headers: str) -> Any:
    """What the view was told about a request with these header lines."""
    with wire(server.port) as connection:
        connection.send(asking(target, *headers))
        return connection.answer().json()


def has_ipv6() -> bool:
    """Whether this machine has an IPv6 loopback address."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


# What a view is told


@pytest.mark.smoke
def test_get_and_head_of_a_page(shop: Server) -> None:
    """A page arrives as Django rendered it, and HEAD gives its headers without its body."""
    got, head = shop.get("/"), shop.get("/", method="HEAD")
    assert got.status == head.status == 200
    assert "Pride and Prejudice" in got.text
    assert "Charlotte Brontë" in got.text
    assert got.headers["Content-Type"] == head.headers["Content-Type"] == "text/html; charset=utf-8"
    assert int(got.headers["Content-Length"]) == int(head.headers["Content-Length"]) == len(got.body)
    assert head.body == b""
    assert got.headers["X-Frame-Options"] == "DENY"
    assert got.headers["Date"]


def test_head_leaves_the_connection_usable(shop: Server) -> None:
    """No byte of a body follows an answer to HEAD, streamed or not, so that the next answer is understood."""
    with wire(shop.port) as connection:
        for target in ("/", "/stream/?chunks=3", "/books/2/"):
            connection.send(asking(target, method="HEAD"))
            assert connection.answer("HEAD").status == 200
        connection.send(asking("/count/"))
        assert connection.answer().body == b"6"


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
def test_every_method_reaches_the_view(lab: Server, method: str) -> None:
    """The method is the client's, known to the server or not."""
    assert lab.get("/tell/", method=method).json()["method"] == method


def test_query_string(lab: Server) -> None:
    """The query string reaches the view as it was sent, repeated and encoded names included."""
    seen = tell(lab, "/tell/?a=1&a=2&name=caf%C3%A9&space=+&empty=&path=/x?y")
    assert seen["query"] == {"a": ["1", "2"], "name": ["café"], "space": [" "], "empty": [""], "path": ["/x?y"]}
    assert seen["environ"]["QUERY_STRING"] == "a=1&a=2&name=caf%C3%A9&space=+&empty=&path=/x?y"
    assert tell(lab, "/tell/")["environ"]["QUERY_STRING"] == ""


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/tell/caf%C3%A9/%E2%82%AC", "/tell/café/€"),
        ("/tell/a%20b%2Fc+d%2Be", "/tell/a b/c+d+e"),
        ("/tell/100%25/%2541", "/tell/100%/%41"),
        ("/tell/a//b/", "/tell/a//b/"),
        ("/tell/a;b=1,c", "/tell/a;b=1,c"),
    ],
)
def test_path_is_decoded_once(lab: Server, target: str, path: str) -> None:
    """Percent-encoding is undone exactly once, as UTF-8, and nothing else of the path changes."""
    seen = tell(lab, target)
    assert seen["path"] == path
    assert seen["environ"]["SCRIPT_NAME"] == ""


def test_path_that_is_not_utf8(lab: Server) -> None:
    """Bytes that are no UTF-8 reach the view instead of failing in the server."""
    assert tell(lab, "/tell/%FF")["path"] == "/tell/%FF"


def test_repeated_headers_are_joined(lab: Server) -> None:
    """A header given twice arrives as one value joined with a comma, cookies with a semicolon."""
    seen = tell(lab, "/tell/", "X-Tag: one", "Cookie: a=1", "X-Tag: two", "Cookie: b=2; c=3")
    assert seen["environ"]["HTTP_X_TAG"] == "one,two"
    assert seen["cookies"] == {"a": "1", "b": "2", "c": "3"}
    assert seen["environ"]["HTTP_COOKIE"] == "a=1; b=2; c=3"


def test_header_names_cannot_be_forged(lab: Server) -> None:
    """A header name with an underscore is dropped, and `Proxy` never becomes HTTP_PROXY."""
    forged = ("X_Real_User: admin", "X-Real_User: admin", "Proxy: http://evil.example", "pROXY: x", "Proxy_: x")
    environ = tell(lab, "/tell/", *forged, "Content_Length: 99", "Content_Type: forged")["environ"]
    assert not {name for name in environ if name.startswith(("HTTP_X_REAL", "HTTP_PROXY", "HTTP_CONTENT"))}
    assert environ.get("CONTENT_LENGTH", "") in ("", "0")
    assert environ.get("CONTENT_TYPE", "") != "forged"
    both = tell(lab, "/tell/", "X_Real_User: admin", "X-Real-User: guest", "X_Real-User: admin")
    assert both["environ"]["HTTP_X_REAL_USER"] == "guest"


def test_what_the_environ_says_of_the_connection(lab: Server) -> None:
    """Address, port, protocol and scheme are those of the connection, whatever the headers claim."""
    environ = tell(lab, "/tell/", "Remote-Addr: 1.2.3.4", "Https: on")["environ"]
    assert environ["REMOTE_ADDR"] == "127.0.0.1"
    assert environ["SERVER_PORT"] == str(lab.port)
    assert environ["SERVER_NAME"]
    assert environ["SERVER_PROTOCOL"] == "HTTP/1.1"
    assert environ["wsgi.url_scheme"] == "http"
    assert environ["HTTP_HOST"] == "testserver"
    assert environ.get("HTTPS", "off") == "off"


# Bodies


@pytest.mark.smoke
@pytest.mark.parametrize("size", [0, 1, 70_000, 3 * MEGABYTE])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_uploads_arrive_complete(shop: Server, size: int, chunked: bool) -> None:
    """The view reads every byte of an upload, with a Content-Length or in chunks."""
    body = random.Random(size).randbytes(size)
    connection = http.client.HTTPConnection("127.0.0.1", shop.port, timeout=PATIENCE)
    headers = {"Content-Type": "application/x-thing"}
    pieces = (body[start : start + 50_001] for start in range(0, size, 50_001))
    if chunked:
        headers["Transfer-Encoding"] = "chunked"
    connection.request("POST", "/echo/", pieces if chunked else body, headers, encode_chunked=chunked)
    seen = json.loads(connection.getresponse().read())
    connection.close()
    assert seen == {
        "length": size,
        "sha256": hashlib.sha256(body).hexdigest(),
        "content_type": "application/x-thing",
    }


def test_chunked_upload_tells_its_length(lab: Server) -> None:
    """The environ of a chunked upload carries the true length, which Django needs to read it."""
    with wire(lab.port) as connection:
        connection.send(asking("/tell/", "Transfer-Encoding: chunked", "Content-Type: text/plain", method="POST"))
        connection.send(b"5\r\nhello\r\n6;name=value\r\n world\r\n0\r\nX-Trailer: 1\r\n\r\n")
        seen = connection.answer().json()
    assert seen["body"] == "hello world"
    assert seen["environ"]["CONTENT_LENGTH"] == "11"
    assert seen["environ"]["CONTENT_TYPE"] == "text/plain"


def test_expect_continue(lab: Server) -> None:
    """A client that asks first is told to go on, then answered."""
    with wire(lab.port) as connection:
        connection.send(asking("/tell/", "Expect: 100-continue", "Content-Length: 5", method="POST"))
        assert connection.head().status == 100
        connection.send(b"hello")
        assert connection.answer().json()["body"] == "hello"


@pytest.mark.smoke
def test_form_with_a_file(shop: Server) -> None:
    """A multipart form with its CSRF token uploads a cover, which is then shown and served from media."""
    picture = (EXAMPLE / "catalogue/static/catalogue/logo.png").read_bytes()
    connection = http.client.HTTPConnection("127.0.0.1", shop.port, timeout=PATIENCE)
    connection.request("GET", "/upload/1/")
    form = connection.getresponse()
    token = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', form.read().decode())[0]
    cookie = str(form.headers["Set-Cookie"]).split(";", maxsplit=1)[0]
    body = (
        f'--limit\r\nContent-Disposition: form-data; name="csrfmiddlewaretoken"\r\n\r\n{token}\r\n'
        '--limit\r\nContent-Disposition: form-data; name="cover"; filename="my cover.png"\r\n'
        "Content-Type: image/png\r\n\r\n"
    ).encode() + picture
    headers = {"Content-Type": "multipart/form-data; boundary=limit", "Cookie": cookie}

    connection.request("POST", "/upload/1/", body + b"\r\n--limit--\r\n", headers | {"Cookie": "csrftoken=wrong"})
    refused = connection.getresponse()
    refused.read()
    assert refused.status == 403

    connection.request("POST", "/upload/1/", body + b"\r\n--limit--\r\n", headers)
    accepted = connection.getresponse()
    accepted.read()
    connection.close()
    assert (accepted.status, accepted.headers["Location"]) == (302, "/books/1/")
    cover = re.findall(r'src="(/media/covers/[^"]+)"', shop.get("/books/1/").text)[0]
    assert shop.get(cover).body == picture


# Streams and failures


def test_stream_arrives_as_it_is_made(lab: Server) -> None:
    """The first chunk of a streaming view arrives before the last is produced."""
    with wire(lab.port) as connection:
        connection.send(asking("/gated/?gate=opened"))
        assert connection.head().headers["Transfer-Encoding"] == "chunked"
        assert connection.chunk() == b"first\n"
        (lab.cwd / "opened").touch()
        assert connection.chunk() == b"second\n"
        assert connection.chunk() == b""
        connection.send(asking("/produced/"))
        assert connection.answer().status == 200


def test_stream_of_the_example(shop: Server) -> None:
    """Every chunk of a stream arrives, in order."""
    assert shop.get("/stream/?chunks=500").text == "".join(f"chunk {number}\n" for number in range(500))


def test_view_that_raises(shop: Server) -> None:
    """A view that raises answers 500 on a connection that stays usable, and its traceback is logged."""
    with wire(shop.port) as connection:
        connection.send(asking("/boom/"))
        assert connection.answer().status == 500
        connection.send(asking("/count/"))
        assert connection.answer().status == 200
    wait_for(lambda: "RuntimeError: boom" in shop.output, "the traceback in the log")
    assert "Traceback" in shop.output


def test_stream_that_raises(lab: Server) -> None:
    """A stream that breaks off ends the connection without the terminating chunk, and its traceback is logged."""
    with wire(lab.port) as connection:
        connection.send(asking("/breaking/?gate=broken"))
        connection.head()
        assert connection.chunk() == b"first\n"
        (lab.cwd / "broken").touch()
        assert connection.rest() == b""
    wait_for(lambda: "RuntimeError: broke off" in lab.output, "the traceback in the log")
    assert lab.get("/produced/").status == 200


def test_stream_whose_client_goes_away(lab: Server) -> None:
    """The generator of an endless stream is closed when its client goes away."""
    with wire(lab.port) as connection:
        connection.send(asking("/endless/?marker=gone"))
        connection.head()
        assert connection.chunk() == b"tick\n"
        assert not (lab.cwd / "gone").exists()
    wait_for((lab.cwd / "gone").exists, "the generator to be closed")


def test_head_of_an_endless_stream(serve: Serve, project: Callable[..., Path]) -> None:
    """HEAD of an endless stream is answered, and the generator is closed; it does not keep the thread for ever."""
    server = serve("--threads", "1", cwd=project(VIEWS), settings="site_settings")
    assert server.get("/endless/?marker=head", method="HEAD", timeout=10).status == 200
    wait_for((server.cwd / "head").exists, "the generator to be closed")
    assert server.get("/produced/").status == 200


def stalled(server: Server) -> int:
    """Megabytes the huge stream has produced, once that has not changed for a second."""
    seen, since = -1, time.monotonic()

    def unchanged() -> bool:
        nonlocal seen, since
        if (produced := int(server.get("/produced/").body)) != seen:
            seen, since = produced, time.monotonic()
        return time.monotonic() - since > 1

    wait_for(unchanged, "the stream to stall")
    return seen


def test_client_that_stops_reading(lab: Server) -> None:
    """A client that stops reading a large stream costs no memory, and leaving it closes the generator."""
    with wire(lab.port) as warm:
        warm.send(asking("/huge/?megabytes=4&marker=warm"))
        assert len(warm.answer().body) == 4 * MEGABYTE
    before = resident(lab)
    with wire(lab.port, receive_buffer=65536) as connection:
        connection.send(asking("/huge/?megabytes=500&marker=stalled"))
        connection.head()
        produced = stalled(lab)
        assert produced < 60
        assert resident(lab) - before < 30 * MEGABYTE
        assert not (lab.cwd / "stalled").exists()
    wait_for((lab.cwd / "stalled").exists, "the generator to be closed")
    assert stalled(lab) <= produced + 1


def test_client_that_pauses(lab: Server) -> None:
    """A stream held up by a slow client goes on when the client reads again, and arrives whole."""
    with wire(lab.port, receive_buffer=65536) as connection:
        connection.send(asking("/huge/?megabytes=40&marker=paused"))
        reply = connection.head()
        assert stalled(lab) < 40
        body = b"".join(iter(connection.chunk, b""))
    assert reply.status == 200
    assert body == b"".join(bytes([number]) * MEGABYTE for number in range(40))


# Connections


def test_keep_alive(lab: Server) -> None:
    """Several requests, with and without a body, are answered over one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", lab.port, timeout=PATIENCE)
    connection.connect()
    opened = connection.sock
    for number in range(5):
        connection.request("POST" if number % 2 else "GET", f"/tell/{number}", b"body" if number % 2 else None)
        seen = json.loads(connection.getresponse().read())
        assert (seen["path"], seen["body"]) == (f"/tell/{number}", "body" if number % 2 else "")
        assert connection.sock is opened
    connection.close()


def test_pipelined_requests(lab: Server) -> None:
    """Requests sent without waiting are answered in their order, a slow one first."""
    with wire(lab.port) as connection:
        connection.send(
            asking("/company/")
            + asking("/tell/1")
            + asking("/tell/2", "Content-Length: 4", method="POST")
            + b"body"
            + asking("/tell/3", "Transfer-Encoding: chunked", method="POST")
            + b"3\r\nabc\r\n0\r\n\r\n"
            + asking("/tell/4", "Connection: close")
        )
        assert connection.answer().status == 200
        answers = [connection.answer() for _ in range(4)]
        assert [answer.json()["path"] for answer in answers] == [f"/tell/{number}" for number in range(1, 5)]
        assert [answer.json()["body"] for answer in answers] == ["", "body", "abc", ""]
        assert answers[-1].headers["Connection"] == "close"
        assert connection.file.read() == b""


@pytest.mark.parametrize("target", ["/produced/", "/huge/?megabytes=2&marker=old"])
def test_http_1_0_closes(lab: Server, target: str) -> None:
    """An HTTP/1.0 client gets an answer without chunks whose end is the end of the connection."""
    head, _, body = raw(lab.port, asking(target, version="1.0")).partition(b"\r\n\r\n")
    assert b" 200 OK\r\n" in head
    assert b"transfer-encoding" not in head.lower()
    assert len(body) == (2 * MEGABYTE if "huge" in target else len(body))
    assert body


def test_http_1_0_is_told_to_the_view(lab: Server) -> None:
    """SERVER_PROTOCOL is the version the client spoke."""
    answer = raw(lab.port, asking("/tell/", version="1.0"))
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["environ"]["SERVER_PROTOCOL"] == "HTTP/1.0"


def test_eight_threads_run_eight_requests(lab: Server) -> None:
    """With --threads 8, eight requests that wait for one another all finish."""
    replies = at_once(8, lambda: lab.get("/meet/"))
    assert [reply.status for reply in replies] == [200] * 8
    assert sorted(reply.text for reply in replies) == [str(number) for number in range(8)]


def test_one_thread_runs_one_request_and_host_limits_the_address(serve: Serve, project: Callable[..., Path]) -> None:
    """--threads 1 runs one request at a time, and --host 127.0.0.1 leaves the other addresses alone."""
    server = serve("--threads", "1", "--host", "127.0.0.1", cwd=project(VIEWS), settings="site_settings")
    assert [reply.text for reply in at_once(6, lambda: server.get("/company/"))] == ["1"] * 6
    for port in (server.port, server.probe_port):
        with pytest.raises(OSError, match=r"refused|assign|unreachable|not supported"):
            socket.create_connection(("::1", port), timeout=PATIENCE)


def test_both_families_are_served_by_default(lab: Server) -> None:
    """Without --host both IPv4 and IPv6, where there is one, are served; the client's address is told plainly."""
    for host in ("127.0.0.1", "::1") if has_ipv6() else ("127.0.0.1",):
        with wire(lab.port, host=host) as connection:
            connection.send(asking("/tell/"))
            assert connection.answer().json()["environ"]["REMOTE_ADDR"] == host
        with wire(lab.probe_port, host=host) as connection:
            connection.send(asking("/ready"))
            assert connection.answer().status == 200


# WSGI applications that are not Django


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("blocks", b"one two three"),
        ("generator", b"one two"),
        ("written", b"one two three"),
        ("unlengthed", b"hello"),
        ("lengthed", b"hello"),
    ],
)
def test_ways_to_answer(wsgi: Server, name: str, body: bytes) -> None:
    """A list, a generator and the write() callable all send their bytes, and leave the connection usable."""
    with wire(wsgi.port) as connection:
        for method in ("GET", "HEAD", "GET"):
            connection.send(asking(f"/{name}", method=method))
            answer = connection.answer(method)
            assert (answer.status, answer.body) == (200, b"" if method == "HEAD" else body)


def test_no_content(wsgi: Server) -> None:
    """An answer 204 has no body and no framing of one, and leaves the connection usable."""
    with wire(wsgi.port) as connection:
        for _ in range(2):
            connection.send(asking("/nothing"))
            answer = connection.answer()
            assert (answer.status, answer.headers["Transfer-Encoding"]) == (204, None)


def test_lengths_of_answers_without_content(wsgi: Server) -> None:
    """An application's Content-Length is left out of a 204; in a 304 it is that of the answer to a plain GET."""
    with wire(wsgi.port) as connection:
        for method in ("GET", "HEAD"):
            connection.send(asking("/nothing_of_length", method=method) + asking("/unchanged", method=method))
            nothing, unchanged = connection.answer(method), connection.answer(method)
            assert (nothing.status, nothing.headers["Content-Length"], nothing.headers["X-Name"]) == (204, None, "kept")
            assert (unchanged.status, unchanged.headers["Content-Length"]) == (304, "5")


def test_answer_without_a_length(wsgi: Server) -> None:
    """A generator without a Content-Length is sent in chunks that say where it ends."""
    answer = raw(wsgi.port, asking("/generator", "Connection: close"))
    assert b"transfer-encoding: chunked\r\n" in answer.lower()
    assert answer.endswith(LAST_CHUNK)


def test_start_response_with_exc_info(wsgi: Server) -> None:
    """An application may replace its headers with exc_info before they are sent; afterwards the answer is cut."""
    corrected = wsgi.get("/corrected")
    assert (corrected.status, corrected.headers["X-Corrected"], corrected.body) == (503, "yes", b"sorry")
    assert corrected.headers["Content-Type"] is None
    with wire(wsgi.port) as connection:
        connection.send(asking("/too_late"))
        late = connection.rest()
    assert b"never sent" not in late
    assert not late.endswith(LAST_CHUNK)
    wait_for(lambda: "RuntimeError: noticed too late" in wsgi.output, "the traceback in the log")


@pytest.mark.parametrize("name", ["twice", "never", "raises", "raises_later", "interim"])
def test_application_that_fails(wsgi: Server, name: str) -> None:
    """An application that fails or breaks the protocol before a byte is sent is answered 500 without details."""
    answer = wsgi.get(f"/{name}")
    assert answer.status == 500
    assert b"never sent" not in answer.body
    assert b"Traceback" not in answer.body
    assert b"raised" not in answer.body
    assert wsgi.get("/lengthed").body == b"hello"


def test_application_that_fails_is_logged(wsgi: Server) -> None:
    """What an application raises is in the log with its traceback."""
    assert wsgi.get("/raises").status == 500
    wait_for(lambda: "RuntimeError: raised at once" in wsgi.output, "the traceback in the log")
    assert re.search(r'File ".*raw_wsgi.py", line \d+, in raises\n', wsgi.output)


@pytest.mark.parametrize("name", ["missing_bytes", "missing_blocks"])
def test_body_shorter_than_its_length(wsgi: Server, name: str) -> None:
    """When fewer bytes come than Content-Length promised, the connection is cut and the client can tell."""
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        wsgi.get(f"/{name}", timeout=10)
    assert wsgi.get("/lengthed").body == b"hello"


@pytest.mark.parametrize("name", ["surplus_bytes", "surplus_blocks"])
def test_body_longer_than_its_length(wsgi: Server, name: str) -> None:
    """Bytes beyond the promised Content-Length are not sent, where a client would take them for the next answer."""
    answer = raw(wsgi.port, asking(f"/{name}") + asking("/lengthed", "Connection: close"))
    head, _, rest = answer.partition(b"\r\n\r\n")
    assert b"content-length: 5" in head.lower()
    assert rest == b"12345" or rest.startswith(b"12345HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("name", ["split_value", "split_name", "split_status"])
def test_header_with_a_line_break(wsgi: Server, name: str) -> None:
    """A line break in a header or status is refused with 500, and no second header comes of it."""
    answer = wsgi.get(f"/{name}")
    assert answer.status == 500
    assert answer.headers["Set-Cookie"] is None
    assert b"never sent" not in answer.body


def test_headers_of_the_answer(wsgi: Server) -> None:
    """Repeated headers stay apart, and Latin-1 values arrive as they were given."""
    answer = raw(wsgi.port, asking("/cookies", "Connection: close")).lower()
    assert b"\r\nset-cookie: a=1\r\n" in answer
    assert b"\r\nset-cookie: b=2\r\n" in answer
    assert b"\r\nx-name: caf\xe9\r\n" in answer


def test_iterable_is_closed(wsgi: Server) -> None:
    """The close() of an answer's iterable is called exactly once: after the body, after HEAD, after a failure."""
    closed = int(wsgi.get("/closed_count").body)
    assert wsgi.get("/closing").body == b"firstsecond"
    assert wsgi.get("/closing", method="HEAD").status == 200
    with wire(wsgi.port) as connection:
        connection.send(asking("/closing?broken"))
        assert not connection.rest().endswith(LAST_CHUNK)
    wait_for(lambda: int(wsgi.get("/closed_count").body) >= closed + 3, "three iterables to be closed")
    assert int(wsgi.get("/closed_count").body) == closed + 3


def test_input_ends_where_the_body_ends(wsgi: Server) -> None:
    """wsgi.input ends with the body instead of waiting for the next request's bytes."""
    assert wsgi.get("/read_all", method="POST", body=b"all of it").body == b"all of it|"
    assert wsgi.get("/read_all").body == b"|"
    assert wsgi.get("/read_lines", method="POST", body=b"one\ntwo\nthree").body == b"one\n|two\nthree|"


def test_wsgi_variables(wsgi: Server) -> None:
    """The application is told that it runs in one process with several threads."""
    assert wsgi.get("/told").text == "[(1, 0), 'http', True, False, False]"


def test_wsgi_errors(wsgi: Server) -> None:
    """What an application writes to wsgi.errors reaches the server's output."""
    assert wsgi.get("/complaint").body == b"complained"
    wait_for(lambda: "a complaint of the application" in wsgi.output, "the complaint in the log")


def test_wsgiref_validator_is_content(wsgi: Server) -> None:
    """The standard library's validator finds no fault with the server."""
    assert wsgi.get("/validated?a=1").body == b"valid"
    assert wsgi.get("/validated/", method="POST", body=b" body").body == b"valid body"
    with wire(wsgi.port) as connection:
        connection.send(asking("/validated", "Transfer-Encoding: chunked", method="POST") + b"1\r\n!\r\n" + LAST_CHUNK)
        assert connection.answer().body == b"valid!"
        connection.send(asking("/validated", method="HEAD"))
        assert connection.answer("HEAD").headers["Content-Length"] == "5"
    assert "wsgiref" not in wsgi.output
    assert "garbage collected without being closed" not in wsgi.output
