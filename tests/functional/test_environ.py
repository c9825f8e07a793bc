"""The keys of an environ that docs/environ.md lists are those of real requests, and have the values that it tells."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.documents.tables import codes, rows
from tests.support.functional.harness import PATIENCE, Serve, raw, serving, write_project
from tests.support.functional.http2 import Secure, start

ALWAYS = {key for row in rows("environ.md", "## Keys of a request") for key in codes(row["key"])}
FIELDS = rows("environ.md", "### Fields of the header")

TELLER = """
import json

def application(environ, start_response):
    text = json.dumps({
        "keys": list(environ),
        "values": {key: value for key, value in environ.items() if isinstance(value, (str, bool, tuple))},
        "body": environ["wsgi.input"].read().decode(),
        "deadline": environ["twistserve.deadline"].remaining(),
    })
    start_response("200 OK", [("Content-Type", "application/json")])
    return [text.encode()]
"""


def make_site(directory: Path) -> Path:
    return write_project(directory, told=TELLER)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Secure, Path]]:
    """A server on TCP, TLS and a Unix socket, which trusts the peers of the latter two's addresses."""
    directory = tmp_path_factory.mktemp("environ")
    project, path = make_site(directory / "project"), directory / "web.sock"
    servers: list[Any] = []

    def begin(*words: str, **keywords: Any) -> Any:
        servers.append(serving(*words, cwd=project, logs=directory, **keywords))
        return servers[0].__enter__()

    options = ("--wsgi", "told.application", "--endpoint", f"unix:{path}", "--forwarded-allow-ips", "unix")
    try:
        yield start(begin, directory, *options), path
    finally:
        servers[0].__exit__(None, None, None)


def told(response: bytes) -> Any:
    head, _, body = response.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), response
    return json.loads(body)


def over_unix(path: Path, request: bytes) -> Any:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        client.connect(str(path))
        client.sendall(request)
        return told(b"".join(iter(lambda: client.recv(65536), b"")))


def test_the_keys_of_a_request(site: tuple[Secure, Path]) -> None:
    """All that are listed, and no other."""
    environ = told(
        raw(site[0].server.port, b"GET /%C3%A4/../b?c=%20 HTTP/1.1\r\nHost: x:1\r\nConnection: close\r\n\r\n")
    )
    assert set(environ["keys"]) == ALWAYS | {"HTTP_CONNECTION"}
    values = environ["values"]
    assert values["PATH_INFO"] == "/ä/../b".encode().decode("latin-1")
    assert values["QUERY_STRING"] == "c=%20"
    assert values["REQUEST_URI"] == values["RAW_URI"] == "/%C3%A4/../b?c=%20"
    assert values["SCRIPT_NAME"] == values["CONTENT_LENGTH"] == ""
    assert (values["SERVER_NAME"], values["SERVER_PORT"]) == ("127.0.0.1", str(site[0].server.port))
    assert values["REMOTE_ADDR"] == values["twistserve.peer"] == "127.0.0.1"
    assert values["REMOTE_PORT"].isdigit()
    assert (values["SERVER_PROTOCOL"], values["HTTP_HOST"]) == ("HTTP/1.1", "x:1")
    assert re.fullmatch("[0-9a-f]{24}", values["HTTP_X_REQUEST_ID"])
    assert [values[f"wsgi.{key}"] for key in ("multithread", "multiprocess", "run_once")] == [True, False, False]
    assert (values["wsgi.version"], values["wsgi.url_scheme"]) == ([1, 0], "http")
    assert values["wsgi.input_terminated"] is True
    assert environ["deadline"] == float("inf")


def test_the_keys_of_http2_are_the_same(site: tuple[Secure, Path]) -> None:
    """But for the protocol; so is the host."""
    with site[0].connect() as client:
        environ = client.get("/", ("content-type", "text/plain"), method="POST", body=b"hello").json()
    assert set(environ["keys"]) == ALWAYS | {"CONTENT_TYPE"}
    values = environ["values"]
    assert (values["SERVER_PROTOCOL"], values["wsgi.url_scheme"]) == ("HTTP/2.0", "https")
    assert (values["CONTENT_LENGTH"], environ["body"]) == ("5", "hello")
    assert values["HTTP_HOST"]


