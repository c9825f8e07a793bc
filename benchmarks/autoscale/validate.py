"""A simulated pod beside a real server: the example, asked at times that do not depend on its answers."""

from __future__ import annotations

import asyncio
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.autoscale.measure import OTHER_CORE, served
from benchmarks.autoscale.measured import DETAIL, LIST, SLOW
from benchmarks.autoscale.profile import poisson, serve
from benchmarks.report import plain_table
from benchmarks.starting import example

SECONDS = 6
LOADS = (0.3, 0.5, 0.7, 0.85)
"""Shares of the greatest rate of the simulated pod."""
WARM_UP = 0.1
"""The share of the first requests that do not count."""
MIXES = {
    "SQLite": (("/", LIST), ("/books/1/", DETAIL)),
    "a third slow, SQLite": (("/", LIST), ("/books/1/", DETAIL), ("/slow/?seconds=0.2", SLOW)),
}
"""Paths, and what the simulation takes for them."""
SIMULATED = 20_000
"""Requests."""


def main(rounds: int) -> str:
    """The table: of so many rounds the one with the lowest p99, since whatever disturbs a server makes it slower."""
    os.sched_setaffinity(0, {OTHER_CORE})
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        programs = Path(sys.executable).parent
        directory = example(programs, Path(scratch)).directory
        with served(programs, directory, "bookshop.settings") as (_, port):
            for name, mix in MIXES.items():
                paths, requests = zip(*mix, strict=True)
                chance = random.Random(1)
                most = SIMULATED / serve([0.0] * SIMULATED, requests, chance).seconds
                for load in LOADS:
                    rate = load * most
                    model = quantiles(serve(poisson(rate, SIMULATED, chance), requests, chance).responses)
                    real = [quantiles(asyncio.run(ask(port, paths, rate, chance))) for _ in range(rounds)]
                    p50, p99 = min(real, key=lambda each: each[1])
                    figures = (p50, model[0], p99, model[1])
                    rows.append((name, f"{load:.0%}", f"{rate:,.0f}", *(f"{1000 * each:.1f}" for each in figures)))
    columns = ("requests", "load", "requests/s", "p50, ms", "simulated", "p99, ms", "simulated")
    return plain_table(columns, rows)


def quantiles(responses: list[float]) -> tuple[float, float]:
    """Median and p99."""
    ordered = sorted(responses)
    return ordered[len(ordered) // 2], ordered[int(0.99 * len(ordered))]


async def ask(port: int, paths: Sequence[str], rate: float, chance: random.Random) -> list[float]:
    """Seconds from the time at which each request should have been sent until its response is complete."""
    free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    seconds: list[float] = []

    async def one(planned: float, path: str) -> None:
        reader, writer = free.pop() if free else await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        await reader.readexactly(int(length.partition(b":")[2]))
        seconds.append(time.monotonic() - planned)
        free.append((reader, writer))

    times = poisson(rate, round(rate * SECONDS), chance)
    began = time.monotonic() + 0.1
    tasks = []
    for at in times:
        delay = began + at - time.monotonic()
        if delay > 0:
            await asyncio.sleep(delay)
        tasks.append(asyncio.create_task(one(began + at, chance.choice(paths))))
    await asyncio.gather(*tasks)
    for _, writer in free:
        writer.close()
    return seconds[round(WARM_UP * len(seconds)) :]
