"""The clients, in a process of their own, so that nothing they do makes the samples late."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection

from benchmarks.soak import hostile, ordinary, upgraded
from benchmarks.soak.link import Link
from benchmarks.soak.tally import LostError, Tally, WrongError

VISITORS = 24
"""Clients that keep their connections."""
SLEEPERS = 4
"""Clients that keep them for seconds between two requests."""
KEEPS = (1, 1, 5, 30, 300)
"""Requests on one connection, at most."""
PATIENCE = 40.0
"""Seconds after which a client counts its request as lost."""
LONG = 15.0
"""Seconds from which on everything is done."""
MOST_AT_ONCE = 200
"""Clients of one kind that need a connection of their own."""
HTTP2_CLIENTS = 3
SOCKETS = 3
NICENESS = 5


@dataclass(frozen=True)
class Plan:
    """What the clients do."""

    port: int
    tls_port: int | None
    seconds: float
    rate: float
    """Requests a second of those who keep connections."""
    leaks: bool
    """Whether to call the view that leaks memory."""
    sockets: bool


def run(plan: Plan, results: Connection) -> None:
    """What the process does: be the clients, and send their tally."""
    # Ctrl-C is for the parent, which ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICENESS)
    results.send(asyncio.run(drive(plan)))


async def drive(plan: Plan) -> Tally:
    """Be all clients for as long as planned."""
    tally, until = Tally(), time.monotonic() + plan.seconds
    alone = {**ordinary.ALONE, **(ordinary.LEAKING if plan.leaks else {})}
    annoying = dict(hostile.DOES)
    if plan.seconds < LONG:
        # They take longer than such a short run.
        del alone[ordinary.hang], annoying[hostile.never_reads]
    async with asyncio.TaskGroup() as clients:
        for _ in range(VISITORS):
            clients.create_task(_visit(plan, tally, until, VISITORS / plan.rate))
        for _ in range(SLEEPERS):
            clients.create_task(_visit(plan, tally, until, 3.0))
        for ask, rate in alone.items():
            clients.create_task(_again(partial(_alone, plan.port, ask, tally), rate, until))
        for do, (rate, expected) in annoying.items():
            clients.create_task(_again(partial(_annoy, plan.port, do, expected, tally), rate, until))
        if plan.tls_port is not None:
            for _ in range(HTTP2_CLIENTS):
                clients.create_task(upgraded.http2(plan.tls_port, tally, until))
        if plan.sockets:
            for _ in range(SOCKETS):
                clients.create_task(upgraded.websockets(plan.port, tally, until))
    return tally


async def _visit(plan: Plan, tally: Tally, until: float, pause: float) -> None:
    """Ask now and then, over connections that are kept."""
    asks, weights = list(ordinary.KEPT), list(ordinary.KEPT.values())
    link: Link | None = None
    left = 0
    while time.monotonic() < until:
        await asyncio.sleep(min(random.expovariate(1 / pause), 4.0))
        [ask] = random.choices(asks, weights)
        try:
            if link is None or not link.usable or not left:
                if link is not None:
                    link.close()
                link, left = await Link.open(plan.port), random.choice(KEEPS)
            left -= 1
            if not await _count(ask, link, tally):
                link.close()
                link = None
        except OSError as error:
            tally.note("connect", LostError(repr(error)))
    if link is not None:
        link.close()


async def _count(ask: ordinary.Ask, link: Link, tally: Tally) -> bool:
    """Ask, and count what becomes of it; whether the connection can be used further."""
    kind = ask.__name__.replace("_", " ")
    try:
        async with asyncio.timeout(PATIENCE):
            await ask(link)
    except (LostError, WrongError) as error:
        tally.note(kind, error)
    except (OSError, EOFError, ValueError, TimeoutError) as error:
        tally.note(kind, LostError(repr(error)))
    else:
        tally.note(kind)
        return True
    return False


async def _alone(port: int, ask: ordinary.Ask, tally: Tally) -> None:
    """Ask over a new connection; who reads slowly has a small buffer in the kernel."""
    try:
        link = await Link.open(port, buffer=16384 if ask is ordinary.slow_stream else 0)
    except OSError as error:
        tally.note("connect", LostError(repr(error)))
        return
    await _count(ask, link, tally)
    link.close()


async def _annoy(port: int, do: hostile.Do, expected: frozenset[str], tally: Tally) -> None:
    kind = do.__name__.replace("_", " ")
    try:
        link = await Link.open(port)
    except OSError as error:
        tally.note("connect", LostError(repr(error)))
        return
    try:
        async with asyncio.timeout(PATIENCE):
            met = await do(link)
    except (OSError, EOFError):
        met = hostile.RESET
    except TimeoutError:
        met = "nothing"
    finally:
        link.close()
    tally.note_hostile(kind, met, met in expected)


async def _again(act: Callable[[], Coroutine[None, None, None]], rate: float, until: float) -> None:
    """Do something so often a second, each time for itself, and wait for all."""
    running: set[asyncio.Task[None]] = set()
    async with asyncio.TaskGroup() as tasks:
        while (left := until - time.monotonic()) > 0:
            await asyncio.sleep(min(random.expovariate(rate), left))
            if len(running) < MOST_AT_ONCE:
                task = tasks.create_task(act())
                running.add(task)
                task.add_done_callback(running.discard)
