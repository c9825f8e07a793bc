"""The servers that are compared, each with the options that a careful operator sets in production."""

from __future__ import annotations

import logging
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.environments import ROOT, InstallError, packages
from benchmarks.servers import APPLICATION, PEERS, THREADS, Command, Launch, Server, daphne, granian, gunicorn, hendrix
from benchmarks.servers import hurricane as hurricane_command
from benchmarks.servers import twistserve as twistserve_command

GRACE = 25
"""Seconds for requests in flight at the end, where a server has such an option."""
KEEP_ALIVE = 75
"""Seconds a connection may be idle: more than a proxy in front keeps it."""
TIMEOUT = 30
"""Seconds for a request, where a server has such an option and needs one to be run in production."""


logger = logging.getLogger("benchmarks")


@dataclass(frozen=True)
class Plan:
    """How a server is run here, and what it has."""

    name: str
    title: str
    package: str
    command: Command
    options: tuple[str, ...] = ()
    probe: str | None = None
    """The path of readiness on its probe port; None where the project's view takes its place."""
    deadline: str | None = None
    """The option that limits how long a request takes, with a place for seconds."""
    workers: bool = True
    """Whether it runs on several processes by itself."""
    scraped: tuple[str, ...] = ()
    """Options that let something be scraped, with a place for a port."""
    metrics: str = ""
    """The path of the metrics: on the port of `scraped`, or of its probes."""


@dataclass(frozen=True)
class Contender:
    """A server that is installed."""

    plan: Plan
    server: Server

    @property
    def name(self) -> str:
        return self.plan.name

    @property
    def version(self) -> str:
        return packages(self.server.bin)[self.plan.package].partition(" ")[0]

    def shown(self, scratch: Path) -> str:
        """Its command line for a reader to repeat."""
        words = replace(self.server, bin=Path()).words(8000, None, scratch)
        return re.sub(r"--probe-port=\d+", "--probe-port=8001", shlex.join(words).replace(f"{ROOT}/", ""))

    def with_options(self, *options: str) -> Contender:
        return replace(self, server=replace(self.server, options=(*self.server.options, *options)))

    def with_workers(self, number: int) -> Contender:
        return replace(self, server=replace(self.server, workers=number))


def uwsgi(launch: Launch) -> list[str]:
    """With its HTTP router, which is for clients that reach it directly, and with SIGTERM for a graceful end.

    --die-on-term would end at once, with the requests in flight.
    """
    return [
        *(str(launch.bin / "uwsgi"), f"--http=127.0.0.1:{launch.port}", "--http-keepalive", "--http-auto-chunked"),
        *("--http-manage-expect", f"--module={APPLICATION}", f"--processes={launch.workers}"),
        *(f"--threads={launch.threads}", "--master", "--need-app", "--single-interpreter", "--lazy-apps"),
        *("--hook-master-start=unix_signal:15 gracefully_kill_them_all", f"--harakiri={TIMEOUT}"),
        *(f"--worker-reload-mercy={GRACE}", "--buffer-size=65535"),
    ]


QUEUE = "--req-queue-len=10000"
"""Readiness must not fail because of the queue where its time is measured."""
PLANS = (
    Plan(
        *("twistserve", "twistserve", "twistserve", twistserve_command),
        options=(QUEUE, "--check-timeout=1", f"--graceful-timeout={GRACE}"),
        probe="/ready",
        deadline="--request-timeout={}",
        metrics="/metrics",
    ),
    Plan(
        *("gunicorn", "gunicorn", "gunicorn", gunicorn),
        options=(
            *(f"--timeout={TIMEOUT}", f"--graceful-timeout={GRACE}", f"--keep-alive={KEEP_ALIVE}"),
            "--no-control-socket",
        ),
        deadline="--timeout={}",
    ),
    Plan(
        *("uwsgi", "uWSGI", "uwsgi", uwsgi),
        deadline="--harakiri={}",
        scraped=("--stats=127.0.0.1:{}", "--stats-http"),
        metrics="/",
    ),
    Plan(
        *("granian", "Granian", "granian", granian),
        options=("--respawn-failed-workers", f"--workers-kill-timeout={GRACE}"),
        scraped=("--metrics", "--metrics-port={}", "--metrics-scrape-interval=1"),
        metrics="/metrics",
    ),
    Plan(
        *("hurricane", "Hurricane", "django-hurricane", hurricane_command),
        options=(QUEUE,),
        probe="/ready",
        workers=False,
        metrics="/metrics",
    ),
    Plan(
        *("daphne", "Daphne", "daphne", daphne),
        deadline="--http-timeout={}",
        workers=False,
    ),
    Plan("hendrix", "hendrix", "hendrix", hendrix, workers=False),
)
NAMES = tuple(plan.name for plan in PLANS)


def install(names: Sequence[str], environments: Path, ours: Server) -> list[Contender]:
    """The servers of these names, in the order of the tables, without those that cannot be installed."""
    found = []
    for plan in PLANS:
        if plan.name in names:
            try:
                found.append(Contender(plan, _installed(plan, environments, ours)))
            except InstallError as error:
                logger.warning("%s takes no part: it cannot be installed: %s", plan.title, error)
    return found


def _installed(plan: Plan, environments: Path, ours: Server) -> Server:
    if plan.command is twistserve_command:
        return replace(ours, name=plan.name, options=(*plan.options, *ours.options))
    peer = next(peer for peer in PEERS if peer.requirement == plan.package)
    server = peer.install(environments, ours.bin)
    return replace(server, name=plan.name, command=plan.command, threads=THREADS, options=plan.options, note="")
