"""SIGTERM while a request runs."""

from __future__ import annotations

import asyncio
import signal
import time

from benchmarks.compare.contenders import Contender
from benchmarks.compare.figures import duration
from benchmarks.compare.group import Column, Found, Group
from benchmarks.compare.http import Client, connected
from benchmarks.compare.lab import Running, running
from benchmarks.serving import Stage

RUNS = 3.0
"""Seconds the request takes."""
BEFORE = 0.5
"""Seconds of it before SIGTERM."""
PATIENCE = 30.0
LOOK_EVERY = 0.01


def measure(stage: Stage, contender: Contender) -> Found:
    """End a server."""
    with running(stage, contender) as server:
        return asyncio.run(_ended(server))


async def _ended(server: Running) -> Found:
    async with connected(server.port) as busy, connected(server.port) as idle:
        await idle.ask("/hello")
        asking = asyncio.create_task(_finished(busy))
        await asyncio.sleep(BEFORE)
        server.tree.terminate()
        began = time.monotonic()
        closing = asyncio.create_task(_closed(idle))
        while server.tree.status is None and time.monotonic() < began + PATIENCE:
            await asyncio.sleep(LOOK_EVERY)
        took, status = time.monotonic() - began, server.tree.status
        finished, closed = await asking, await closing
    ended = f"{status_text(status)} after {duration(took)}" if status is not None else f"not in {PATIENCE:g} s"
    return Found((finished, ended, f"after {duration(closed - began)}"))


def status_text(status: int) -> str:
    """As a container's exit code is: a signal is told by its name."""
    return f"status {status}" if status >= 0 else signal.Signals(-status).name


async def _finished(client: Client) -> str:
    try:
        async with asyncio.timeout(PATIENCE):
            response = await client.ask(f"/wait?seconds={RUNS:g}")
            if not response.persistent:
                client.close()
    except (OSError, EOFError, ValueError):
        return "no"
    return "yes" if response.status == 200 else f"no: {response.status}"


async def _closed(client: Client) -> float:
    try:
        async with asyncio.timeout(PATIENCE):
            await client.reader.read()
    except OSError:
        pass
    return time.monotonic()


GROUP = Group(
    "drain",
    "The drain",
    f"""The server gets SIGTERM half a second into a request of {RUNS:g} s, while another connection is idle. The table
    shows whether the response was complete, the server's exit status and how long after SIGTERM it ended, and when the
    idle connection was closed.""",
    (
        Column("the request is finished", "SIGTERM: the request in flight is finished"),
        Column("the server ends", "SIGTERM: exit status, and when"),
        Column("idle connection closed"),
    ),
    measure,
    together=True,
)
