"""Who the client is, and which response is whose, behind real proxies that share their connections to the server."""

from __future__ import annotations

import json
import random
import socket
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from tests.support.functional.harness import PATIENCE, ROOT, Server, serving, write_project
from tests.support.functional.proxies import CHAINS, DIRECTIVES, KINDS, SOURCES, proxying
from tests.support.functional.wire import LAST_CHUNK, Wire

VIEWS = """
from django.core.exceptions import DisallowedHost
from django.http import HttpResponse, JsonResponse
from django.urls import path

seen = []


def who(request):
    try:
        host = request.get_host()
    except DisallowedHost:
        host = "refused"
    fields = {name: value for name, value in request.META.items() if name.startswith("HTTP_")}
    client = {"address": request.META["REMOTE_ADDR"], "scheme": request.scheme, "host": host}
    answer = {**client, "port": request.get_port(), "fields": fields}
    return JsonResponse(answer, headers={"Cache-Control": "no-store"})


def mixed(request, name):
    word, body = f"{name};".encode(), request.body
    count = len(body) // len(word)
    seen.append([name, request.META["REMOTE_PORT"], count, body == word * count])
    return HttpResponse(word * int(request.GET["times"]), headers={"Cache-Control": "no-store"})


def records(request):
    return JsonResponse(seen, safe=False)


urlpatterns = [path("who", who), path("mixed/<name>", mixed), path("records", records)]
"""
SETTINGS = "USE_X_FORWARDED_HOST = USE_X_FORWARDED_PORT = True\n"

NAMES = {name: name.capitalize() for name in KINDS} | {"haproxy": "HAProxy", "nginx": "nginx"}
CLIENT = "127.0.0.9"
FORGED = {
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "forged.example",
    "X-Forwarded-Port": "444",
    "X-Request-ID": "forged",
}
"""What a client sends of fields that are for proxies to send."""


@contextmanager
def site(directory: Path, *options: str) -> Iterator[Server]:
    """A server of the views above."""
    project = write_project(directory / "project", VIEWS, SETTINGS)
    with serving(*options, cwd=project, logs=directory, settings="site_settings") as server:
        yield server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One that trusts 127.0.0.1, as by default."""
    with site(tmp_path_factory.mktemp("clients")) as started:
        yield started


def ask(port: int, **headers: str) -> Any:
    """What Django sees of a client of another address than the proxies'."""
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE, source_address=(CLIENT, 0))
    try:
        connection.request("GET", "/who", headers={"Host": f"shop.example:{port}", **headers})
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


def words(seen: Any, server: Server, port: int, ours: str) -> list[str]:
    """Whose values they are that Django sees behind the proxy on a port; ids of twistserve begin with `ours`."""
    of_client = {CLIENT, "http", f"shop.example:{port}", str(port)}
    of_proxy = {"127.0.0.1", f"127.0.0.1:{server.port}", "django"}
    request_id = seen["fields"]["HTTP_X_REQUEST_ID"]
    found = []
    for value in (seen["address"], seen["scheme"], seen["host"], seen["port"]):
        kinds = {"client's": of_client, "proxy's": of_proxy, "server's": {str(server.port)}, "refused": {"refused"}}
        [kind] = [kind for kind, values in (kinds | {"forged": {*FORGED.values()}}).items() if value in values]
        found.append(kind)
    known = {FORGED["X-Request-ID"]: "forged", request_id if request_id.startswith(ours) else "": "server's"}
    return [*found, known.get(request_id, "proxy's")]


def row(server: Server, name: str, directory: Path, *, directed: bool) -> str:
    """The row of the table in docs/proxies.md: what a proxy adds, and what Django then sees."""
    with proxying(name, directory, server.port, DIRECTIVES[name] if directed else "", patience=30) as port:
        direct, honest, forging = ask(server.port), ask(port), ask(port, **FORGED)
    ours = direct["fields"].pop("HTTP_X_REQUEST_ID")[:16]
    added = {field for field in honest["fields"] if field not in {*direct["fields"], "HTTP_CONNECTION"}}
    if honest["fields"]["HTTP_X_REQUEST_ID"].startswith(ours):
        added.remove("HTTP_X_REQUEST_ID")
    titles = [f"`{field.removeprefix('HTTP_').replace('_', '-').title()}`" for field in sorted(added)]
    cells = [NAMES[name], "as above" if directed else "none", ", ".join(titles).replace("-Id`", "-ID`") or "nothing"]
    for one, other in zip(words(honest, server, port, ours), words(forging, server, port, ours), strict=True):
        cells.append(one if one == other else f"{one}; {other}")
    return f"| {' | '.join(cells)} |"


@pytest.mark.parametrize("directed", [False, True], ids=["by itself", "directed"])
@pytest.mark.parametrize("name", KINDS)
def test_the_document_says_what_each_proxy_adds_and_what_django_sees(
    server: Server, tmp_path: Path, name: str, directed: bool
) -> None:
    """The rows of the table in docs/proxies.md are measured, with a client that is honest and one that is not."""
    document = (ROOT / "docs/proxies.md").read_text()
    assert row(server, name, tmp_path, directed=directed) in document.splitlines()
    if directed:
        missing = [line for line in DIRECTIVES[name].split("\n") if line.strip() not in document]
        assert missing == []


@pytest.mark.parametrize("chain", CHAINS)
def test_the_client_is_found_behind_two_proxies(server: Server, tmp_path: Path, chain: str) -> None:
    """X-Forwarded-For is walked past every proxy that is trusted, and no further."""
    with chained(chain, tmp_path, server.port) as port:
        for headers in ({}, FORGED):
            seen = ask(port, **headers)
            assert (seen["address"], seen["scheme"]) == (CLIENT, "http")
            assert seen["fields"]["HTTP_X_FORWARDED_FOR"].replace(", ", ",").endswith(f"{CLIENT},127.0.0.1")


