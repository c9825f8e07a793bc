"""Behind a real nginx: what it forwards is what the application sees, and what it refuses is refused here too.

Each request of a corpus, valid, ambiguous and malicious, goes once to nginx and once directly to the server, on
connections of their own, with a harmless marker after it on the same connection.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from tests.support.functional.harness import PATIENCE, Server, fetch, free_port, serving, wait_for, write_project

NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

QUICK = 20.0
"""Seconds within which either must have ended a connection, on a slow machine; their own timeouts are 1 s."""

VIEWS = """
import json
from django.http import HttpResponse, JsonResponse
from django.urls import re_path

seen = []


def record(request):
    path = request.META["PATH_INFO"]
    if path == "/seen":
        answer, seen[:] = list(seen), []
        return JsonResponse(answer, safe=False)
    seen.append([request.method, path, request.META["QUERY_STRING"], request.body.decode("latin-1")])
    return HttpResponse(b"recorded")


urlpatterns = [re_path("", record)]
"""

CONFIGURATION = """
{user}
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/error.log info;
events {{ worker_connections 256; }}
http {{
    log_format record escape=json '{{"method": "$request_method", "uri": "$request_uri", "status": $status, '
                                  '"upstream": "$upstream_status", "body": "$request_body"}}';
    access_log {directory}/access.log record;
    client_body_temp_path {directory}/client;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    client_header_timeout 1s;
    client_body_timeout 1s;
    keepalive_timeout 2s;
    upstream application {{
        server 127.0.0.1:{backend};
        keepalive 1;
    }}
    server {{
        listen 127.0.0.1:{port};
        server_name nginx.example;
        location / {{
            proxy_pass http://application;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
        }}
    }}
}}
"""

MARKER = b"GET /marker HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
HIDDEN = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"0\r\n\r\n"


def line(start: bytes) -> bytes:
    """A request without a body, from its request line."""
    return start + b"\r\nHost: x\r\n\r\n"


def field(text: bytes) -> bytes:
    """A request with one more header line."""
    return b"GET /case HTTP/1.1\r\nHost: x\r\n" + text + b"\r\n\r\n"


def post(fields: bytes, body: bytes = b"") -> bytes:
    """A request with these framing fields, separated by CRLF, and this body."""
    return b"POST /case HTTP/1.1\r\nHost: x\r\n" + fields + b"\r\n\r\n" + body


def chunked(body: bytes) -> bytes:
    """A request with a chunked body, as it is on the wire."""
    return post(b"Transfer-Encoding: chunked", body)


VALID = {
    "plain": line(b"GET /case?a=b HTTP/1.1"),
    "escaped path": line(b"GET /c%61se%2f..%2Fb HTTP/1.1"),
    "dots and slashes": line(b"GET /a/../b//c/./d HTTP/1.1"),
    "length": post(b"Content-Length: 5", b"hello"),
    "length 0": post(b"Content-Length: 0"),
    "length that holds a request": post(b"Content-Length: %d" % len(HIDDEN), HIDDEN),
    "chunked": chunked(b"5\r\nhello\r\n" + LAST),
    "chunks that hold a request": chunked(b"%x\r\n%b\r\n" % (len(HIDDEN), HIDDEN) + LAST),
    "Chunked in capitals": post(b"transfer-encoding: CHUNKED", b"5\r\nhello\r\n" + LAST),
    "chunk extensions": chunked(b'5;a=b;c="d e"\r\nhello\r\n' + LAST),
    "trailers": chunked(b"5\r\nhello\r\n0\r\nX-A: b\r\n\r\n"),
    "leading zeros": chunked(b"0005\r\nhello\r\n000\r\n\r\n"),
    "get with a body": b"GET /case HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
    "expect": post(b"Expect: 100-continue\r\nContent-Length: 5", b"hello"),
    "upgrade": post(b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 5", b"hello"),
    "pipelined": post(b"Content-Length: 5", b"hello") + chunked(b"1\r\na\r\n" + LAST) + line(b"PUT /case HTTP/1.1"),
    "absolute-form": line(b"GET http://x/case HTTP/1.1"),
    "obs-text": field(b"X-A: \xe4\xff"),
    "HTTP/1.0": line(b"GET /case HTTP/1.0"),
    "HTTP/1.0 kept alive": b"GET /case HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n",
}

HOSTILE = {
    "CL.TE": post(b"Content-Length: 5\r\nTransfer-Encoding: chunked", LAST + HIDDEN),
    "TE.CL": post(b"Transfer-Encoding: chunked\r\nContent-Length: 4", b"%x\r\n%b\r\n" % (len(HIDDEN), HIDDEN) + LAST),
    "CL.0": post(b"Content-Length: 0\r\nContent-Length: %d" % len(HIDDEN), HIDDEN),
    "TE.TE identity": post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", LAST + HIDDEN),
    "TE.TE cow": post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\nContent-Length: 5", LAST + HIDDEN),
    "TE gzip, chunked": post(b"Transfer-Encoding: gzip, chunked", LAST + HIDDEN),
    "TE xchunked": post(b"Transfer-Encoding: xchunked\r\nContent-Length: 5", LAST + HIDDEN),
    "TE space before colon": post(b"Transfer-Encoding : chunked\r\nContent-Length: 5", LAST + HIDDEN),
    "TE after tab": post(b"Transfer-Encoding:\tchunked\r\nContent-Length: 5", LAST + HIDDEN),
    "TE with vertical tab": post(b"Transfer-Encoding: \x0bchunked\r\nContent-Length: 5", LAST + HIDDEN),
    "TE underscore": post(b"Transfer_Encoding: chunked\r\nContent-Length: 5", LAST) + line(b"GET /next HTTP/1.1"),
    "TE folded": post(b"Transfer-Encoding:\r\n chunked\r\nContent-Length: 5", LAST + HIDDEN),
    "TE behind a bare LF": post(b"X-A: b\nTransfer-Encoding: chunked\r\nContent-Length: 5", LAST + HIDDEN),
    "TE behind a bare CR": post(b"X-A: b\rTransfer-Encoding: chunked\r\nContent-Length: 5", LAST + HIDDEN),
    "TE in HTTP/1.0": b"POST /case HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + LAST + HIDDEN,
    "obs-fold": field(b"X-A: b\r\n c"),
    "bare LF": b"GET /case HTTP/1.1\nHost: x\n\n",
    "duplicate equal CL": post(b"Content-Length: 5\r\nContent-Length: 5", b"hello"),
    "CL list": post(b"Content-Length: 5, 5", b"hello"),
    "CL plus": post(b"Content-Length: +5", b"hello"),
    "CL minus": post(b"Content-Length: -5", b"hello"),
    "CL above 64 bits": post(b"Content-Length: 18446744073709551621", b"hello"),
    "CL underscore": post(b"Content_Length: 32") + line(b"GET /next HTTP/1.1"),
    "CL space before colon": post(b"Content-Length : 5", b"hello"),
    "chunk size 0x": chunked(b"0x5\r\nhello\r\n" + LAST),
    "chunk size above 64 bits": chunked(b"10000000000000005\r\nhello\r\n" + LAST),
    "chunk size with space": chunked(b"5 \r\nhello\r\n" + LAST),
    "chunk ended by LF": chunked(b"5\nhello\n0\n\n"),
    "chunk extension with LF": chunked(b"2;\nxx\r\n%x\r\n%b\r\n" % (len(HIDDEN), HIDDEN) + LAST),
    "chunk extension with CR": chunked(b"5;a\rb\r\nhello\r\n" + LAST),
    "chunk longer than its size": chunked(b"5\r\nhello!!\r\n" + LAST),
    "chunk without an end": chunked(b"5\r\nhelloXX" + LAST),
    "trailer of framing": chunked(b"0\r\nContent-Length: 44\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "absolute-form with another Host": line(b"GET http://other.example/case HTTP/1.1"),
    "double Host": field(b"Host: y"),
    "no Host": b"GET /case HTTP/1.1\r\n\r\n",
    "Host with a path": b"GET /case HTTP/1.1\r\nHost: x/y\r\n\r\n",
    "Host with user": b"GET /case HTTP/1.1\r\nHost: u@x\r\n\r\n",
    "space before colon": field(b"X-A : b"),
    "space before the first field": b"GET /case HTTP/1.1\r\n Host: x\r\n\r\n",
    "NUL in a value": field(b"X-A: b\0c"),
    "NUL in a name": field(b"X\0A: b"),
    "NUL in the target": line(b"GET /ca\0se HTTP/1.1"),
    "%00 in the target": line(b"GET /ca%00se HTTP/1.1"),
    "bad escape": line(b"GET /ca%zzse HTTP/1.1"),
    "above the root": line(b"GET /../../case HTTP/1.1"),
    "control character in a value": field(b"X-A: b\x01c"),
    "space in the target": line(b"GET /ca se HTTP/1.1"),
    "fragment": line(b"GET /case#part HTTP/1.1"),
    "no version": b"GET /case\r\n",
    "HTTP/1.9": line(b"GET /case HTTP/1.9"),
    "HTTP/2.0": line(b"GET /case HTTP/2.0"),
    "CONNECT": line(b"CONNECT x:80 HTTP/1.1"),
    "TRACE": line(b"TRACE /case HTTP/1.1"),
    "lower-case method": line(b"get /case HTTP/1.1"),
    "no colon": field(b"nocolon"),
}

CORPUS = VALID | HOSTILE

MORE_LENIENT = {
    "%00 in the target": "RFC 3986 allows it in a path; WSGI passes it on decoded, and views judge it",
    "bad escape": "what does not decode is passed on as it is, as other WSGI servers do",
    "above the root": "a server that maps no path to files has no need to resolve dots",
}
"""Cases that nginx answers 400 and the server may answer 2xx, each with the reason why that is right."""


@dataclass
class Outcome:
    """What became of a request: the statuses that came back, nginx's log of it, the application's record."""

    received: bytes
    log: list[dict[str, Any]]
    seen: list[list[str]]
    after: int = 0
    """The status of a request by another client, over the connections that nginx keeps to the server."""

    @property
    def statuses(self) -> list[int]:
        statuses = [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3}) ", self.received)]
        return [status for status in statuses if status != 100]


def exchange(port: int, data: bytes) -> bytes:
    """What comes back for these bytes until the connection is closed."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=QUICK) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(data)
        with suppress(ConnectionResetError):
            while piece := connection.recv(65536):
                received += piece
    return received


