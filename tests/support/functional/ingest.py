"""What Sentry and a collector of OpenTelemetry would be sent, received on loopback."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Ingest:
    """An HTTP server that takes what exporters post, and keeps it."""

    def __init__(self) -> None:
        posts: list[tuple[str, bytes]] = []

        class Handler(BaseHTTPRequestHandler):
            """Takes every POST."""

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                posts.append((self.path, gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Keep quiet."""

        self._posts = posts
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"127.0.0.1:{self.server.server_address[1]}"

    def events(self) -> list[dict[str, Any]]:
        """Sentry's events, each in an envelope: a line about it, and for each item a line and its text."""
        found = []
        for path, body in list(self._posts):
            if path.endswith("/envelope/"):
                lines = body.split(b"\n")[1:]
                found += [json.loads(text) for about, text in pairwise(lines) if is_event(about)]
        return found

    def spans(self) -> list[Span]:
        """The spans that were exported as OTLP."""
        return [
            span
            for path, body in list(self._posts)
            if path == "/v1/traces"
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


def is_event(about: bytes) -> bool:
    """Whether an item of an envelope is an event, by the line about it."""
    return about.startswith(b"{") and json.loads(about).get("type") == "event"


@contextmanager
def ingesting() -> Iterator[Ingest]:
    """An ingest for as long as the block runs."""
    ingest = Ingest()
    thread = threading.Thread(target=ingest.server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield ingest
    finally:
        ingest.server.shutdown()
        thread.join()
        ingest.server.server_close()