def test_what_stays_out_and_what_is_joined(site: tuple[Secure, Path]) -> None:
    """Fields that must not arrive, those of a peer that is no proxy, and fields that are sent twice."""
    request = (
        b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nContent-Type: text/plain\r\n"
        b"Proxy: evil\r\nX_Forwarded_For: 1.2.3.4\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\n"
        b"X-Forwarded-Host: y\r\nX-Forwarded-Port: 1\r\nX-Request-ID: mine\r\nForwarded: for=1.2.3.4\r\n"
        b"Cookie: a=1\r\nCookie: b=2\r\nX-A: 1\r\nX-A: 2\r\n\r\n5\r\nhello\r\n0\r\nX-Trailer: 1\r\n\r\n"
    )
    environ = told(raw(site[0].server.port, request))
    sent = {"HTTP_CONNECTION", "HTTP_COOKIE", "HTTP_X_A", "HTTP_FORWARDED", "CONTENT_TYPE"}
    assert set(environ["keys"]) == ALWAYS | sent
    values = environ["values"]
    assert (values["HTTP_COOKIE"], values["HTTP_X_A"]) == ("a=1; b=2", "1,2")
    assert (values["CONTENT_LENGTH"], environ["body"]) == ("5", "hello")
    assert (values["REMOTE_ADDR"], values["wsgi.url_scheme"]) == ("127.0.0.1", "http")
    assert values["HTTP_X_REQUEST_ID"] != "mine"
    named = {name for row in FIELDS for name in codes(row["field"])}
    assert {"Proxy", "X-Forwarded-For", "X-Request-ID", "Forwarded", "Transfer-Encoding"} <= named


def test_a_proxy_at_a_unix_socket(site: tuple[Secure, Path]) -> None:
    """What it says counts; without a word, a Unix socket has no addresses."""
    environ = over_unix(site[1], b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert set(environ["keys"]) == ALWAYS | {"HTTP_CONNECTION"}
    values = environ["values"]
    assert (values["REMOTE_ADDR"], values["REMOTE_PORT"], values["twistserve.peer"]) == ("", "", "unix")
    assert (values["SERVER_NAME"], values["SERVER_PORT"]) == ("localhost", "0")
    forwarded = b"X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\nX-Request-ID: a:b/c\r\n"
    values = over_unix(site[1], b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + forwarded + b"\r\n")["values"]
    assert (values["REMOTE_ADDR"], values["REMOTE_PORT"], values["twistserve.peer"]) == ("192.0.2.1", "", "unix")
    assert (values["wsgi.url_scheme"], values["HTTP_X_REQUEST_ID"]) == ("https", "a:b/c")


def test_control_characters(site: tuple[Secure, Path]) -> None:
    """A path may hold them, encoded by a client; nothing else does."""
    environ = told(raw(site[0].server.port, b"GET /a%0d%0ab?%0d HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
    hold = [
        key
        for key, value in environ["values"].items()
        if isinstance(value, str) and re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value)
    ]
    assert hold == ["PATH_INFO"]
    for line in (b"GET / HTTP/1.1\r\nX-A: a%bb", b"GET /?a%bb HTTP/1.1"):
        for character in (b"\0", b"\x01", b"\x7f"):
            request = line % character + b"\r\nHost: x\r\nConnection: close\r\n\r\n"
            assert raw(site[0].server.port, request).startswith(b"HTTP/1.1 400 ")


def test_one_of_several_processes(serve: Serve, tmp_path: Path) -> None:
    """It says so, and has the same keys."""
    directory = make_site(tmp_path / "project")
    server = serve("--workers", "2", "--wsgi", "told.application", cwd=directory, settings="site_settings")
    environ = told(raw(server.port, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
    assert set(environ["keys"]) == ALWAYS | {"HTTP_CONNECTION"}
    assert environ["values"]["wsgi.multiprocess"] is True
