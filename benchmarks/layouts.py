"""The cores for servers, wrk and PostgreSQL, and the number of workers and threads of each server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Layout:
    """A way to share out two cores."""

    name: str
    description: str
    """Printed in reports."""
    shared: bool = True
    """Whether everything runs on both cores; otherwise the server has one to itself."""
    workers: int = 1
    threads: int = 8
    """Request threads of each worker of the other servers; twistserve always has eight."""

    def server_cores(self, cores: Sequence[int]) -> tuple[int, ...]:
        """The cores for a server, given all cores of the machine, at least two."""
        return tuple(cores[:2] if self.shared else cores[:1])

    def load_cores(self, cores: Sequence[int]) -> tuple[int, ...]:
        """The cores for wrk and PostgreSQL, likewise."""
        return tuple(cores[:2] if self.shared else cores[1:2])


ONE_CORE = Layout(
    "one-core",
    "One process a server, all on one core, driven by wrk from another core, where PostgreSQL runs too.",
    shared=False,
)
TWO_CORES = Layout("two-cores", "One process a server, all on the same two cores, with wrk and PostgreSQL.")
TWO_WORKERS = Layout(
    "two-workers",
    "Two workers a server, all on the same two cores, with wrk and PostgreSQL. twistserve has eight threads in each,"
    " the others have four where their name does not say otherwise.",
    workers=2,
    threads=4,
)

LAYOUTS = {layout.name: layout for layout in (ONE_CORE, TWO_CORES, TWO_WORKERS)}
ONE_PROCESS = (ONE_CORE, TWO_CORES)
