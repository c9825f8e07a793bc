"""A client of HTTP/2, and servers that have a TLS endpoint for it."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from h2 import events
from h2.config import H2Configuration
from h2.connection import ConnectionState, H2Connection
from h2.settings import SettingCodes

from tests.support.certificates import write_certificate
from tests.support.functional.harness import PATIENCE, Server, free_port

MEGABYTE = 1 << 20
WHOLE_WINDOW = 2**31 - 1
NAME = "one.example"


@dataclass
class Answer:
    """What has come of an answer; `error` is the code of a reset."""

    head: dict[str, str] = field(default_factory=dict)
    informational: int = 0
    body: bytes = b""
    ended: bool = False
    error: int | None = None

    @property
    def status(self) -> int:
        return int(self.head[":status"])

    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """One connection; `window` bytes of each stream are taken and, unless `takes`, no more."""

    def __init__(self, port: int, *, window: int = MEGABYTE, takes: bool = True, buffer: int = 0) -> None:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["h2", "http/1.1"])
        plain = socket.socket()
        if buffer:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        plain.settimeout(PATIENCE)
        plain.connect(("127.0.0.1", port))
        self.socket = context.wrap_socket(plain, server_hostname=NAME)
        assert self.socket.selected_alpn_protocol() == "h2"
        self.takes = takes
        self.answers: dict[int, Answer] = {}
        self.goaway: list[tuple[int | None, int | None]] = []
        self.closed = False
        self.h2 = H2Connection(H2Configuration(header_encoding="latin-1", validate_outbound_headers=False))
        self.h2.initiate_connection()
        self.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: window})
        self.h2.increment_flow_control_window(WHOLE_WINDOW - 65535)
        self.flush()
        self.until(lambda: self.h2.remote_settings.max_header_list_size)

    def flush(self) -> None:
        """Send what there is."""
        with suppress(BrokenPipeError, ConnectionResetError, ssl.SSLError):
            self.socket.sendall(self.h2.data_to_send())

    def read(self) -> None:
        """Take what has come, or see that the server has closed."""
        try:
            data = self.socket.recv(65536)
        except (ConnectionResetError, ssl.SSLError):
            data = b""
        self.closed = not data
        # Frame by frame, for after a GOAWAY h2 takes no more, though answers still come.
        self._rest = getattr(self, "_rest", b"") + data
        while len(self._rest) >= 9 and len(self._rest) >= (size := 9 + int.from_bytes(self._rest[:3], "big")):
            frame, self._rest = self._rest[:size], self._rest[size:]
            for event in self.h2.receive_data(frame):
                self._on(event)
            if self.h2.state_machine.state is ConnectionState.CLOSED:
                self.h2.state_machine.state = ConnectionState.CLIENT_OPEN
        self.flush()

    def _on(self, event: events.Event) -> None:
        answer = self.answers.get(getattr(event, "stream_id", 0) or 0, Answer())
        if isinstance(event, events.ResponseReceived):
            answer.head = dict(cast("list[tuple[str, str]]", event.headers))
        elif isinstance(event, events.InformationalResponseReceived):
            answer.informational += 1
        elif isinstance(event, events.DataReceived):
            answer.body += event.data
            if self.takes:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, events.StreamEnded):
            answer.ended = True
        elif isinstance(event, events.StreamReset):
            answer.error = event.error_code
        elif isinstance(event, events.ConnectionTerminated):
            self.goaway.append((event.error_code, event.last_stream_id))

    def until(self, condition: Callable[[], Any]) -> None:
        """Read until something holds."""
        while not condition():
            assert not self.closed, f"closed: {self.goaway} {self.answers}"
            self.read()

    def until_closed(self) -> None:
        """Read until the server closes."""
        while not self.closed:
            self.read()

    def ask(self, path: str, *fields: tuple[str, str], method: str = "GET", end: bool = True, **pseudo: str) -> int:
        """Send a head; its stream."""
        number = self.h2.get_next_available_stream_id()
        head = {":method": method, ":scheme": "https", ":authority": NAME, ":path": path}
        head |= {f":{name}": value for name, value in pseudo.items()}
        self.h2.send_headers(number, [*head.items(), *fields], end_stream=end)
        self.answers[number] = Answer()
        self.flush()
        return number

    def send(self, number: int, data: bytes, end: bool = True) -> None:
        """Send a body as the windows allow, as far as the server wants it."""
        for start in range(0, len(data), 16384):
            piece = data[start : start + 16384]
            self.until(
                lambda piece=piece: (
                    self.answers[number].ended  # type: ignore[misc]
                    or self.h2.local_flow_control_window(number) >= len(piece)
                )
            )
            if self.answers[number].ended:
                return
            self.h2.send_data(number, piece)
            self.flush()
        if end:
            self.h2.end_stream(number)
            self.flush()

    def answer(self, number: int) -> Answer:
        """The whole answer, or what came of it before a reset."""
        self.until(lambda: self.answers[number].ended or self.answers[number].error is not None)
        return self.answers[number]

    def get(self, path: str, *fields: tuple[str, str], method: str = "GET", body: bytes | None = None) -> Answer:
        """Ask, and wait for the answer."""
        number = self.ask(path, *fields, method=method, end=body is None)
        if body is not None:
            self.send(number, body)
        return self.answer(number)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self.socket.close()


@dataclass
class Secure:
    """A server with a TLS endpoint; `server.port` speaks plain HTTP."""

    server: Server
    port: int

    def connect(self, **options: Any) -> Client:
        return Client(self.port, **options)

    def told(self) -> list[str]:
        """What the views have told."""
        told: list[str] = self.server.get("/told/").json()
        return told

    def count(self, metric: str) -> float:
        """The value of a metric, summed over the labels that are not given."""
        text = self.server.probe("/metrics").text
        found = [line for line in text.splitlines() if line.startswith(metric)]
        return sum(float(line.rpartition(" ")[2]) for line in found)


def start(begin: Callable[..., Server], directory: Path, *options: str, **keywords: Any) -> Secure:
    """Have `begin` start a server on two endpoints."""
    certificates = directory / "certificates"
    certificates.mkdir()
    write_certificate(certificates / "one.pem", NAME)
    port, plain = free_port(), free_port()
    ports = ["--endpoint", f"tls:{certificates}:port={port}", "--endpoint", f"tcp:{plain}"]
    ports += ["--probe-port", str(plain + 1)]
    return Secure(begin(*ports, *options, settings="site_settings", port=plain, **keywords), port)
