"""Clients that send or read slowly, or not at all, cost little and hold nobody up."""

from __future__ import annotations

import hashlib
import os
import resource
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.functional.harness import PATIENCE, Serve, Server, fetch, free_port, wait_for
from tests.support.functional.processes import descriptors, resident

VIEWS = """
import hashlib
from django.http import FileResponse, HttpResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

def hello(request):
    return HttpResponse("hello")

def page(request):
    return HttpResponse(b"x" * 1_000_000)

def file(request):
    return FileResponse(open(request.GET["name"], "rb"))

@csrf_exempt
def digest(request):
    found = hashlib.sha256()
    while block := request.read(65536):
        found.update(block)
    return HttpResponse(found.hexdigest())

def stream(request):
    return StreamingHttpResponse(b"x" * 65536 for _ in range(1000))

urlpatterns = [path(f"{view.__name__}/", view) for view in (hello, page, file, stream, digest)]
"""


def connect(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE)


def test_a_pipeline_that_nobody_reads_costs_little(serve: Serve, project: Callable[..., Path]) -> None:
    """Once its answers fill the connection, no further request of a client is begun or read."""
    server = serve(cwd=project(VIEWS), settings="site_settings")
    assert server.get("/page/").status == 200
    before = resident(server)
    with connect(server) as client:
        client.sendall(b"GET /page/ HTTP/1.1\r\nHost: x\r\n\r\n" * 400)
        answered = 'twistserve_http_requests_total{handler="django",method="GET",status="200"} '

        def count() -> float:
            return float(server.probe("/metrics").text.partition(answered)[2].split()[0])

        seen = [count()]
        wait_for(lambda: seen.append(count()) or (len(seen) > 20 and seen[-1] == seen[-20]), "the answers to stop")  # type: ignore[func-returns-value]
        assert seen[-1] < 50
        grown = resident(server) - before
        assert grown < 40 << 20, f"{grown} bytes"
    assert server.get("/hello/").text == "hello"


