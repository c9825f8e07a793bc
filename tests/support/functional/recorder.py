"""A WSGI application that tells which requests have reached it."""

from __future__ import annotations

from tests.support.functional.harness import Server

RECORDER = r"""
import itertools
import json
import threading
from pathlib import Path

opened = threading.Event()
seen = []
INJECTED = {
    "value-cr": ("X-A", "a\rSet-Cookie: stolen=1"),
    "value-lf": ("X-A", "a\nSet-Cookie: stolen=1"),
    "value-crlf": ("X-A", "a\r\n\r\n<script>"),
    "value-nul": ("X-A", "a\0b"),
    "value-end": ("X-A", "a\r\n"),
    "name-cr": ("X-A\r", "a"),
    "name-lf": ("X-A: a\nX-B", "a"),
    "name-nul": ("X-\0A", "a"),
    "name-colon": ("X-A:", "a"),
    "name-space": ("X A", "a"),
    "name-empty": ("", "a"),
    "type": ("Content-Type", "text/html\r\nX-Injected: 1"),
    "location": ("Location", "/next\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"),
    "length": ("Content-Length", "3\r\nX-Injected: 1"),
    "length-word": ("Content-Length", "three"),
}


def application(environ, start_response):
    method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
    body = environ["wsgi.input"].read()
    kind = path.rpartition("/")[2]
    status, headers, answer = "200 OK", [("Content-Type", "application/json")], None
    if path == "/seen":
        answer = json.dumps([seen.pop(0) for _ in range(len(seen))])
    elif path == "/open":
        opened.set()
    else:
        seen.append([method, path, body.decode("latin-1")])
    if path == "/environ":
        answer = json.dumps({name: value for name, value in environ.items() if isinstance(value, str)})
    elif path == "/wait":
        answer = str(opened.wait(60))
    elif path.startswith("/status/"):
        status = f"{kind} Some"
    elif path.startswith("/inject/"):
        headers.append(INJECTED[kind])
    start_response(status, headers)
    return [(answer or f"{method} {path}").encode()]
"""


def seen(server: Server) -> list[list[str]]:
    """Method, path and body of each request the application has got since it was last asked."""
    records: list[list[str]] = server.get("/seen").json()
    return records
