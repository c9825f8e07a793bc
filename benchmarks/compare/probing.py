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


def under_load(stage: Stage, contender: Contender) -> Found:
    """Ask readiness under two loads."""
    cells: list[str] = []
    for target in ("/wait", "/compute"):
        with running(stage, contender) as server:
            cells += shown(asyncio.run(_under_load(server, target)))
    return Found(tuple(cells))


def shown(answers: Sequence[Answer]) -> tuple[str, str]:
    """P95 and the longest, and how many came within a second, which is what Kubernetes waits by default."""
    took = [answer.seconds for answer in answers]
    longest = f"{'over ' if any(one.status is None for one in answers) else ''}{duration(max(took))}"
    return f"{duration(percentile(took, 0.95))}, {longest}", share(sum(one.within(1) for one in answers), len(answers))


async def _under_load(server: Running, target: str) -> list[Answer]:
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


UNDER_LOAD = Group(
    "probes",
    "Probes under load",
    f"""{CLIENTS} clients keep all threads busy, with a view that waits 2 s and with one that computes 10 ms. Readiness
    is asked {ASKED} times, every {EVERY:g} s, over a new connection: on the probe port of twistserve and Hurricane,
    otherwise by the view `/healthz`, which asks the database, on the web port. p95, the longest, and how many
    responses came within a second, which is how long Kubernetes waits by default. No question waits longer than
    {PATIENCE:g} s. Daphne has a thread for each request, so none waits for one.""",
    (
        Column("views wait: p95, longest"),
        Column("within 1 s", "Readiness answers within a second while all threads wait"),
        Column("views compute: p95, longest"),
        Column("within 1 s", "The same while they compute"),
    ),
    under_load,
)
HUNG = Group(
    "hung",
    "A check that hangs",
    f"""The readiness check, or what `/healthz` asks, hangs for 30 s, as a database behind a dead network does. For
    {HUNG_FOR:g} s readiness is asked every {PERIOD:g} s with `timeoutSeconds: {TIMEOUT:g}`, and a view that needs
    no database {1 / USERS_EVERY:g} times a second. A failure that is told in time counts as told. twistserve runs
    with `--check-timeout=1`.""",
    (
        Column("readiness told in time", "A check that hangs: its probe answers in time"),
        Column("others answered within 1 s", "A check that hangs: other requests are answered within a second"),
    ),
    hung,
    together=True,
)
