"""The configurations of docs/proxies.md: what they forward, WebSockets, and a roll-out that loses no POST."""

from __future__ import annotations

import json
import re
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import pytest

from tests.support.functional import proxies
from tests.support.functional.harness import PATIENCE, ROOT, Server, free_port, start, wait_for, write_project
from tests.support.functional.proxies import AS_ROOT, proxying
from tests.support.functional.websockets import WebSocket

HOSTS = ("127.0.0.1", "127.0.0.2")
"""In the place of the page's two instances: one port, as theirs, so that the probes have one too."""
DELAY = "5"
"""What the page says that HAProxy wants, which is the most."""

VIEWS = """
import os
from django.http import JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

@csrf_exempt
def who(request):
    fields = {"id": request.headers["X-Request-ID"], "connection": request.META["REMOTE_PORT"], "pid": os.getpid()}
    client = {"address": request.META["REMOTE_ADDR"], "scheme": request.scheme, "port": request.get_port()}
    return JsonResponse(client | fields | {"host": request.get_host()})

urlpatterns = [path("who", who)]
"""
LIVE = "from twistserve.websocket import group_resource\nnews = lambda: group_resource('news')\n"
WRAPPED = {
    "haproxy": "global\n    nbthread 1\n@text@",
    "nginx": """
@user@
daemon off;
worker_processes 1;
pid @directory@/nginx.pid;
error_log stderr error;
events { worker_connections 256; }
http {
    access_log off;
    client_body_temp_path @directory@/client;
    proxy_temp_path @directory@/proxy;
    fastcgi_temp_path @directory@/fastcgi;
    uwsgi_temp_path @directory@/uwsgi;
    scgi_temp_path @directory@/scgi;
    @text@
}
""",
    "caddy": "{\n    admin off\n    auto_https off\n    grace_period 1s\n}\n@text@",
}
"""What the page's configuration stands in."""
LISTENS = {
    "haproxy": ("bind :80", "bind 127.0.0.1:@port@"),
    "nginx": ("listen 80", "listen 127.0.0.1:@port@"),
    "caddy": ("shop.example.com", "http://:@port@"),
}
"""Where the page has it listen, and where a test does."""


def configuration(name: str, web: int) -> str:
    """That of the page, with the ports and addresses of a test; `@port@` is to be the proxy's own."""
    language = {"caddy": "caddyfile"}.get(name, name)
    page = (ROOT / "docs/proxies.md").read_text()
    blocks: list[str] = re.findall(rf"^```{language}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    [text] = [block for block in blocks if "10.0.0.12" in block]
    old, new = LISTENS[name]
    assert old in text
    text = text.replace(old, new).replace("8001", str(web + 1))
    return text.replace("10.0.0.11:8000", f"{HOSTS[0]}:{web}").replace("10.0.0.12:8000", f"{HOSTS[1]}:{web}")


@contextmanager
def guided(name: str, directory: Path, web: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The proxy with the page's configuration."""
    whole = WRAPPED[name].replace("@text@", configuration(name, web)).replace("@user@", "user root;" if AS_ROOT else "")
    template = whole.replace("{", "{{").replace("}", "}}").replace("@directory@", "{directory}")
    kind = replace(proxies.KINDS[name], configuration=template.replace("@port@", "{port}"))
    monkeypatch.setitem(proxies.KINDS, name, kind)
    with proxying(name, directory, web) as port:
        yield port


class Load:
    """Clients that POST over connections of their own until they are told to stop."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.statuses: Counter[object] = Counter()
        self.pids: set[object] = set()
        """Processes that have responded."""
        self._stopped = False
        self._threads = [threading.Thread(target=self._run) for _ in range(2)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped = True
        for thread in self._threads:
            thread.join()

    def __repr__(self) -> str:
        return repr(self.statuses)

    def _run(self) -> None:
        while not self._stopped:
            try:
                status, seen = ask(self.port, body=b"book")
                self.statuses[status] += 1
                self.pids.add(seen.get("pid"))
            except (OSError, HTTPException) as error:
                self.statuses[repr(error)] += 1


def ask(port: int, body: bytes | None = None) -> tuple[int, dict[str, Any]]:
    """The status, and what Django saw of a client that lies about itself."""
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE, source_address=("127.0.0.9", 0))
    fields = {"Host": f"shop.example:{port}", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "forged.example"}
    try:
        connection.request("POST" if body else "GET", "/who", body=body, headers=fields)
        response = connection.getresponse()
        text = response.read()
        return response.status, json.loads(text) if response.status == 200 else {}
    finally:
        connection.close()


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[[int, int], Server]]:
    """Start one of the two instances on a port, and wait until it is ready."""
    settings = "USE_X_FORWARDED_HOST = USE_X_FORWARDED_PORT = True\n"
    project = write_project(tmp_path / "project", VIEWS, settings, live=LIVE)
    started: list[Server] = []

    def starter(number: int, web: int) -> Server:
        logs = tmp_path / str(len(started))
        logs.mkdir()
        options = ("--port", str(web), "--host", HOSTS[number], "--mount", "/live=live.news", "--drain-delay", DELAY)
        server = start(*options, "--no-access-log", cwd=project, logs=logs, settings="site_settings", port=web)
        started.append(server)

        def ready() -> bool:
            assert server.process.poll() is None, server.output
            connection = HTTPConnection(HOSTS[number], web + 1, timeout=PATIENCE)
            with closing(connection), suppress(OSError):
                connection.request("GET", "/ready")
                return connection.getresponse().status == 200
            return False

        wait_for(ready, lambda: f"{HOSTS[number]} to be ready\n{server.output}")
        return server

    yield starter
    for server in started:
        server.kill()
        # pytest shows this with a test that fails.
        sys.stdout.write(server.output)


def test_the_configurations_of_the_guide(
    begin: Callable[[int, int], Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Django sees the client; a WebSocket opens; one instance after the other restarts, and no POST is lost."""
    web = free_port()
    servers = [begin(number, web) for number in (0, 1)]
    with ExitStack() as stack:
        ports = {name: stack.enter_context(guided(name, tmp_path / name, web, monkeypatch)) for name in WRAPPED}
        for port in ports.values():
            assert_forwards(port)
        with ExitStack() as running:
            loads = {name: running.enter_context(Load(port)) for name, port in ports.items()}
            for number in (0, 1):
                assert servers[number].terminate() == 0
                servers[number] = begin(number, web)
                # As a roll-out does: the next one goes when the proxies send requests to this one.
                wait_for_responses(loads, servers[number].process.pid)
    assert {name: set(load.statuses) for name, load in loads.items()} == {name: {200} for name in WRAPPED}, loads


def assert_forwards(port: int) -> None:
    """What Django sees by the proxy on this port is the client's, over connections that are kept; WebSockets pass."""
    wait_for(lambda: ask(port)[0] == 200, "the proxy to know its servers")
    seen = [ask(port)[1] for _ in range(4)]
    for each in seen:
        assert (each["address"], each["scheme"]) == ("127.0.0.9", "http")
        assert (each["host"], each["port"]) == (f"shop.example:{port}", str(port))
    assert len({each["id"] for each in seen}) == 4
    assert len({each["connection"] for each in seen}) < 4
    with WebSocket(port, "/live", ("Origin", f"http://127.0.0.1:{port}")) as client:
        assert client.status == 101


def wait_for_responses(loads: dict[str, Load], pid: int) -> None:
    """Wait until each proxy has had one from this process."""
    wait_for(lambda: all(pid in load.pids for load in loads.values()), lambda: f"responses of {pid}: {loads}")
