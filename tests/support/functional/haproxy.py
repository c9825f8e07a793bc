"""A real HAProxy in front of instances, and clients that keep it busy."""

from __future__ import annotations

import csv
import hashlib
import http.client
import io
import os
import shutil
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.functional.harness import PATIENCE, free_port, wait_for

HAPROXY = shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
BODY = b"0123456789" * 10_000
VIEWS = """
import hashlib, time
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

def quick(request):
    return HttpResponse(request.GET["id"])

def slow(request):
    time.sleep(float(request.GET["seconds"]))
    return HttpResponse(request.GET["id"])

def stream(request):
    def blocks():
        for number in range(20):
            time.sleep(0.05)
            yield b"%d " % number
        yield request.GET["id"].encode()
    return StreamingHttpResponse(blocks())

@csrf_exempt
def digest(request):
    return HttpResponse(hashlib.sha256(request.read()).hexdigest())

urlpatterns = [path("quick/", quick), path("slow/", slow), path("stream/", stream), path("digest/", digest)]
"""
CONFIGURATION = """
global
    stats socket {directory}/haproxy.sock mode 600 level admin
    log stdout format raw local0
defaults
    mode http
    log global
    option httplog
    option dontlog-normal
    {connections}
    {retries}
    timeout connect 10s
    timeout client 60s
    timeout server 60s
    timeout check 10s
frontend web
    bind 127.0.0.1:{port}
    default_backend instances
backend instances
    balance roundrobin
    option httpchk GET /ready
    default-server {servers_are}
{servers}
"""
KEEP_ALIVE = "keep-alive on both sides"
CONNECTIONS = {
    KEEP_ALIVE: "option http-keep-alive\n    http-reuse always",
    "a connection for each request on both sides": "option httpclose",
}
CHECKED = "check inter 1s fall 1 rise 1"
NO_RETRIES = "retries 0\n    no option redispatch"
"""So that it hides nothing."""


@dataclass
class HAProxy:
    """HAProxy in front of instances, by their names and ports."""

    port: int
    socket_path: Path
    log_path: Path

    def tell(self, command: str) -> str:
        """What it says to a command."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE)
            connection.connect(str(self.socket_path))
            connection.sendall(f"{command}\n".encode())
            return b"".join(iter(lambda: connection.recv(65536), b"")).decode()

    def statistics(self) -> dict[str, dict[str, str]]:
        """What it counted and knows of each server, and of the backend as a whole."""
        rows = csv.DictReader(io.StringIO(self.tell("show stat").removeprefix("# ")))
        return {row["svname"]: row for row in rows if row["pxname"] == "instances"}

    def sees(self, states: dict[str, str]) -> bool:
        """Whether each of these servers is in this state, UP or DOWN, and has been looked at."""
        found = self.statistics()
        return all(
            found[name]["status"] == state and found[name]["check_status"] not in ("INI", "")
            for name, state in states.items()
        )


@contextmanager
def haproxy(
    directory: Path,
    ports: dict[str, int],
    connections: str,
    servers_are: str = CHECKED,
    retries: str = NO_RETRIES,
) -> Iterator[HAProxy]:
    """An HAProxy for as long as the block runs."""
    assert HAPROXY, "haproxy is not installed"
    port = free_port()
    configuration = directory / "haproxy.cfg"
    servers = [f"    server {name} 127.0.0.1:{web} port {web + 1}" for name, web in ports.items()]
    configuration.write_text(
        CONFIGURATION.format(
            directory=directory,
            connections=connections,
            retries=retries,
            port=port,
            servers_are=servers_are,
            servers="\n".join(servers),
        )
    )
    log_path = directory / "haproxy.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen([HAPROXY, "-db", "-f", configuration], stdout=log, stderr=log)
    proxy = HAProxy(port, directory / "haproxy.sock", log_path)
    try:
        wait_for(lambda: process.poll() is not None or proxy.socket_path.exists(), "HAProxy's socket")
        assert process.poll() is None, log_path.read_text()
        yield proxy
    finally:
        process.terminate()
        process.wait()


class Load:
    """Clients in threads that ask until they are told to stop; each outcome is counted, errors with their texts."""

    def __init__(self, port: int, *, keep_alive: bool, below: str = "/") -> None:
        self._port = port
        self._below = below
        self._keep_alive = keep_alive
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._sent = 0
        self.outcomes: Counter[str] = Counter()
        kinds = [self._quick] * 6 + [self._slow] * 8 + [self._stream] * 2 + [self._post] * 2 + [self._trickle] * 2
        self._threads = [threading.Thread(target=self._run, args=(kind,), daemon=True) for kind in kinds]
        for thread in self._threads:
            thread.start()

    @property
    def sent(self) -> int:
        return self._sent

    @property
    def lost(self) -> int:
        """Requests without the right answer, once all is stopped."""
        return self._sent - sum(count for outcome, count in self.outcomes.items() if outcome.endswith(": right"))

    def __str__(self) -> str:
        lines = (f"{count:6} {outcome}\n" for outcome, count in sorted(self.outcomes.items()))
        return f"{self.sent} sent, {self.lost} lost\n{''.join(lines)}"

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *exception: object) -> None:
        """Stop when each client has its last answer."""
        self._stopped.set()
        for thread in self._threads:
            thread.join(PATIENCE)

    def _run(self, kind: Callable[[http.client.HTTPConnection, int], bytes]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
        while not self._stopped.is_set():
            with self._lock:
                self._sent += 1
                number = self._sent
            try:
                expected = kind(connection, number)
                response = connection.getresponse()
                body = response.read()
                outcome = "right" if (response.status, body) == (200, expected) else f"{response.status} {body[:200]!r}"
            except (OSError, http.client.HTTPException) as error:
                outcome = repr(error)
                connection.close()
            if not self._keep_alive:
                connection.close()
            with self._lock:
                self.outcomes[f"{kind.__name__.strip('_')}: {outcome}"] += 1
            if kind == self._quick:
                self._stopped.wait(0.005)
        connection.close()

    def _headers(self) -> dict[str, str]:
        return {} if self._keep_alive else {"Connection": "close"}

    def _get(self, connection: http.client.HTTPConnection, number: int, path: str) -> bytes:
        connection.request("GET", f"{self._below}{path}id={number}", headers=self._headers())
        return b"%d" % number

    def _quick(self, connection: http.client.HTTPConnection, number: int) -> bytes:
        return self._get(connection, number, "quick/?")

    def _slow(self, connection: http.client.HTTPConnection, number: int) -> bytes:
        return self._get(connection, number, f"slow/?seconds={(0.2, 1, 5, 5)[number % 4]}&")

    def _stream(self, connection: http.client.HTTPConnection, number: int) -> bytes:
        return b"".join(b"%d " % block for block in range(20)) + self._get(connection, number, "stream/?")

    def _post(self, connection: http.client.HTTPConnection, number: int) -> bytes:
        body = b"%d" % number + BODY
        connection.request("POST", f"{self._below}digest/", body, self._headers())
        return hashlib.sha256(body).hexdigest().encode()

    def _trickle(self, connection: http.client.HTTPConnection, number: int) -> bytes:
        pieces = [b"%d" % number] + [BODY[:1000]] * 10

        def slowly() -> Iterator[bytes]:
            for piece in pieces:
                self._stopped.wait(0.1)
                yield piece

        headers = self._headers() | {"Transfer-Encoding": "chunked"}
        connection.request("POST", f"{self._below}digest/", slowly(), headers, encode_chunked=True)
        return hashlib.sha256(b"".join(pieces)).hexdigest().encode()
