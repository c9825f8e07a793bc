"""What is asked of every server, and the files it takes."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.projects import BENCH, WAGTAIL, Project

BROWSER = {
    "Connection": "keep-alive",
    "Cache-Control": "max-age=0",
    "sec-ch-ua": '"Chromium";v="140", "Not=A?Brand";v="24"',
    "sec-ch-ua-mobile": "?0",
    "sec-ch-ua-platform": '"Linux"',
    "Upgrade-Insecure-Requests": "1",
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8",
    "Sec-Fetch-Site": "same-origin",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-User": "?1",
    "Sec-Fetch-Dest": "document",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Accept-Language": "en-GB,en;q=0.9,de;q=0.8",
    "Cookie": "csrftoken=6mFrQ3LmZ0yJp9sWc2Vb8nXk4tHd1gEa; sessionid=q8w1z7c5x3v9b2n4m6k0j8h5g3f1d7s9",
}
"""What a browser sends: with Host, which wrk adds, sixteen header fields."""


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
    headers: dict[str, str] = field(default_factory=dict)
    """Header fields in addition to Host."""
    postgresql: bool = False
    """Whether the project's database is PostgreSQL instead of SQLite."""
    project: Project = BENCH
    varying: str = ""
    """What differs from response to response, as a regular expression: left out when responses are compared."""
    longer: int = 1
    """Factor for the length of a round: a short round would count hardly any slow responses."""

    @property
    def scripted(self) -> bool:
        """Whether wrk needs a script."""
        return bool(self.upload or self.headers)

    def lua(self) -> str:
        """The script for wrk."""
        headers = "".join(f"wrk.headers[{_quoted(name)}] = {_quoted(value)}\n" for name, value in self.headers.items())
        return f'wrk.method = "{self.method}"\n{headers}' + (
            f'wrk.body = string.rep("x", {self.upload})\n' if self.upload else ""
        )


WORKLOADS = (
    Workload("hello", "Hello: a text of 13 bytes", "/hello"),
    Workload("browser", "Hello, asked with a browser's sixteen header fields", "/hello", headers=BROWSER),
    Workload("page", "Template page: 50 rows, 15 KB", "/page"),
    Workload("pgpage", "PostgreSQL page: four queries, a template of 20 rows", "/pgpage", postgresql=True),
    Workload("pgquery", "PostgreSQL: one query", "/pgquery", postgresql=True),
    Workload("db", "Database: a row from SQLite", "/db"),
    Workload("body100k", "Body of 100 KB", "/body100k"),
    Workload("hash", "Hash without the GIL: PBKDF2, 100 ms", "/hash", longer=3),
    Workload("stream", "Streamed response: 100 blocks of 1 KB", "/stream"),
    Workload("upload", "Upload of 1 MB", "/upload", method="POST", upload=1024 * 1024),
    Workload("static10k", "Static file of 10 KB", "/static/10k.css", static=10 * 1024),
    Workload("static10m", "Static file of 10 MB", "/static/10m.bin", static=10 * 1024 * 1024),
    Workload("wagtail-page", "Wagtail: a page of its start project", "/guide-7/", postgresql=True, project=WAGTAIL),
    Workload(
        *("wagtail-search", "Wagtail: a search with ten results", "/search/?query=guide"),
        postgresql=True,
        project=WAGTAIL,
    ),
    Workload(
        *("wagtail-login", "Wagtail: the login page of its admin", "/admin/login/"),
        postgresql=True,
        project=WAGTAIL,
        varying=r"\b[A-Za-z0-9]{64}\b",  # CSRF tokens
    ),
)


def write_static_files(root: Path) -> None:
    """Write the files of the static workloads, the same bytes each time."""
    root.mkdir(parents=True, exist_ok=True)
    for workload in WORKLOADS:
        if workload.static:
            file = root / Path(workload.path).name
            file.write_bytes(random.Random(workload.name).randbytes(workload.static))


def _quoted(text: str) -> str:
    """A Lua string literal."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
