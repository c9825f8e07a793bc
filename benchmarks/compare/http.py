"""A client that reads whole responses and says what went wrong."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

FIELDS = "Host: x\r\n"
LIMIT = 1 << 20
"""Bytes of a line or a head at most."""


@dataclass(frozen=True)
class Response:
    """A complete response, after all interim ones."""

    status: int
    fields: dict[str, str]
    """By names in small letters."""
    body: bytes
    interim: tuple[int, ...] = ()
    """The statuses before it, such as 100."""

    @property
    def persistent(self) -> bool:
        """Whether its connection can take another request."""
        framed = "content-length" in self.fields or "transfer-encoding" in self.fields
        return framed and "close" not in self.fields.get("connection", "").lower()


class Client:
    """A connection. What is wrong with it or with a response is an OSError, an EOFError or a ValueError."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @property
    def stale(self) -> bool:
        """Whether the server has closed it, as a pool of connections finds out before it uses one again."""
        return self.reader.at_eof() or self.reader.exception() is not None

    async def ask(self, target: str, *, fields: str = FIELDS, method: str = "GET", body: bytes = b"") -> Response:
        """Send a request, and read its response."""
        self.writer.write(f"{method} {target} HTTP/1.1\r\n{fields}\r\n".encode() + body)
        await self.writer.drain()
        return await read_response(self.reader)

    def close(self) -> None:
        self.writer.close()


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Client]:
    """A connection during the block."""
    client = await connect(port)
    try:
        yield client
    finally:
        client.close()


async def connect(port: int) -> Client:
    """Raises OSError."""
    return Client(*await asyncio.open_connection("127.0.0.1", port, limit=LIMIT))


async def read_response(reader: asyncio.StreamReader) -> Response:
    """Read one. Raises EOFError if the connection ends before the response, ValueError if it is none."""
    interim: list[int] = []
    while True:
        status, fields = _head(await reader.readuntil(b"\r\n\r\n"))
        if status >= 200:
            return Response(status, fields, await _body(reader, status, fields), tuple(interim))
        interim.append(status)


def _head(data: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = data.decode("latin-1").rstrip("\r\n").split("\r\n")
    version, status, *_ = first.split(" ")
    if not version.startswith("HTTP/1."):
        raise ValueError(f"not HTTP: {first[:80]!r}")
    pairs = (line.partition(":") for line in lines)
    return int(status), {name.strip().lower(): value.strip() for name, _, value in pairs}


async def _body(reader: asyncio.StreamReader, status: int, fields: dict[str, str]) -> bytes:
    if status in (204, 304):
        return b""
    if "chunked" in fields.get("transfer-encoding", "").lower():
        return await _chunks(reader)
    if "content-length" in fields:
        return await reader.readexactly(int(fields["content-length"]))
    return await reader.read()


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    parts = []
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        parts.append((await reader.readexactly(size + 2))[:-2])
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass  # trailers
    return b"".join(parts)


@dataclass(frozen=True)
class Answer:
    """What became of a request."""

    seconds: float
    status: int | None
    """None where no whole response came in time."""

    def within(self, seconds: float) -> bool:
        """Whether a response came in this time, whatever it says."""
        return self.status is not None and self.seconds <= seconds


async def once(port: int, target: str, patience: float) -> Answer:
    """Ask over a connection of its own, as a kubelet does, for so many seconds at most."""
    began = time.monotonic()
    status = None
    try:
        async with asyncio.timeout(patience), connected(port) as client:
            status = (await client.ask(target, fields=f"{FIELDS}Connection: close\r\n")).status
    except (OSError, EOFError, ValueError, asyncio.LimitOverrunError):
        pass
    return Answer(time.monotonic() - began, status)