class Proxy:
    """A running nginx and the lines of its access log that nobody has read yet."""

    def __init__(self, directory: Path, port: int) -> None:
        self.log = directory / "access.log"
        self.port = port
        self._read = 0
        self._asked = 0

    def get(self, path: str) -> int:
        return fetch(self.port, path).status

    def lines(self) -> list[dict[str, Any]]:
        """The new lines, complete up to a request of our own, which is left out."""
        self._asked += 1
        end = f"/log-{self._asked}"
        self.get(end)
        wait_for(lambda: f'"{end}"' in self.log.read_text(), "nginx's log")
        lines = [json.loads(each) for each in self.log.read_text().splitlines()]
        new, self._read = lines[self._read :], len(lines)
        return [each for each in new if each["uri"] != end]


@contextmanager
def proxying(directory: Path, backend: int) -> Iterator[Proxy]:
    """An nginx in front of a server, for as long as the block runs; ended by its process id."""
    assert NGINX is not None, "nginx is not installed"
    port = free_port()
    configuration = directory / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""
    configuration.write_text(CONFIGURATION.format(user=user, directory=directory, backend=backend, port=port))
    errors = directory / "error.log"
    words = [NGINX, "-p", str(directory), "-c", str(configuration), "-e", str(errors), "-g", "daemon off;"]
    with (directory / "output").open("wb") as output:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=output, stderr=output)

    def listens() -> bool:
        assert process.poll() is None, (directory / "output").read_text()
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=PATIENCE):
            return True
        return False

    try:
        wait_for(listens, "nginx to listen")
        yield Proxy(directory, port)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def seen(server: Server) -> list[list[str]]:
    """What the application has recorded since it was last asked, without what this test asked for itself."""
    records: list[list[str]] = server.get("/seen").json()
    return [record for record in records if not re.match(r"/(log|after)-?\d*$", record[1])]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Outcome, Outcome]]:
    """What became of each request of the corpus through nginx, and directly."""
    directory = tmp_path_factory.mktemp("nginx")
    project = write_project(directory / "project", VIEWS)
    options = ["--threads", "1", "--header-timeout", "1", "--body-timeout", "1", "--keep-alive-timeout", "30"]
    results = {}
    with (
        serving(*options, cwd=project, logs=directory, settings="site_settings") as server,
        proxying(directory, server.port) as nginx,
    ):
        nginx.lines()
        seen(server)
        for name, data in CORPUS.items():
            received = exchange(nginx.port, data + MARKER)
            after = nginx.get("/after")
            log = [each for each in nginx.lines() if each["uri"] != "/after"]
            forwarded = Outcome(received, log, seen(server), after)
            results[name] = forwarded, Outcome(exchange(server.port, data + MARKER), [], seen(server))
    return results


