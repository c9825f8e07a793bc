"""Uploads whose length nobody knows before, and those that ask first."""

from __future__ import annotations

import asyncio
import hashlib
import random

from benchmarks.compare.contenders import Contender
from benchmarks.compare.group import Column, Found, Group
from benchmarks.compare.http import FIELDS, Client, connected, read_response
from benchmarks.compare.lab import running
from benchmarks.serving import Stage

BODY = random.Random(22).randbytes(1024 * 1024)
PATIENCE = 5.0
CHUNK = 10_000


def chunks(trailers: str = "") -> bytes:
    """The body in chunks."""
    parts = (BODY[at : at + CHUNK] for at in range(0, len(BODY), CHUNK))
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + f"0\r\n{trailers}\r\n".encode()


CHUNKED = "Transfer-Encoding: chunked\r\n"
WAYS = (
    ("with a length", f"Content-Length: {len(BODY)}\r\n", BODY, False),
    ("in chunks", CHUNKED, chunks(), False),
    ("in chunks, with a trailer", f"{CHUNKED}Trailer: X-Sum\r\n", chunks("X-Sum: 1\r\n"), False),
    ("after 100-continue", f"Content-Length: {len(BODY)}\r\nExpect: 100-continue\r\n", BODY, True),
)


def measure(stage: Stage, contender: Contender) -> Found:
    """Upload in each way."""
    with running(stage, contender) as server:
        return Found(tuple(asyncio.run(_uploaded(server.port, *way[1:])) for way in WAYS))


async def _uploaded(port: int, fields: str, body: bytes, expects: bool) -> str:
    try:
        async with asyncio.timeout(PATIENCE), connected(port) as client:
            return await _response(client, f"POST /digest HTTP/1.1\r\n{FIELDS}{fields}\r\n".encode(), body, expects)
    except TimeoutError:
        return "no: no response"
    except (OSError, EOFError):
        return "no: closed"


async def _response(client: Client, head: bytes, body: bytes, expects: bool) -> str:
    client.writer.write(head)
    if expects:
        interim = await client.reader.readuntil(b"\r\n\r\n")
        if b" 100 " not in interim.partition(b"\r\n")[0]:
            return "no: refused"
    client.writer.write(body)
    response = await read_response(client.reader)
    if response.status != 200:
        return f"no: {response.status}"
    return "yes" if response.body.decode() == hashlib.sha256(BODY).hexdigest() else "no: another body"


GROUP = Group(
    "uploads",
    "Uploads",
    """1 MB to a view that sends the digest of `request.body`: with a length, in chunks of 10 KB, in chunks with a
    trailer, and with `Expect: 100-continue` by a client that waits for the 100. Under WSGI, Django reads only as
    much of a body as CONTENT_LENGTH says: if a server decodes chunks but does not set it, the view gets an empty body,
    and the client a 200.""",
    tuple(Column(name, f"An upload {name} arrives whole") for name, *_ in WAYS),
    measure,
    together=True,
)
