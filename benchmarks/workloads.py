"""What is asked of every server, and the files it takes."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Workload:
    """One kind of request, repeated."""

    name: str
    title: str
    path: str
    method: str = "GET"
    upload: int = 0
    """Bytes sent with each request."""
    static: int = 0
    """Bytes of the static file it is, or 0 where Django answers."""

    def lua(self) -> str:
        """wrk's script for it."""
        return f'wrk.method = "{self.method}"\nwrk.body = string.rep("x", {self.upload})\n'


WORKLOADS = (
    Workload("hello", "Hello: a text of 13 bytes", "/hello"),
    Workload("page", "Template page: 50 rows, 15 KB", "/page"),
    Workload("body100k", "Body of 100 KB", "/body100k"),
    Workload("db", "Database: a row from SQLite", "/db"),
    Workload("stream", "Streamed response: 100 blocks of 1 KB", "/stream"),
    Workload("upload", "Upload of 1 MB", "/upload", method="POST", upload=1024 * 1024),
    Workload("static10k", "Static file of 10 KB", "/static/10k.css", static=10 * 1024),
    Workload("static10m", "Static file of 10 MB", "/static/10m.bin", static=10 * 1024 * 1024),
)


def write_static_files(root: Path) -> None:
    """Write the files of the static workloads, the same bytes each time."""
    root.mkdir(parents=True, exist_ok=True)
    for workload in WORKLOADS:
        if workload.static:
            file = root / Path(workload.path).name
            file.write_bytes(random.Random(workload.name).randbytes(workload.static))
