"""h11 as a second reader of the same bytes: what both take must be the same requests, or one could hide in another."""

from __future__ import annotations

from dataclasses import dataclass, field

import h11

FRAMING = (b"transfer-encoding", b"content-length")


@dataclass
class Read:
    """The requests of a connection as one reader sees them, and how it ended."""

    requests: list[tuple[bytes, bytes, list[tuple[bytes, bytes]], bytes]] = field(default_factory=list)
    """Method, target, fields with names in lower case, and body."""
    versions: list[bytes] = field(default_factory=list)
    refusal: str = ""
    """Why the rest is refused."""
    last: bool = False
    """Whether what follows the last request is not read."""


def by_h11(data: bytes) -> Read:
    """What h11 makes of the bytes."""
    read = Read()
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=len(data) + 1)
    connection.receive_data(data)
    while not read.last and not read.refusal:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError as error:
            read.refusal = str(error)
            continue
        if isinstance(event, h11.Request):
            request, body = event, b""
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            read.requests.append((request.method, request.target, list(request.headers), body))
            read.versions.append(request.http_version)
            # 404: no upgrade, and no tunnel.
            connection.send(h11.Response(status_code=404, headers=[("Content-Length", "0")]))
            connection.send(h11.EndOfMessage())
            read.last = connection.our_state is not h11.DONE or connection.their_state is not h11.DONE
            if not read.last:
                connection.start_next_cycle()
        else:
            break
    return read


def normalized(fields: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Fields as h11 tells of them."""
    lowered = [(name.lower(), value) for name, value in fields]
    return [(name, value.lower() if name in FRAMING else value) for name, value in lowered]