def test_a_thousand_half_sent_requests_hold_nobody_up(serve: Serve, project: Callable[..., Path]) -> None:
    """A complete request is answered among them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    server = serve(cwd=project(VIEWS), settings="site_settings")
    clients = [connect(server) for _ in range(1000)]
    try:
        for client in clients:
            client.sendall(b"POST /digest/ HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf")
        for _ in range(20):
            assert server.get("/hello/", timeout=5).text == "hello"
    finally:
        for client in clients:
            client.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_an_upload_occupies_no_thread(serve: Serve, project: Callable[..., Path]) -> None:
    """With one thread, others are answered while a body trickles in, which then arrives whole."""
    server = serve("--threads", "1", cwd=project(VIEWS), settings="site_settings")
    with connect(server) as client:
        client.sendall(b"POST /digest/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 10\r\n\r\n")
        for byte in b"0123456789":
            assert server.get("/hello/").text == "hello"
            client.sendall(bytes((byte,)))
        received = b"".join(iter(lambda: client.recv(65536), b""))
    assert hashlib.sha256(b"0123456789").hexdigest().encode() in received


def test_a_large_body_goes_to_a_file(serve: Serve, project: Callable[..., Path], tmp_path: Path) -> None:
    """Where the temporary directory is gone, large bodies are refused, small ones served, and all when it is back."""
    spool = tmp_path / "spool"
    spool.mkdir()
    server = serve(cwd=project(VIEWS), settings="site_settings", env={"TMPDIR": str(spool)})
    body = os.urandom(3 << 20)
    digest = hashlib.sha256(body).hexdigest()
    assert server.get("/digest/", method="POST", body=body).text == digest
    shutil.rmtree(spool)
    with connect(server) as client:
        client.sendall(b"POST /digest/ HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body))
        client.sendall(body[: 2 << 20])
        assert client.recv(65536).startswith((b"HTTP/1.1 500", b"HTTP/1.1 507"))
    assert server.get("/digest/", method="POST", body=b"x").status == 200
    assert "could not be stored" in server.stdout
    spool.mkdir()
    assert server.get("/digest/", method="POST", body=body).text == digest


def test_a_file_needs_no_thread_and_leaves_no_descriptor(
    serve: Serve, project: Callable[..., Path], tmp_path: Path
) -> None:
    """A FileResponse arrives whole, also slowly; a client that leaves in the middle leaves nothing open."""
    server = serve("--threads", "1", cwd=project(VIEWS), settings="site_settings")
    path = tmp_path / "large.bin"
    content = os.urandom(30 << 20)
    path.write_bytes(content)
    url = f"/file/?name={path}"
    before = descriptors(server)
    with connect(server) as client:
        client.sendall(f"GET {url} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert client.recv(1000)
        assert server.get("/hello/").text == "hello", "the thread is free while the file is sent"
        assert hashlib.sha256(fetch(server.port, url).body).digest() == hashlib.sha256(content).digest()
    wait_for(lambda: descriptors(server) <= before, "the file and the connections to be closed")


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("tcp", "/page/?"),
        ("unix", "/page/?"),
        ("haproxy", "/page/?"),
        ("tcp", "/stream/?"),
        ("tcp", "/file/?name={file}"),
        ("unix", "/file/?name={file}"),
    ],
)
def test_who_reads_slowly_gets_all(
    serve: Serve, project: Callable[..., Path], tmp_path: Path, kind: str, path: str
) -> None:
    """An answer may take many times --keep-alive-timeout, as long as its client reads, whatever lies between."""
    port, unix, file = free_port(), tmp_path / "socket", tmp_path / "file"
    file.write_bytes(bytes(1_000_000))
    endpoint = {
        "tcp": f"tcp:{port}:interface=127.0.0.1",
        "unix": f"unix:{unix}",
        "haproxy": f"haproxy:tcp:{port}:interface=127.0.0.1",
    }[kind]
    options = ("--keep-alive-timeout", "1", "--endpoint", endpoint, "--probe-port", str(free_port()))
    serve(*options, cwd=project(VIEWS), settings="site_settings")
    with socket.socket(socket.AF_UNIX if kind == "unix" else socket.AF_INET) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(PATIENCE)
        client.connect(str(unix) if kind == "unix" else ("127.0.0.1", port))
        if kind == "haproxy":
            client.sendall(b"PROXY TCP4 192.0.2.1 192.0.2.2 1234 80\r\n")
        client.sendall(f"GET {path.format(file=file)} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        received = 0
        end = time.monotonic() + 3.5
        while data := client.recv(4096 if time.monotonic() < end else 1 << 20):
            received += len(data)
            time.sleep(0.05 if time.monotonic() < end else 0)
    assert received > (60_000_000 if "stream" in path else 1_000_000)


def test_who_stops_reading_a_stream_holds_no_thread_for_long(serve: Serve, project: Callable[..., Path]) -> None:
    """After --keep-alive-timeout without a byte taken the client has left, and others are answered."""
    server = serve("--threads", "2", "--keep-alive-timeout", "1", cwd=project(VIEWS), settings="site_settings")
    clients = [connect(server) for _ in range(2)]
    for client in clients:
        client.sendall(b"GET /stream/ HTTP/1.1\r\nHost: x\r\n\r\n")
    wait_for(lambda: "twistserve_threads_busy 2.0" in server.probe("/metrics").text, "both threads to be busy")
    assert server.get("/hello/").text == "hello"
    wait_for(
        lambda: "twistserve_http_client_disconnects_total 2.0" in server.probe("/metrics").text, "the clients' end"
    )
    for client in clients:
        client.close()


def test_a_download_that_is_cancelled_is_no_error(serve: Serve, project: Callable[..., Path], tmp_path: Path) -> None:
    """It is counted as a client that left, not as a request that failed."""
    server = serve(cwd=project(VIEWS), settings="site_settings")
    file = tmp_path / "file"
    file.write_bytes(bytes(30 << 20))
    for _ in range(3):
        with connect(server) as client:
            client.sendall(f"GET /file/?name={file} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert client.recv(1000)
    wait_for(
        lambda: "twistserve_http_client_disconnects_total 3.0" in server.probe("/metrics").text, "the clients' end"
    )
    assert 'status="500"' not in server.probe("/metrics").text
    assert server.stdout.count(" 499 ") == 3
