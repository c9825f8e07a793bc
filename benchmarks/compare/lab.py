"""Servers that run, each on data of its own."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.compare.contenders import Contender
from benchmarks.compare.http import once
from benchmarks.processes import Tree, free_port
from benchmarks.projects import BENCH
from benchmarks.servers import environ
from benchmarks.serving import RefusedError, Stage

START_PATIENCE = 60.0
LOOK_EVERY = 0.02


@dataclass(frozen=True)
class Running:
    """A server that answers."""

    contender: Contender
    tree: Tree
    port: int
    probe_port: int | None
    directory: Path
    """Its data: a file called `hang` lets its readiness check hang."""
    start: float
    """Seconds until it answered."""

    @property
    def readiness(self) -> tuple[int, str]:
        """The port and the path that tell whether it is ready."""
        if self.probe_port is None or self.contender.plan.probe is None:
            return self.port, "/healthz"
        return self.probe_port, self.contender.plan.probe


@contextmanager
def running(stage: Stage, contender: Contender) -> Iterator[Running]:
    """Run a server during the block. Raises `RefusedError` if it does not answer."""
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        shutil.copy(stage.data / "db.sqlite3", directory)
        port = free_port()
        words = contender.server.words(port, None, directory)
        probe_ports = [int(word.partition("=")[2]) for word in words if word.startswith("--probe-port=")]
        output = directory / "output.txt"
        began = time.monotonic()
        tree = Tree(
            words,
            core=stage.cores_of(contender.server),
            cwd=BENCH.directory(stage.data),
            env=environ(directory, contender.server),
            output=output,
        )
        try:
            _wait(tree, port, output, contender.name)
            probe_port = probe_ports[0] if probe_ports else None
            yield Running(contender, tree, port, probe_port, directory, time.monotonic() - began)
        finally:
            with contextlib.suppress(ProcessLookupError):
                tree.end()


def _wait(tree: Tree, port: int, output: Path, name: str) -> None:
    deadline = time.monotonic() + START_PATIENCE
    while asyncio.run(once(port, "/hello", START_PATIENCE)).status != 200:
        if not tree.running or time.monotonic() > deadline:
            raise RefusedError(f"{name} does not answer: {output.read_text(errors='replace')[-800:]}")
        time.sleep(LOOK_EVERY)
