"""Memory of one process and of two workers, and how soon a server answers."""

from __future__ import annotations

import asyncio
import time

from benchmarks.compare.contenders import Contender
from benchmarks.compare.figures import duration
from benchmarks.compare.group import Column, Found, Group
from benchmarks.compare.http import Client, connect
from benchmarks.compare.lab import running
from benchmarks.processes import pss
from benchmarks.serving import Stage

CLIENTS = 8
REQUESTS = 600
"""For each worker."""
SETTLED = 1.0


def measure(stage: Stage, contender: Contender) -> Found:
    """With one worker, then with two where the server has workers."""
    with running(stage, contender) as server:
        one, start = _after_requests(server.port, server.tree.pid, 1), server.start
    if not contender.plan.workers:
        return Found((f"{one:.0f} MiB", "one process only", duration(start)))
    with running(stage, contender.with_workers(2)) as server:
        two = _after_requests(server.port, server.tree.pid, 2)
    return Found((f"{one:.0f} MiB", f"{two:.0f} MiB", duration(start)))


def _after_requests(port: int, pid: int, workers: int) -> float:
    asyncio.run(_ask(port, REQUESTS * workers))
    time.sleep(SETTLED)
    return pss(pid)


async def _ask(port: int, number: int) -> None:
    async def ask(times: int) -> None:
        client: Client | None = None
        for _ in range(times):
            client = client or await connect(port)
            if not (await client.ask("/page")).persistent:
                client.close()
                client = None
        if client:
            client.close()

    await asyncio.gather(*(ask(number // CLIENTS) for _ in range(CLIENTS)))


GROUP = Group(
    "memory",
    "Memory and start",
    f"""The proportional set size (PSS) of all processes of the server together, including parents and routers, after
    {REQUESTS} template pages for each worker: with one worker or process, and with two. Nothing is preloaded:
    twistserve and gunicorn could share memory with `--preload`, Granian has no such option, and uWSGI runs with
    `--lazy-apps`. The start is the time from starting the program until the first response, measured once.""",
    (
        Column("one worker", "Memory of one worker"),
        Column("two workers", "Memory of two workers"),
        Column("start"),
    ),
    measure,
)
