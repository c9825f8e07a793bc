"""A client's connection of HTTP/1.1, over asyncio: it reads strictly, and tells what a closed connection means."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Self

from benchmarks.soak.tally import CrossedError, LostError, WrongError

IDLE = 1.0
"""Seconds after which a server that ends may close a connection that is kept."""
LIMIT = 1 << 17
"""Bytes that are read ahead."""


@dataclass(frozen=True)
class Reply:
    """A response, read to its end."""

    status: int
    fields: dict[str, str]
    body: bytes


class Link:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.asked = 0
        self._sent_at = time.monotonic()
        self.closes = False
        """Whether the server has said so."""

    @classmethod
    async def open(cls, port: int, *, buffer: int = 0) -> Self:
        """Connect; `buffer` bytes wait in the kernel for a client that reads slowly."""
        sock = socket.socket()
        if buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
            return cls(*await asyncio.open_connection(sock=sock, limit=buffer or LIMIT))
        except BaseException:
            sock.close()
            raise

    @property
    def usable(self) -> bool:
        """Whether another request may be sent."""
        return not self.closes and not self.reader.at_eof() and self.reader.exception() is None

    def close(self) -> None:
        self.writer.close()

    async def ask(
        self, method: str, target: str, *fields: str, body: bytes | None = None, chunked: bool = False
    ) -> Reply:
        """Ask, and read the response. Raises `LostError` and `WrongError`."""
        # Since the request before, for when its response was sent is not known here.
        idle = time.monotonic() - self._sent_at
        self.asked += 1
        try:
            await self.send(method, target, *fields, body=body, chunked=chunked)
            return await self.receive(method)
        except (OSError, asyncio.IncompleteReadError) as error:
            heard = isinstance(error, asyncio.IncompleteReadError) and bool(error.partial)
            kind = CrossedError if self.asked > 1 and idle >= IDLE and not heard else LostError
            raise kind(f"{method} {target}: request {self.asked} after {idle:.2f} s: {error!r}") from error

    async def send(
        self, method: str, target: str, *fields: str, body: bytes | None = None, chunked: bool = False
    ) -> None:
        """Send a request."""
        head = [f"{method} {target} HTTP/1.1", "Host: soak", *fields]
        if body is not None:
            head.append("Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}")
        self.writer.write("\r\n".join((*head, "", "")).encode())
        if body is not None and "Expect: 100-continue" in fields:
            status, _ = await self._head()
            if status != 100:
                raise WrongError(f"{method} {target}: {status} instead of 100")
        if body is not None and chunked:
            for start in range(0, len(body), 5000):
                piece = body[start : start + 5000]
                self.writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                await self.writer.drain()
            self.writer.write(b"0\r\n\r\n")
        elif body:
            self.writer.write(body)
        await self.writer.drain()
        self._sent_at = time.monotonic()

    async def receive(self, method: str) -> Reply:
        """The next response."""
        status, fields = await self._head()
        pieces = [piece async for piece in self.pieces(method, status, fields)]
        return Reply(status, fields, b"".join(pieces))

    async def begin(self) -> tuple[int, dict[str, str]]:
        """The head of the next response, whose body is for `pieces`."""
        return await self._head()

    async def pieces(self, method: str, status: int, fields: dict[str, str]) -> AsyncIterator[bytes]:
        """The body of a response, as it comes."""
        if method == "HEAD" or status in (204, 304):
            pass
        elif fields.get("transfer-encoding") == "chunked":
            while size := int(await self.reader.readuntil(b"\r\n"), 16):
                yield await self.reader.readexactly(size)
                if await self.reader.readexactly(2) != b"\r\n":
                    raise WrongError("a chunk has another size")
            if await self.reader.readexactly(2) != b"\r\n":
                raise WrongError("the last chunk is followed by something")
        elif "content-length" in fields:
            left = int(fields["content-length"])
            while left:
                piece = await self.reader.read(min(left, 16384))
                if not piece:
                    raise asyncio.IncompleteReadError(b"x", left)
                left -= len(piece)
                yield piece
        else:
            raise WrongError("a response has no length")

    async def _head(self) -> tuple[int, dict[str, str]]:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *lines = head[:-4].split("\r\n")
        if not line.startswith("HTTP/1.1 "):
            raise WrongError(f"no response: {line[:100]!r}")
        fields = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in lines)}
        self.closes = fields.get("connection", "").lower() == "close"
        return int(line.split()[1]), fields
