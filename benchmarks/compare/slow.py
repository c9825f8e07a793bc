"""Clients that send or read slowly, beside one in a hurry."""

from __future__ import annotations

import asyncio
import socket

from benchmarks.compare.contenders import Contender
from benchmarks.compare.figures import share
from benchmarks.compare.group import Column, Found, Group
from benchmarks.compare.http import once
from benchmarks.compare.lab import running
from benchmarks.serving import Stage

CLIENTS = 200
READERS = 50
"""Fewer: each has megabytes of a response waiting."""
WARM_UP = 2.0
ASKED = 10
EVERY = 0.3
DRIP = 0.5
"""Seconds between two bytes of a slow client."""

HEAD = b"GET /hello HTTP/1.1\r\nHost: x\r\nX-A: "
BODY = b"POST /digest HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
READ = b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n"


def measure(stage: Stage, contender: Contender) -> Found:
    """With each kind of slow client."""
    cells = []
    for first, clients in ((HEAD, CLIENTS), (BODY, CLIENTS), (READ, READERS)):
        with running(stage, contender) as server:
            cells.append(asyncio.run(_beside(server.port, first, clients)))
    return Found(tuple(cells))


async def _beside(port: int, first: bytes, clients: int) -> str:
    slow = [asyncio.create_task(_slow(port, first)) for _ in range(clients)]
    await asyncio.sleep(WARM_UP)
    answers = []
    for _ in range(ASKED):
        answers.append(await once(port, "/hello", 1.0))
        await asyncio.sleep(EVERY)
    for task in slow:
        task.cancel()
    await asyncio.gather(*slow, return_exceptions=True)
    return share(sum(answer.status == 200 for answer in answers), len(answers))


async def _slow(port: int, first: bytes) -> None:
    """Send the beginning, then a byte at a time; or read a byte at a time, with the smallest buffers."""
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setblocking(False)
        if first is READ:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        try:
            await loop.sock_connect(client, ("127.0.0.1", port))
            await loop.sock_sendall(client, first)
            while True:
                await asyncio.sleep(DRIP)
                if first is READ:
                    await loop.sock_recv(client, 1)
                else:
                    await loop.sock_sendall(client, b"a")
        except OSError:
            pass  # the server has given this client up


GROUP = Group(
    "slow",
    "Slow clients",
    f"""{CLIENTS} clients send their header, or their body after a complete header, at two bytes a second; or {READERS}
    clients read a response of 8 MB at two bytes a second. Meanwhile {ASKED} quick requests come, each over a new
    connection; counted are those that get their response within a second.""",
    (
        Column("slow headers", f"Quick requests answered beside {CLIENTS} clients with slow headers"),
        Column("slow bodies", f"The same beside {CLIENTS} slow uploads"),
        Column("slow readers", f"The same beside {READERS} slow readers"),
    ),
    measure,
    together=True,
)
