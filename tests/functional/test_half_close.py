"""Clients that end their sending side, as HTTP tools and load balancers do after a request, and clients that left."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.functional.draining import HELLO, VIEWS, Client, hold
from tests.support.functional.harness import PATIENCE, Serve, Server, free_port, release, wait_for

POST = b"POST /digest/ HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody"


@pytest.fixture
def launch(serve: Serve, project: Callable[..., Path]) -> Callable[..., Server]:
    directory = project(views=VIEWS)
    return lambda *args: serve(*args, cwd=directory, settings="site_settings")


def half_closed(address: Path | int, data: bytes) -> bytes:
    """Send requests to a Unix socket or a port, and the end of what is sent; all that comes back."""
    is_port = isinstance(address, int)
    with socket.socket(socket.AF_INET if is_port else socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(("127.0.0.1", address) if is_port else str(address))
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while block := connection.recv(65536):
            received += block
        return received


def test_all_that_was_asked_for_is_responded_to(launch: Callable[..., Server], tmp_path: Path) -> None:
    """By Django, on a TCP port, a Unix socket, and behind a proxy that speaks the PROXY protocol; pipelines too."""
    path, plain, proxied = tmp_path / "socket", free_port(), free_port()
    launch("--endpoint", f"tcp:{plain}", "--endpoint", f"unix:{path}", "--endpoint", f"haproxy:tcp:{proxied}")
    told = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"
    for address, before in ((plain, b""), (path, b""), (proxied, told)):
        received = half_closed(address, before + HELLO + POST + HELLO)
        assert received.count(b"HTTP/1.1 200 OK\r\n") == 3
        assert received.count(b"\r\nConnection: close\r\n") == 1
        assert received.endswith(b"\r\n5\r\nhello\r\n0\r\n\r\n")


def test_a_view_that_takes_its_time(launch: Callable[..., Server]) -> None:
    """It is not hurried, for the client waits; a stream goes on to its end."""
    server = launch()
    clients = {"page": hold(server, "page"), "stream": hold(server, "stream", "/stream/")}
    for client in clients.values():
        client.socket.shutdown(socket.SHUT_WR)
    time.sleep(0.2)
    release(server)
    assert clients["page"].outcome() == "200 held close, end"
    assert clients["stream"].outcome().startswith("200 ")
    assert "499" not in server.stdout


def test_a_request_that_waits_while_its_client_may_have_left(launch: Callable[..., Server]) -> None:
    """It is dropped after five seconds; one whose connection is reset is dropped at once."""
    server = launch("--threads", "1")
    running = hold(server, "running")
    waiting, reset = (Client(server, HELLO.replace(b"/hello/", b"/hello/?%b" % name)) for name in (b"fin", b"reset"))
    for client in (waiting, reset):
        wait_for(client.is_read, "the request to be read")
    began = time.monotonic()
    waiting.socket.shutdown(socket.SHUT_WR)
    reset.resets()
    wait_for(lambda: '?reset HTTP/1.1" 499' in server.stdout, "the reset to be noticed")
    assert time.monotonic() - began < 5
    assert "?fin" not in server.stdout
    wait_for(lambda: '?fin HTTP/1.1" 499' in server.stdout, "the request to be dropped")
    assert time.monotonic() - began > 4
    release(server)
    assert running.answer().text == "held"
    assert "twistserve_http_client_disconnects_total 2.0" in server.probe("/metrics").text
