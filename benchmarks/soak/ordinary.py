"""Clients that behave: what they ask, and what has to come back."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import random
from collections.abc import Awaitable, Callable

from benchmarks.soak import contents
from benchmarks.soak.link import Link, Reply
from benchmarks.soak.tally import WrongError

UPLOADS = (0, 10, 5_000, 60_000, 300_000, 1_500_000)
"""Bytes of bodies; more than a mebibyte goes to a temporary file."""
SIZES = (0, 20, 500, 5_000, 30_000, 200_000)
"""Bytes of answers."""
Ask = Callable[[Link], Awaitable[None]]

_numbers = itertools.count(1)


def number() -> int:
    """One that no other request has."""
    return next(_numbers)


def expect(reply: Reply, status: int, body: bytes | None = None, own: int | None = None) -> None:
    """Raise `WrongError` unless a reply has this status and body, and is that to the request of its `own` number."""
    if reply.status != status:
        raise WrongError(f"status {reply.status} instead of {status}: {reply.body[:200]!r}")
    if own is not None and reply.fields.get("x-number") != str(own):
        raise WrongError(f"the answer of request {reply.fields.get('x-number')} to request {own}")
    if body is not None and reply.body != body:
        raise WrongError(f"{len(reply.body)} bytes of another content than the {len(body)} expected")


async def page(link: Link) -> None:
    own = number()
    reply = await link.ask("GET", f"/page?n={own}")
    expect(reply, 200)
    if reply.body.count(b">n=%d;" % own) != contents.ROWS or not reply.body.endswith(b"</html>\n"):
        raise WrongError(f"the page of request {own} is another")


async def echo(link: Link) -> None:
    own, size = number(), random.choice(SIZES)
    expect(await link.ask("GET", f"/echo?n={own}&size={size}"), 200, contents.text(own, size), own)


async def head(link: Link) -> None:
    own, size = number(), random.choice(SIZES)
    reply = await link.ask("HEAD", f"/echo?n={own}&size={size}")
    expect(reply, 200, b"", own)
    if reply.fields.get("content-length") != str(size):
        raise WrongError(f"HEAD has the length {reply.fields.get('content-length')} instead of {size}")


async def options(link: Link) -> None:
    own = number()
    if random.random() < 0.5:
        expect(await link.ask("OPTIONS", "*"), 200, b"")
    else:
        expect(await link.ask("OPTIONS", f"/echo?n={own}&size=3"), 200, contents.text(own, 3), own)


async def missing(link: Link) -> None:
    expect(await link.ask("GET", f"/missing/{number()}"), 404)


async def database(link: Link) -> None:
    own = number()
    expect(await link.ask("GET", f"/database?n={own}"), 200, str(own + 1).encode(), own)


async def fail(link: Link) -> None:
    expect(await link.ask("GET", f"/fail?n={number()}"), 500)


async def chatty(link: Link) -> None:
    own = number()
    expect(await link.ask("GET", f"/chatty?n={own}"), 200, b"logged", own)


async def late(link: Link) -> None:
    own = number()
    expect(await link.ask("GET", f"/late?n={own}&seconds={random.uniform(0.1, 0.8):.2f}"), 200, b"late", own)


async def leak(link: Link) -> None:
    own = number()
    expect(await link.ask("GET", f"/leak?n={own}"), 200, b"leaked", own)


async def hang(link: Link) -> None:
    expect(await link.ask("GET", f"/hang?n={number()}"), 504)


def uploaded(body: bytes) -> bytes:
    """What the view says of it."""
    return f"{len(body)} {hashlib.sha256(body).hexdigest()}".encode()


async def upload(link: Link) -> None:
    own = number()
    body = contents.text(own, random.choice(UPLOADS))
    expect(await link.ask("POST", f"/upload?n={own}", body=body), 200, uploaded(body), own)


async def upload_chunked(link: Link) -> None:
    own = number()
    body = contents.text(own, random.choice(UPLOADS))
    expect(await link.ask("POST", f"/upload?n={own}", body=body, chunked=True), 200, uploaded(body), own)


async def upload_expecting(link: Link) -> None:
    own = number()
    body = contents.text(own, random.choice(UPLOADS[1:4]))
    reply = await link.ask("PUT", f"/upload?n={own}", "Expect: 100-continue", body=body)
    expect(reply, 200, uploaded(body), own)


def streamed(own: int, blocks: int) -> bytes:
    """All of a stream."""
    return b"".join(contents.block(own, index) for index in range(blocks))


async def stream(link: Link) -> None:
    own, blocks = number(), random.randrange(12)
    expect(await link.ask("GET", f"/stream?n={own}&blocks={blocks}"), 200, streamed(own, blocks))


async def slow_stream(link: Link) -> None:
    """Read slowly: over a second for a megabyte."""
    own, blocks = number(), 64
    await link.send("GET", f"/stream?n={own}&blocks={blocks}")
    status, fields = await link.begin()
    pieces = []
    async for piece in link.pieces("GET", status, fields):
        pieces.append(piece)
        await asyncio.sleep(0.02)
    expect(Reply(status, fields, b"".join(pieces)), 200, streamed(own, blocks))


async def files(link: Link) -> None:
    """A static file or one of media: whole, not modified, or a range."""
    name = random.choice(tuple(contents.FILES))
    size = contents.FILES[name]
    content, target = contents.static_file(size), f"/{random.choice(('static', 'media'))}/{name}"
    way = random.randrange(4)
    if way == 0:
        first = random.randrange(size)
        last = min(size - 1, first + random.randrange(20_000))
        reply = await link.ask("GET", target, f"Range: bytes={first}-{last}")
        expect(reply, 206, content[first : last + 1])
    elif way == 1:
        since = "If-Modified-Since: Fri, 31 Dec 2100 00:00:00 GMT"
        expect(await link.ask("GET", target, since), 304, b"")
    elif way == 2:
        expect(await link.ask("HEAD", target), 200, b"")
    else:
        expect(await link.ask("GET", target), 200, content)


async def pipeline(link: Link) -> None:
    """Many requests at once; the answers are in order."""
    first, count = number(), 40
    request = b"GET /echo?n=%d&size=2000 HTTP/1.1\r\nHost: soak\r\n\r\n"
    link.writer.write(b"".join(request % (first * 1000 + each) for each in range(count)))
    for each in range(count):
        own = first * 1000 + each
        expect(await link.receive("GET"), 200, contents.text(own, 2000), own)


async def half_close(link: Link) -> None:
    """End the sending side after the request: it is answered all the same (RFC 9112 section 9.6)."""
    own = number()
    await link.send("GET", f"/echo?n={own}&size=5000")
    link.writer.write_eof()
    expect(await link.receive("GET"), 200, contents.text(own, 5000), own)


KEPT: dict[Ask, float] = {
    page: 30,
    echo: 25,
    database: 8,
    files: 12,
    upload: 6,
    upload_chunked: 4,
    upload_expecting: 1,
    head: 4,
    options: 2,
    missing: 3,
    stream: 4,
    fail: 1,
    late: 1,
    chatty: 0.2,
}
"""What clients ask over connections that they keep, and how often."""
ALONE: dict[Ask, float] = {slow_stream: 0.5, hang: 0.3, pipeline: 0.5, half_close: 1}
"""What needs a connection of its own, and how often a second."""
LEAKING: dict[Ask, float] = {leak: 1}
"""The same where workers are replaced."""