@pytest.mark.parametrize(("trusted", "address"), [("127.0.0.1", "127.0.0.2"), ("127.0.0.1,127.0.0.2", CLIENT)])
def test_an_outer_proxy_has_to_be_named_too(tmp_path: Path, trusted: str, address: str) -> None:
    """An outer proxy that is not named is the client, and what it says of its own client is not believed."""
    with site(tmp_path, "--forwarded-allow-ips", trusted) as server:
        for chain in CHAINS:
            outer = chain.partition(" ")[0]
            if outer in SOURCES:
                with chained(chain, tmp_path, server.port, SOURCES[outer]) as port:
                    assert ask(port, **FORGED)["address"] == address


@contextmanager
def chained(chain: str, directory: Path, backend: int, outermost: str = "") -> Iterator[int]:
    """Two proxies in front of a port; the outer one has directives of its own."""
    outer, inner = chain.split(" > ")
    with (
        proxying(inner, directory / inner, backend, DIRECTIVES[inner], patience=30) as middle,
        proxying(outer, directory / outer, middle, f"{DIRECTIVES[outer]}\n{outermost}", patience=30) as front,
    ):
        yield front


CLIENTS = 12
"""Clients at the same time."""
REQUESTS = 25
"""Requests of each of them."""
LARGE = 40_000
"""Words of a response that no buffer between has room for."""


class Client:
    """A client that sends requests of several kinds, and leaves some of them half-way."""

    def __init__(self, port: int, number: int) -> None:
        self.random = random.Random(number)
        self.number = number
        self.port = port
        self.whole: dict[str, int] = {}
        """What was answered, by name, and how often its name was the word of its body."""
        self.left_in_body: set[str] = set()
        self.left_in_response: set[str] = set()

    def run(self) -> None:
        connection: Wire | None = None
        for step in range(REQUESTS):
            name = f"{self.number}-{step}"
            connection = connection or Wire(self.port)
            kind = self.random.choice((self.get, self.length, self.chunked, self.leave_body, self.leave_response))
            if not kind(connection, name):
                connection.close()
                connection = None
        if connection is not None:
            connection.close()

    def head(self, name: str, times: int, *fields: str, method: str = "POST") -> bytes:
        lines = (f"{method} /mixed/{name}?times={times} HTTP/1.1", "Host: shop.example", *fields, "", "")
        return "\r\n".join(lines).encode()

    def body(self, name: str) -> bytes:
        return f"{name};".encode() * self.random.choice((1, 10, 1000, 20_000))

    def expect(self, connection: Wire, name: str, times: int, sent: bytes = b"") -> bool:
        reply = connection.answer()
        assert (reply.status, reply.body) == (200, f"{name};".encode() * times), (name, reply.status, reply.body[:200])
        self.whole[name] = sent.count(b";")
        return reply.headers["Connection"] != "close"

    def get(self, connection: Wire, name: str) -> bool:
        times = self.random.choice((1, 500, 10_000))
        connection.send(self.head(name, times, method="GET"))
        return self.expect(connection, name, times)

    def length(self, connection: Wire, name: str) -> bool:
        body = self.body(name)
        connection.send(self.head(name, 3, f"Content-Length: {len(body)}") + body)
        return self.expect(connection, name, 3, body)

    def chunked(self, connection: Wire, name: str) -> bool:
        body = self.body(name)
        connection.send(self.head(name, 3, "Transfer-Encoding: chunked") + in_chunks(body) + LAST_CHUNK)
        return self.expect(connection, name, 3, body)

    def leave_body(self, connection: Wire, name: str) -> bool:
        self.left_in_body.add(name)
        body = self.body(name)
        if self.random.random() < 0.5:
            connection.send(self.head(name, 3, f"Content-Length: {len(body)}") + body[:-1])
        else:
            connection.send(self.head(name, 3, "Transfer-Encoding: chunked") + in_chunks(body))
        return self.leave(connection)

    def leave_response(self, connection: Wire, name: str) -> bool:
        self.left_in_response.add(name)
        connection.send(self.head(name, LARGE, method="GET"))
        assert connection.file.read(100).startswith(b"HTTP/1.1 200 ")
        return self.leave(connection)

    def leave(self, connection: Wire) -> bool:
        if self.random.random() < 0.5:
            # Close with a reset.
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False


def in_chunks(body: bytes) -> bytes:
    pieces = (body[start : start + 7001] for start in range(0, len(body), 7001))
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)


@pytest.mark.parametrize("way", [*KINDS, *CHAINS])
def test_clients_that_share_connections_get_their_own_responses(tmp_path: Path, way: str) -> None:
    """No response goes to another client, no body is mixed with another, and half of one never arrives as a whole."""
    with site(tmp_path, "--threads", "4") as server:
        with ExitStack() as stack:
            port = server.port
            for name in reversed(way.split(" > ")):
                port = stack.enter_context(proxying(name, tmp_path / name, port, DIRECTIVES[name], patience=30))
            clients = [Client(port, number) for number in range(CLIENTS)]
            with ThreadPoolExecutor(CLIENTS) as threads:
                for done in [threads.submit(client.run) for client in clients]:
                    done.result()
        seen = server.get("/records").json()
    assert [record for record in seen if not record[3]] == []
    names = [name for name, *_ in seen]
    assert len(names) == len(set(names))
    counts = {name: count for name, _, count, _ in seen}
    whole = {name: count for client in clients for name, count in client.whole.items()}
    assert {name: counts.pop(name, None) for name in whole} == whole
    assert counts.keys() <= {name for client in clients for name in client.left_in_response}
    assert len({connection for _, connection, *_ in seen}) < len(seen)
