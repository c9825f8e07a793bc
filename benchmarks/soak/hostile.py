"""Clients that do not behave: what they do, and what may come of it. Each ends by itself."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections.abc import Awaitable, Callable

from benchmarks.soak.link import Link
from benchmarks.soak.ordinary import number

CLOSED, RESET = "closed", "reset"
"""Ends of a connection that are no response."""
TOO_MUCH = 320
"""Blocks of a stream that no buffer takes: 5 MB."""
CLIENT_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(200))

Do = Callable[[Link], Awaitable[str]]


async def outcome(link: Link) -> str:
    """The status of the first response, or how the connection ends; all that comes is read."""
    try:
        data = await link.reader.read(100)
        if data:
            while await link.reader.read(65536):
                pass
    except OSError:
        return RESET
    if not data:
        return CLOSED
    return data[9:12].decode("latin-1") if data.startswith(b"HTTP/1.1 ") else repr(data[:20])


async def slow_head(link: Link) -> str:
    """Slowloris: a head that never ends."""

    async def drip() -> None:
        for byte in b"GET /page?n=1 HTTP/1.1\r\nHost: soak\r\nX-A: " + b"a" * 1000:
            link.writer.write(bytes((byte,)))
            await asyncio.sleep(0.1)

    dripping = asyncio.create_task(drip())
    try:
        return await outcome(link)
    finally:
        dripping.cancel()


async def slow_body(link: Link) -> str:
    """A body that stops coming."""
    link.writer.write(b"POST /upload?n=1 HTTP/1.1\r\nHost: soak\r\nContent-Length: 1000\r\n\r\nabc")
    return await outcome(link)


async def silent(link: Link) -> str:
    """A connection on which nothing comes."""
    return await outcome(link)


async def garbage(link: Link) -> str:
    link.writer.write(b"\x00" + random.randbytes(500) + b"\r\n\r\n")
    return await outcome(link)


async def tls_on_the_plain_port(link: Link) -> str:
    link.writer.write(CLIENT_HELLO)
    return await outcome(link)


async def large_head(link: Link) -> str:
    link.writer.write(b"GET / HTTP/1.1\r\nHost: soak\r\n" + b"X-A: b\r\n" * 10_000 + b"\r\n")
    return await outcome(link)


async def large_target(link: Link) -> str:
    link.writer.write(b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: soak\r\n\r\n")
    return await outcome(link)


async def large_body(link: Link) -> str:
    link.writer.write(b"POST /upload?n=1 HTTP/1.1\r\nHost: soak\r\nContent-Length: 99999999\r\n\r\n" + b"a" * 100_000)
    return await outcome(link)


async def bad_chunks(link: Link) -> str:
    link.writer.write(
        b"POST /upload?n=1 HTTP/1.1\r\nHost: soak\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"5\r\nhello\r\nzz\r\nGET /smuggled"
    )
    return await outcome(link)


async def smuggling(link: Link) -> str:
    link.writer.write(
        b"POST /upload?n=1 HTTP/1.1\r\nHost: soak\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: soak\r\n\r\n"
    )
    return await outcome(link)


async def aborted_upload(link: Link) -> str:
    """A body of which the client sends a part, and goes."""
    link.writer.write(b"POST /upload?n=1 HTTP/1.1\r\nHost: soak\r\nContent-Length: 2000000\r\n\r\n" + b"a" * 1_200_000)
    await link.writer.drain()
    return _reset(link)


async def reset_in_a_response(link: Link) -> str:
    await link.send("GET", f"/stream?n={number()}&blocks={TOO_MUCH}")
    await link.reader.readexactly(30_000)
    return _reset(link)


async def left_before_the_response(link: Link) -> str:
    await link.send("GET", f"/late?n={number()}&seconds=0.3")
    await asyncio.sleep(0.05)
    return _reset(link)


async def never_reads(link: Link) -> str:
    """A stream that nobody takes: the server has to give it up."""
    link.reader._transport.pause_reading()  # type: ignore[attr-defined]
    await link.send("GET", f"/stream?n={number()}&blocks={TOO_MUCH}")
    await asyncio.sleep(9)
    link.reader._transport.resume_reading()  # type: ignore[attr-defined]
    size = 0
    try:
        while data := await link.reader.read(65536):
            size += len(data)
    except OSError:
        return RESET
    return CLOSED if size < TOO_MUCH * 16384 else "all of it"


async def flood(link: Link) -> str:
    """Two thousand requests at once, of a client that leaves after the first answers."""
    link.writer.write(b"GET /missing HTTP/1.1\r\nHost: soak\r\n\r\n" * 2000)
    await link.reader.readexactly(1000)
    return _reset(link)


def _reset(link: Link) -> str:
    """End the connection by a reset."""
    sock: socket.socket = link.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    link.writer.transport.abort()
    return "left"


DOES: dict[Do, tuple[float, frozenset[str]]] = {
    slow_head: (0.5, frozenset({"408"})),
    slow_body: (0.5, frozenset({"408"})),
    silent: (0.5, frozenset({CLOSED})),
    garbage: (2, frozenset({"400"})),
    tls_on_the_plain_port: (0.5, frozenset({"400"})),
    large_head: (0.5, frozenset({"431", RESET})),
    large_target: (0.5, frozenset({"414", RESET})),
    large_body: (0.5, frozenset({"413", RESET})),
    bad_chunks: (1, frozenset({"400"})),
    smuggling: (1, frozenset({"400"})),
    aborted_upload: (0.5, frozenset({"left"})),
    reset_in_a_response: (1, frozenset({"left"})),
    left_before_the_response: (1, frozenset({"left"})),
    never_reads: (0.2, frozenset({CLOSED, RESET})),
    flood: (0.2, frozenset({"left"})),
}
"""How often a second each is done, and what may come of it."""
