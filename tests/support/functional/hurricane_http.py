"""What a project written for Django-Hurricane says to the same requests, on the web port and on the probe port."""

from __future__ import annotations

import json
import socket
import time
from contextlib import ExitStack

from prometheus_client.parser import text_string_to_metric_families

from tests.support.functional.harness import PATIENCE, SETTLE, Server, raw, refuses, wait_for
from tests.support.functional.hurricane import Side, serving
from tests.support.functional.observations import Observations, of_response, parsed

PROBES = ("/startup", "/ready", "/alive")
LIMIT = 100 << 20
"""Bytes of the largest body, by default, of both."""

FAULTS = (
    *("readiness.fails", "readiness.warns", "readiness.raises", "liveness.fails", "liveness.raises"),
    *("hurricane.fails", "shop.fails"),
)
"""Checks by their tags, and what each does."""
APPLICATION = (
    *("GET /", "HEAD /", "POST /", "OPTIONS /", "GET /nowhere", "GET /broken", "GET /stream", "HEAD /stream"),
    *("GET /cookies", "GET /nothing", "GET /alive", "GET /metrics", "PROPFIND /length"),
)
FILES_ASKED = (
    *("/static/shop.css", "/static/shop.js", "/static/nowhere", "/static/", "/static/../manage.py"),
    *("/media/note.txt", "/media/page.html", "/media/nowhere", "/media/both/"),
)
CHUNKS = "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
IDLE = 20
"""Connections that are kept: more than the 10 that Hurricane's readiness allows by default."""


def ask(port: int, request: str, *headers: str, case: str = "", exact: bool = False, body: str = "") -> Observations:
    """What one request gets, over a connection of its own; its body's length is told unless a header says more."""
    lines = [f"{request} HTTP/1.1", "Host: shop.example", "Connection: close", *headers]
    if body and "Transfer-Encoding: chunked" not in headers:
        lines.append(f"Content-Length: {len(body)}")
    data = "\r\n".join([*lines, "", body]).encode()
    named = f"{request} {case}" if case else request
    try:
        received = raw(port, data)
    except ConnectionError:
        received = b""
    return of_response(received, named, exact)


# Probes


def probes(side: Side) -> Observations:
    """The probe port before and after the start, and while checks and the database fail."""
    seen: Observations = {}
    side.write()
    data, away = side.directory / "data", side.directory / "away"
    data.rename(away)
    with serving(side, "--command", "prepare wait", until=None) as server:
        port = server.probe_port
        wait_for(lambda: not refuses(port), "the probe port")
        for path in PROBES:
            for method in ("GET", "POST"):
                seen |= ask(port, f"{method} {path}", case="while starting")
        seen["the web port while starting: connections"] = "refused" if refuses(server.port) else "accepted"
        (server.cwd / "open").touch()
        server.wait_until("/startup")
        seen |= both(server, "while there is no database")
        away.rename(data)
        settle(side)
        for path in PROBES:
            for method in ("GET", "POST", "HEAD", "PUT"):
                seen |= ask(port, f"{method} {path}")
            seen |= ask(port, f"GET {path}/")
            seen |= ask(port, f"GET {path}?verbose")
        for path in ("/", "/nowhere", "/metrics"):
            seen |= ask(port, f"GET {path}", case="of the probe port")
        for name in FAULTS:
            seen |= with_fault(side, server, name)
        data.rename(away)
        settle(side)
        seen |= both(server, "once the database is lost")
    return seen


def with_fault(side: Side, server: Server, name: str) -> Observations:
    """The two probes while there is a file that a check looks for."""
    tag, _, fault = name.partition(".")
    file = server.cwd / name
    file.touch()
    settle(side)
    seen = both(server, f"while a check tagged {tag} {fault}")
    file.unlink()
    return seen


def both(server: Server, case: str) -> Observations:
    return ask(server.probe_port, "GET /ready", case=case) | ask(server.probe_port, "GET /alive", case=case)


def settle(side: Side) -> None:
    """Wait until no result of a check from before is used any more; Hurricane uses none."""
    if not side.is_hurricane:
        time.sleep(SETTLE)


# Requests


def requests(side: Side) -> Observations:
    """The web port: the application, what it is told, its limits, static and media files, and what is counted."""
    with serving(side, "--static", "--media") as server:
        port = server.port
        seen: Observations = {}
        for request in APPLICATION:
            seen |= ask(port, request, exact=True)
        form = (
            '--limit\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\nof a file\r\n--limit--\r\n'
        )
        multipart = "Content-Type: multipart/form-data; boundary=limit"
        seen |= ask(port, "POST /length", exact=True, body="12345")
        seen |= ask(port, "POST /uploaded", multipart, exact=True, body=form)
        chunked = ask(port, "POST /length", "Transfer-Encoding: chunked", case="in chunks", exact=True, body=CHUNKS)
        seen |= chunked
        seen |= ask(port, "POST /length", f"Content-Length: {LIMIT + 1}", case="above --max-body-size")
        seen |= ask(port, "GET /", f"X-Long: {'a' * 70_000}", case="with a head of 70 kB")
        seen |= ask(port, "GET /", "Host: other", case="with two hosts")
        seen |= ask(port, "POST /length", "Content-Length: 3", "Content-Length: 4", case="with two lengths", body="")
        seen |= ask(port, "POST /length", "Expect: 100-continue", case="to be continued", exact=True, body="12345")
        seen |= told(port)
        seen |= files(port)
        seen |= with_idle_connections(server)
        seen["GET /endless: the first line"] = first_line(side, server)
        seen |= metrics(server)
    return seen


def told(port: int) -> Observations:
    """What the application is told of a request that a proxy on this machine has passed on."""
    request = (
        b"GET /environ/caf%C3%A9%2Fau//lait?q=%20 HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n"
        b"X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\nX-Twice: 1\r\nX-Twice: 2\r\n"
        b"X_Under_Score: 1\r\n\r\n"
    )
    values = json.loads(parsed(raw(port, request), "GET")[1])
    return {f"the environ: {name}": value for name, value in values.items()}


def files(port: int) -> Observations:
    seen: Observations = {}
    for path in FILES_ASKED:
        seen |= ask(port, f"GET {path}", exact=True)
    seen |= ask(port, "HEAD /static/shop.css")
    seen |= ask(port, "POST /static/shop.css")
    seen |= ask(port, "GET /static/shop.css", "If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT", case="not modified")
    seen |= ask(port, "GET /media/note.txt", "Range: bytes=2-4", case="in part", exact=True)
    return seen


def with_idle_connections(server: Server) -> Observations:
    """Readiness while more connections are kept than Hurricane's readiness allows by default."""
    with ExitStack() as kept:
        for _ in range(IDLE):
            client = kept.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE))
            client.sendall(b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n")
            assert b"200 OK" in client.recv(65536)
        return ask(server.probe_port, "GET /ready", case=f"while {IDLE} connections are idle")


def first_line(side: Side, server: Server) -> str:
    """Whether a response that is not complete yet begins to arrive."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=1 if side.is_hurricane else PATIENCE) as client:
        client.sendall(b"GET /endless HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n")
        received = b""
        try:
            while not received.endswith(b"one\r\n"):
                received += client.recv(65536)
        except TimeoutError:
            return "with the last"
        finally:
            (server.cwd / "go").touch()
    return "at once"


def metrics(server: Server) -> Observations:
    """Which metrics there are, but for those that prometheus-client has by itself."""
    families = {family.name for family in text_string_to_metric_families(server.probe("/metrics").text)}
    ours = {name for name in families if not name.startswith(("python_", "process_"))}
    return {f"the metric {name}": "there" for name in ours}