Outcomes = dict[str, tuple[Outcome, Outcome]]


@pytest.mark.parametrize("name", CORPUS)
def test_the_application_sees_what_nginx_forwarded(outcomes: Outcomes, name: str) -> None:
    """Each request that nginx forwarded with success is seen, with its path and body, and nothing else is."""
    forwarded, _ = outcomes[name]
    expected = []
    for entry in forwarded.log:
        assert entry["upstream"] in ("", "-") or re.fullmatch(r"\d{3}", entry["upstream"]), f"tried twice: {entry}"
        if entry["upstream"] == "200":
            path, _, query = entry["uri"].partition("?")
            expected.append([entry["method"], unquote(path), query, entry["body"]])
    assert forwarded.seen == expected, forwarded
    assert not any(path == "/smuggled" for _, path, _, _ in forwarded.seen), forwarded


@pytest.mark.parametrize("name", CORPUS)
def test_the_next_client_of_nginx_is_not_disturbed(outcomes: Outcomes, name: str) -> None:
    """The connections that nginx keeps to the server stay in step: another client's request gets its own answer."""
    forwarded, _ = outcomes[name]
    assert forwarded.after == 200, forwarded
    assert not {502, 504} & set(forwarded.statuses), forwarded


@pytest.mark.parametrize("name", CORPUS)
def test_what_nginx_refuses_is_refused_directly(outcomes: Outcomes, name: str) -> None:
    """A request that nginx answers 400 gets no 2xx here either."""
    forwarded, direct = outcomes[name]
    if forwarded.statuses[:1] == [400] and name not in MORE_LENIENT:
        assert not any(200 <= status < 300 for status in direct.statuses[:1]), direct


@pytest.mark.parametrize("name", CORPUS)
def test_directly_each_success_is_one_request(outcomes: Outcomes, name: str) -> None:
    """Without nginx, the application sees as many requests as are answered 200, and none after a refusal."""
    _, direct = outcomes[name]
    assert direct.statuses, "no answer"
    assert direct.statuses.count(200) == len(direct.seen), direct
    assert all(status == 200 for status in direct.statuses[:-1]), direct


@pytest.mark.parametrize("name", VALID)
def test_valid_requests_are_served_both_ways(outcomes: Outcomes, name: str) -> None:
    """A valid request is answered 200 through nginx and directly, and the application sees the same of it."""
    forwarded, direct = outcomes[name]
    assert set(forwarded.statuses) == set(direct.statuses) == {200}, (forwarded, direct)
    assert forwarded.seen[0] == direct.seen[0]
