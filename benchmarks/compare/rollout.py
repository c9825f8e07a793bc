"""Requests that are lost while an instance is replaced by another."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter

from benchmarks.compare.contenders import Contender
from benchmarks.compare.group import Column, Found, Group
from benchmarks.compare.http import FIELDS, Client, connect
from benchmarks.compare.lab import running
from benchmarks.processes import Tree
from benchmarks.serving import Stage

CLIENTS = 16
"""Half of them keep their connections, as a proxy does; the others open one for each request."""
PAUSE = 0.02
"""Seconds between a response and the client's next request."""
BEFORE = 2.0
"""Seconds of load before the instance is told to end."""
LAG = 1.0
"""Seconds for which new connections still go to the ending instance: the cluster learns of the end when it does."""
HOOK = 2.0
"""Seconds of the preStop hook."""
AFTER = 4.0
"""Seconds of load after SIGTERM."""
PATIENCE = 10.0
SLOW = 8
"""One of so many requests takes a second, the others 20 ms."""


class Rollout:
    """The clients of two instances, of which the first is replaced by the second."""

    def __init__(self, old: int, new: int) -> None:
        self.target = old
        self.new = new
        self.asked = 0
        self.lost: Counter[str] = Counter()
        self.ended = False
        self._numbers = itertools.count()

    async def run(self, tree: Tree, hook: float) -> None:
        """Load both, replacing the first."""
        clients = [asyncio.create_task(self._client(kept=bool(number % 2))) for number in range(CLIENTS)]
        await asyncio.sleep(BEFORE)
        began = time.monotonic()
        steps = sorted([(LAG, self._switch), (hook, tree.terminate)], key=lambda step: step[0])
        for after, step in steps:
            await asyncio.sleep(max(0.0, began + after - time.monotonic()))
            step()
        await asyncio.sleep(max(0.0, began + hook + AFTER - time.monotonic()))
        self.ended = True
        await asyncio.gather(*clients)

    def _switch(self) -> None:
        self.target = self.new

    async def _client(self, *, kept: bool) -> None:
        pool: list[Client] = []
        fields = FIELDS if kept else f"{FIELDS}Connection: close\r\n"
        while not self.ended:
            seconds = 1.0 if next(self._numbers) % SLOW == 0 else 0.02
            self.asked += 1
            try:
                async with asyncio.timeout(PATIENCE):
                    client = await self._connection(pool)
                    response = await client.ask(f"/wait?seconds={seconds}", fields=fields)
                if response.status != 200:
                    self.lost[str(response.status)] += 1
                if kept and response.persistent:
                    pool.append(client)
                else:
                    client.close()
            except (OSError, EOFError, ValueError) as error:
                self.lost[reason(error)] += 1
            await asyncio.sleep(PAUSE)

    async def _connection(self, pool: list[Client]) -> Client:
        """The kept one, unless the server has closed it."""
        if pool:
            kept = pool.pop()
            if not kept.stale:
                return kept
            kept.close()
        return await connect(self.target)


def reason(error: Exception) -> str:
    """In two words."""
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    if isinstance(error, TimeoutError):
        return "no response"
    return "reset" if isinstance(error, OSError) else "closed"


def measure(stage: Stage, contender: Contender) -> Found:
    """Replace an instance, without a preStop hook and with one."""
    cells, details = [], []
    for hook in (0.0, HOOK):
        delayed = contender
        if contender.name == "twistserve" and not hook:
            delayed = contender.with_options(f"--drain-delay={HOOK:g}")
        with running(stage, delayed) as old, running(stage, contender) as new:
            rollout = Rollout(old.port, new.port)
            asyncio.run(rollout.run(old.tree, hook))
        cells.append(f"{rollout.lost.total()} of {rollout.asked:,}")
        if rollout.lost:
            reasons = ", ".join(f"{number} {word}" for word, number in rollout.lost.most_common())
            details.append(f"{'with the hook' if hook else 'without a hook'}: {reasons}")
    return Found(tuple(cells), tuple(details))


GROUP = Group(
    "rollout",
    "Requests lost in a roll-out",
    f"""There are two instances. {CLIENTS} clients send requests to the first, half of them over kept connections, which
    they check before each use. One request in eight takes a second. The first instance gets SIGTERM. New connections go
    to it for another second, which a cluster takes to tell its proxies, and then to the second instance. No request is
    sent twice. The same again with a preStop hook that sleeps {HOOK:g} s before SIGTERM. Without the hook twistserve
    has `--drain-delay={HOOK:g}`, which is 5 by default inside Kubernetes; the others have no such option.""",
    (
        Column("without a hook", "Requests lost in a roll-out"),
        Column(f"with a preStop hook of {HOOK:g} s", "The same with a preStop hook that sleeps"),
    ),
    measure,
)
