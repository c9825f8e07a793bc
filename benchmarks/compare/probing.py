"""Readiness while all threads are busy, and while its check hangs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from benchmarks.compare.contenders import Contender
from benchmarks.compare.figures import duration, percentile, share
from benchmarks.compare.group import Column, Found, Group
from benchmarks.compare.http import Answer, once
from benchmarks.compare.lab import Running, running
from benchmarks.compare.load import load
from benchmarks.serving import Stage

CLIENTS = 32
"""More than any server here has threads."""
WARM_UP = 3.0
ASKED = 20
EVERY = 0.5
"""Seconds from one question to the next, whether it has a response or not."""
PATIENCE = 10.0

PERIOD = 2.0
"""periodSeconds of a probe whose check hangs."""
TIMEOUT = 2.0
"""timeoutSeconds of it."""
HUNG_FOR = 24.0
"""Seconds; the check hangs for longer."""
USERS_EVERY = 0.25
USERS_PATIENCE = 5.0


def waiting(stage: Stage, contender: Contender) -> Found:
    """Ask readiness while all threads wait."""
    return _under_load(stage, contender, "/wait")


def computing(stage: Stage, contender: Contender) -> Found:
    """Ask readiness while all threads compute."""
    return _under_load(stage, contender, "/compute")


def _under_load(stage: Stage, contender: Contender, target: str) -> Found:
    with running(stage, contender) as server:
        return Found(shown(asyncio.run(_asked_under_load(server, target))))


def shown(answers: Sequence[Answer]) -> tuple[str, ...]:
    """The 95th percentile, the longest, and how many came within a second, which Kubernetes waits by default."""
    took = [answer.seconds for answer in answers]
    longest = f"{'over ' if any(one.status is None for one in answers) else ''}{duration(max(took))}"
    return duration(percentile(took, 0.95)), longest, share(sum(one.within(1) for one in answers), len(answers))


async def _asked_under_load(server: Running, target: str) -> list[Answer]:
    async with load(server.port, target, CLIENTS):
        await asyncio.sleep(WARM_UP)
        return await _asked(*server.readiness, ASKED, EVERY, PATIENCE)


async def _asked(port: int, target: str, number: int, every: float, patience: float) -> list[Answer]:
    """Ask so many times at these intervals."""
    asking = []
    for _ in range(number):
        asking.append(asyncio.create_task(once(port, target, patience)))
        await asyncio.sleep(every)
    return await asyncio.gather(*asking)


def hung(stage: Stage, contender: Contender) -> Found:
    """Let the check hang, and ask on."""
    with running(stage, contender) as server:
        (server.directory / "hang").touch()
        probed, users = asyncio.run(_hung(server))
    late = [one for one in users if not one.within(1)]
    return Found(
        (
            share(sum(one.within(TIMEOUT) for one in probed), len(probed)),
            share(len(users) - len(late), len(users)),
        )
    )


async def _hung(server: Running) -> tuple[list[Answer], list[Answer]]:
    async def kubelet() -> list[Answer]:
        answers, began = [], time.monotonic()
        while time.monotonic() < began + HUNG_FOR:
            answers.append(await once(*server.readiness, TIMEOUT))
            await asyncio.sleep(max(0.0, PERIOD - answers[-1].seconds))
        return answers

    users = _asked(server.port, "/hello", round(HUNG_FOR / USERS_EVERY), USERS_EVERY, USERS_PATIENCE)
    probed, asked = await asyncio.gather(kubelet(), users)
    return probed, asked


HOW = f"""Meanwhile a probe asks for readiness {ASKED} times, every {EVERY:g} s, each time over a new connection: on the
probe port of twistserve and Hurricane, and of the others at the view `/healthz` on the web port, which asks the
database. Counted are the responses within a second, which is how long Kubernetes waits by default. The probe gives up
after {PATIENCE:g} s."""


WAITING = Group(
    "waiting",
    "Probes while all threads wait",
    f"""{CLIENTS} clients request a view that waits 2 s, as if for a slow database, and so keep all threads busy. {HOW}
    Daphne has a thread for each request, so no request waits for one.""",
    (
        Column("p95"),
        Column("longest"),
        Column("within 1 s", "Readiness answers within a second while all threads wait"),
    ),
    waiting,
    together=True,
)
COMPUTING = Group(
    "computing",
    "Probes while all threads compute",
    f"""{CLIENTS} clients request a view that computes for 10 ms in Python. {HOW}""",
    (Column("p95", "Readiness while all threads compute, p95"), Column("longest"), Column("within 1 s")),
    computing,
)
HUNG = Group(
    "hung",
    "A check that hangs",
    f"""The readiness check, or the query of `/healthz`, hangs for 30 s, like a database behind a dead network. For
    {HUNG_FOR:g} s a probe asks for readiness every {PERIOD:g} s with `timeoutSeconds: {TIMEOUT:g}`, and a client
    requests a view that needs no database {1 / USERS_EVERY:g} times a second. A probe that reports the failure in time
    counts as answered. twistserve runs with `--check-timeout=1`. On the web port each hanging probe occupies a thread:
    after eight probes none of eight threads is left.""",
    (
        Column("readiness told in time", "A check that hangs: its probe answers in time"),
        Column("others answered within 1 s", "A check that hangs: other requests are answered within a second"),
    ),
    hung,
    together=True,
)
