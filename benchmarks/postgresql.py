"""A temporary PostgreSQL server: a new cluster on loopback, stopped and removed after use."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import Tree, as_user, free_port

USER = "postgres"
"""Debian's user, which runs the server if we are root, and the cluster's superuser."""
START_PATIENCE = 30.0
"""Seconds until it must accept connections."""
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "500",  # each thread of each server keeps one
    "fsync": "off",
    "shared_buffers": "64MB",
    "autovacuum": "off",  # the tables do not change, and it would disturb some rounds
}


class PostgresqlError(Exception):
    """PostgreSQL does not start."""


@dataclass(frozen=True)
class Database:
    """A server that accepts connections."""

    port: int
    tree: Tree


def installed(name: str) -> list[Path]:
    """Return the paths of a program, one for each PostgreSQL that is installed from Debian, the oldest first."""
    return sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))


def program(name: str) -> Path:
    """Return the path of a program of the newest PostgreSQL. Raises IndexError if none is installed."""
    return installed(name)[-1]


@contextmanager
def postgresql(cache: Path, cores: str) -> Iterator[Database]:
    """Run a new cluster below `cache`, on `cores` (a CPU list as for taskset). Raises `PostgresqlError`."""
    user = USER if os.geteuid() == 0 else None
    cache.mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix="postgresql-", dir=cache))
    if user:
        shutil.chown(directory, user, user)
    data, port = directory / "data", free_port()
    try:
        _initialise(data, user)
        settings = {**SETTINGS, "port": str(port)}
        command = [program("postgres"), "-D", data, *(f"--{name}={value}" for name, value in settings.items())]
        output = directory / "log"
        tree = Tree([*map(str, command)], core=cores, cwd=Path("/"), env=_environ(), output=output, user=user)
        try:
            _wait(tree, port, output)
            yield Database(port, tree)
        finally:
            tree.end()
    finally:
        shutil.rmtree(directory)


def _initialise(data: Path, user: str | None) -> None:
    words = ("--pgdata", str(data), f"--username={USER}", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync")
    command = ["setpriv", *as_user(user), "--", str(program("initdb")), *words]
    done = subprocess.run(command, cwd="/", env=_environ(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise PostgresqlError(f"initdb failed; may {user or 'you'} enter {data.parent}? {done.stderr.strip()[-500:]}")


def _environ() -> dict[str, str]:
    """A minimal environment: PGPORT and the like would have an effect."""
    return {"PATH": os.environ["PATH"], "LC_ALL": "C"}


def _wait(tree: Tree, port: int, log: Path) -> None:
    ask = [str(program("pg_isready")), "--quiet", "--host=127.0.0.1", f"--port={port}"]
    deadline = time.monotonic() + START_PATIENCE
    while time.monotonic() < deadline and tree.running:
        if subprocess.run(ask, env=_environ(), check=False).returncode == 0:
            return
        time.sleep(0.05)
    raise PostgresqlError(f"PostgreSQL does not start: {log.read_text(errors='replace').strip()[-500:]}")
