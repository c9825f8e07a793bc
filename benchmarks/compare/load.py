"""Clients that keep a server busy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from benchmarks.compare.http import Client, connect

PAUSE = 0.05
"""Seconds after a failure, so that a refusing server is not flooded."""


@asynccontextmanager
async def load(port: int, target: str, clients: int) -> AsyncIterator[None]:
    """During the block, so many clients each ask again as soon as they have a response, over kept connections."""
    tasks = [asyncio.create_task(_ask_again(port, target)) for _ in range(clients)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _ask_again(port: int, target: str) -> None:
    client: Client | None = None
    try:
        while True:
            try:
                client = client or await connect(port)
                if not (await client.ask(target)).persistent:
                    client.close()
                    client = None
            except (OSError, EOFError, ValueError):
                if client is not None:
                    client.close()
                client = None
                await asyncio.sleep(PAUSE)
    finally:
        if client is not None:
            client.close()
