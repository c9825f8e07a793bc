"""A receiver of webhooks."""

from __future__ import annotations

import json
import ssl
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.support.functional.harness import wait_for
from tests.support.webhooks import assert_valid


@dataclass
class Delivery:
    """A POST as it was received."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def fields(self) -> Any:
        """What it says, which its schema allows."""
        fields = json.loads(self.body)
        assert_valid(fields)
        return fields

    @property
    def event(self) -> tuple[str, str]:
        return self.fields.get("event") or self.fields["type"], self.fields["status"]


@dataclass
class Receiver:
    """An HTTP server that keeps what is POSTed to it; it answers with `statuses` in turn, then with 200."""

    statuses: list[int] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    certificate: Path | None = None

    def __enter__(self) -> Receiver:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.deliveries.append(Delivery(self.path, dict(self.headers), body))
                self.send_response(receiver.statuses.pop(0) if receiver.statuses else 200)
                self.send_header("Location", f"http://127.0.0.1:{receiver.port}/elsewhere")
                self.end_headers()
                self.wfile.write(b"thank you")

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.handle_error = lambda request, client_address: None  # type: ignore[method-assign]
        self.port: int = self.server.server_address[1]
        if self.certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/events"

    @property
    def events(self) -> list[tuple[str, str]]:
        return [delivery.event for delivery in self.deliveries]

    def wait_for(self, event: str, status: str) -> Delivery:
        def found() -> list[Delivery]:
            return [delivery for delivery in self.deliveries if delivery.event == (event, status)]

        return wait_for(found, f"the event {event} {status}; there are {self.events}")[-1]
