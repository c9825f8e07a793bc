"""A view that hangs, where the server has an option against that."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from benchmarks.compare.contenders import Contender
from benchmarks.compare.figures import duration, share
from benchmarks.compare.group import NONE, Column, Found, Group
from benchmarks.compare.http import FIELDS, Answer, connected, once
from benchmarks.compare.lab import running
from benchmarks.serving import Stage

DEADLINE = 3
"""Seconds, by the server's option."""
HANGS = 20.0
NEIGHBOURS = 4
LATER = 1.5
"""Seconds after which the neighbours are asked: they run while the deadline passes."""
NEIGHBOURS_TAKE = 2.5
"""Seconds: less than the deadline."""
OTHERS = 40
OTHERS_EVERY = 0.2
OTHERS_PATIENCE = 3.0
PATIENCE = 9.0


@dataclass(frozen=True)
class Seen:
    """What the clients saw."""

    alone: str
    hung: str
    neighbours: list[Answer]
    others: list[Answer]


def measure(stage: Stage, contender: Contender) -> Found:
    """Let a view hang."""
    option = contender.plan.deadline
    limited = contender.with_options(option.format(DEADLINE)) if option else contender
    with running(stage, limited) as server:
        alone = asyncio.run(_hung(server.port))
    with running(stage, limited) as server:
        seen = asyncio.run(_seen(server.port, alone))
    return Found(
        (
            f"`{option.format(DEADLINE)}`" if option else NONE,
            seen.alone,
            seen.hung,
            share(sum(one.status == 200 for one in seen.neighbours), NEIGHBOURS),
            share(sum(one.status == 200 for one in seen.others), OTHERS),
        )
    )


async def _seen(port: int, alone: str) -> Seen:
    hung = asyncio.create_task(_hung(port))
    others = asyncio.create_task(_others(port))
    await asyncio.sleep(LATER)
    target = f"/wait?seconds={NEIGHBOURS_TAKE:g}"
    neighbours = await asyncio.gather(*(once(port, target, PATIENCE) for _ in range(NEIGHBOURS)))
    return Seen(alone, await hung, neighbours, await others)


async def _hung(port: int) -> str:
    began = time.monotonic()
    try:
        async with asyncio.timeout(PATIENCE), connected(port) as client:
            fields = f"{FIELDS}Connection: close\r\n"
            status = (await client.ask(f"/wait?seconds={HANGS:g}", fields=fields)).status
            return f"{status} after {duration(time.monotonic() - began)}"
    except TimeoutError:
        return f"nothing in {PATIENCE:g} s"
    except (OSError, EOFError):
        return f"closed after {duration(time.monotonic() - began)}"


async def _others(port: int) -> list[Answer]:
    asking = []
    for _ in range(OTHERS):
        asking.append(asyncio.create_task(once(port, "/hello", OTHERS_PATIENCE)))
        await asyncio.sleep(OTHERS_EVERY)
    return await asyncio.gather(*asking)


GROUP = Group(
    "deadlines",
    "A view that hangs",
    f"""A view hangs for {HANGS:g} s, and the server's option against that is set to {DEADLINE} s; first alone, then
    with neighbours: {NEIGHBOURS} requests of {NEIGHBOURS_TAKE:g} s each begin half-way and so run while the deadline
    passes, and a quick request comes five times a second for {OTHERS * OTHERS_EVERY:g} s. The table shows what the
    client of the hanging view gets, and how many of the neighbours and of the quick requests get their responses.
    gunicorn's `--timeout` does not apply to a request of a gthread worker, but to the silence of the worker. uWSGI's
    harakiri kills the worker with all of its requests, but in a worker with threads each response postpones it. The
    client learns of it if it has sent `Connection: close`, as here; over a kept connection it waits for
    `--http-timeout`.""",
    (
        Column("option"),
        Column("alone", "A view that hangs alone: what its client gets"),
        Column("with neighbours", "A view that hangs beside others: what its client gets"),
        Column("neighbours answered", "A view that hangs: its neighbours are answered"),
        Column("quick ones answered"),
    ),
    measure,
    together=True,
)
