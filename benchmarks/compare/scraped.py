"""What Prometheus or another program can read of a server, without code in the project."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks.compare.contenders import Contender
from benchmarks.compare.group import NONE, Column, Found, Group
from benchmarks.compare.http import connected
from benchmarks.compare.lab import running
from benchmarks.processes import free_port
from benchmarks.serving import Stage

REQUESTS = 20
SETTLED = 2.5
"""Seconds until servers that collect at intervals have counted the requests."""
RUNTIME = ("python_", "process_")
"""What prometheus_client has of every program."""

TIME = re.compile("duration|latency|seconds|time")


@dataclass(frozen=True)
class Exposed:
    """What was found in a text for Prometheus."""

    families: int
    """Of the server's own."""
    durations: bool
    """Whether how long requests take is there as a histogram."""


def measure(stage: Stage, contender: Contender) -> Found:
    """Ask for some pages, and scrape."""
    plan, port = contender.plan, free_port()
    if not plan.metrics:
        return Found((NONE, NONE))
    scraping = contender.with_options(*(option.format(port) for option in plan.scraped))
    with running(stage, scraping) as server:
        body = asyncio.run(_scraped(server.port, port if plan.scraped else server.probe_port or port, plan.metrics))
    if body.startswith("{"):
        return Found((f"JSON, {len(set(keys(json.loads(body))))} names", NONE))
    found = exposed(body)
    return Found((f"Prometheus, {found.families} families", "yes" if found.durations else NONE))


async def _scraped(port: int, metrics_port: int, path: str) -> str:
    async with connected(port) as client:
        for _ in range(REQUESTS):
            if not (await client.ask("/hello")).persistent:
                break
    await asyncio.sleep(SETTLED)
    async with connected(metrics_port) as client:
        return (await client.ask(path)).body.decode()


def exposed(text: str) -> Exposed:
    """Read the text of an exposition."""
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    own = {name: kind for name, kind in types.items() if not name.startswith(RUNTIME) and not name.endswith("_created")}
    durations = any(
        kind == "histogram" and re.search("duration|latency|seconds|time", name) for name, kind in own.items()
    )
    return Exposed(len(own), durations)


def keys(value: object) -> Iterable[str]:
    """The names of all values in JSON."""
    if isinstance(value, dict):
        for name, below in value.items():
            yield from keys(below) if isinstance(below, (dict, list)) else (name,)
    elif isinstance(value, list):
        for below in value:
            yield from keys(below)


GROUP = Group(
    "metrics",
    "Metrics without code in the project",
    """What can be scraped after some requests; uWSGI has `--stats` and Granian `--metrics` for that. Families about the
    Python runtime (`python_`, `process_`) do not count. gunicorn can instead send figures to a StatsD server
    (`--statsd-host`), including the durations of requests. With django-prometheus in the project, every server has
    metrics of Django.""",
    (
        Column("scraped", "Metrics, without code in the project"),
        Column("durations of requests", "Durations of requests as a histogram"),
    ),
    measure,
    together=True,
)
