"""Servers that drain: their views, and the clients that they have then."""

from __future__ import annotations

import http.client
import re
import socket
import struct
import threading
import time
from contextlib import suppress
from pathlib import Path

from tests.support.functional.harness import PATIENCE, Reply, Server, wait_for

VIEWS = """
import hashlib, time
from pathlib import Path
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
HERE = Path(__file__).resolve().parent

def stand_at_the_gate(request):
    (HERE / f"entered-{request.GET['name']}").touch()
    while not (HERE / "go").exists():
        time.sleep(0.02)

def hello(request):
    return HttpResponse("hello")

def hold(request):
    stand_at_the_gate(request)
    return HttpResponse("held" * int(request.GET.get("times", 1)))

def stream(request):
    def blocks():
        yield b"begin "
        stand_at_the_gate(request)
        yield b"end"
    return StreamingHttpResponse(blocks())

def endless(request):
    def blocks():
        try:
            while True:
                yield b"again and again " * 100
                time.sleep(0.01)
        finally:
            (HERE / "closed").touch()
    return StreamingHttpResponse(blocks())

def large(request):
    return StreamingHttpResponse(b"0123456789abcdef" * 4096 for _ in range(640))

@csrf_exempt
def digest(request):
    return HttpResponse(hashlib.sha256(request.read()).hexdigest())

urlpatterns = [
    path("hello/", hello), path("hold/", hold), path("stream/", stream), path("endless/", endless),
    path("large/", large), path("digest/", digest),
]
"""
HELLO = b"GET /hello/ HTTP/1.1\r\nHost: x\r\n\r\n"


class Client:
    """A connection of the test's own: sends bytes as they are, reads one answer after another."""

    def __init__(self, server: Server, data: bytes = b"") -> None:
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE)
        self.reader = self.socket.makefile("rb")
        self.server = server
        self.send(data)

    @classmethod
    def kept_alive(cls, server: Server, data: bytes = b"") -> Client:
        """One that has had an answer already, and then sends the data."""
        client = cls(server, HELLO)
        assert client.answer().text == "hello"
        client.send(data)
        return client

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self) -> Reply:
        """The next answer; raises EOFError where the server has closed instead."""
        line = self.reader.readline()
        if not line:
            raise EOFError
        status = int(line.split()[1])
        headers = http.client.parse_headers(self.reader)
        if status == 100:
            return Reply(status, headers, b"")
        if headers["Transfer-Encoding"] == "chunked":
            blocks = []
            while size := int(self.reader.readline(), 16):
                blocks.append(self.reader.read(size))
                self.reader.readline()
            self.reader.readline()
            return Reply(status, headers, b"".join(blocks))
        if headers["Content-Length"] is None:
            return Reply(status, headers, self.reader.read())
        body = self.reader.read(int(headers["Content-Length"]))
        assert len(body) == int(headers["Content-Length"]), f"{len(body)} of {headers['Content-Length']} bytes came"
        return Reply(status, headers, body)

    def outcome(self) -> str:
        """All that still comes, in short: each answer, and how the connection ends."""
        told = []
        try:
            while True:
                reply = self.answer()
                told.append(f"{reply.status} {reply.text[:70]} {reply.headers['Connection'] or ''}".strip())
        except EOFError:
            told.append("end")
        except (OSError, ValueError, AssertionError) as error:
            told.append(repr(error))
        # As clients do: the server goes on reading until then, for it may have been sent more.
        self.closes()
        return ", ".join(told)

    def __del__(self) -> None:
        self.closes()

    def closes(self) -> None:
        self.reader.close()
        self.socket.close()

    def resets(self) -> None:
        """Close the connection with a TCP reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.closes()

    def is_sent(self) -> bool:
        """Whether all that was sent has reached the server's end of the connection."""
        mine = self.socket.getsockname()[1]
        return any(row.peer == self.server.port and row.unsent == 0 for row in tcp_sockets(mine))

    def is_read(self) -> bool:
        """Whether the server has taken from the kernel all that was sent."""
        mine, rows = self.socket.getsockname()[1], tcp_sockets(self.server.port)
        return self.is_sent() and any(row.peer == mine and row.accepted and row.unread == 0 for row in rows)


class TCPSocket:
    """A row of the kernel's table of TCP sockets."""

    def __init__(self, words: list[str]) -> None:
        self.port, self.peer = (int(word.rpartition(":")[2], 16) for word in words[1:3])
        self.listens = words[3] == "0A"
        self.unsent, self.unread = (int(word, 16) for word in words[4].split(":"))
        self.accepted = words[9] != "0"


def tcp_sockets(port: int) -> list[TCPSocket]:
    """The sockets of this machine that have this local port."""
    tables = (Path(f"/proc/net/{name}").read_text().splitlines()[1:] for name in ("tcp", "tcp6"))
    return [row for table in tables for line in table if (row := TCPSocket(line.split())).port == port]


def listens(port: int) -> bool:
    """Whether a process listens on this port; seen without making a connection, which the server would wait for."""
    return any(row.listens for row in tcp_sockets(port))


def wait_until_closed(server: Server) -> None:
    wait_for(lambda: not listens(server.port), f"the web port to close\n{server.output}")


def hold(server: Server, name: str, path: str = "/hold/", rest: bytes = b"") -> Client:
    """A client whose request is in a view that returns once the file `go` is there; `rest` is pipelined behind it."""
    client = Client(server, f"GET {path}?name={name} HTTP/1.1\r\nHost: x\r\n\r\n".encode() + rest)
    entered = server.cwd / f"entered-{name.partition('&')[0]}"
    wait_for(entered.exists, f"the request to reach its view\n{server.output}")
    return client


def own_lines(server: Server, words: str) -> list[str]:
    """What twistserve itself logged with these words in it, which leaves out the access log."""
    lines = [line for line in server.output.splitlines() if " twistserve.access: " not in line]
    return [line for line in lines if " twistserve." in line and re.search(words, line)]


class Watch(threading.Thread):
    """Asks for liveness and readiness over and over, until the probe port is closed."""

    def __init__(self, server: Server) -> None:
        super().__init__(daemon=True)
        self.server = server
        self.seen: list[tuple[float, str, int]] = []
        self.start()

    def run(self) -> None:
        with suppress(OSError, http.client.HTTPException):
            while True:
                for path in ("/alive", "/ready"):
                    asked = time.monotonic()
                    self.seen.append((asked, path, self.server.probe(path).status))
                time.sleep(0.03)

    def statuses(self, path: str, since: float = 0) -> list[int]:
        return [status for asked, which, status in self.seen if which == path and asked >= since]
