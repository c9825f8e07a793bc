"""A PostgreSQL of the tests' own, on loopback, that they stop, freeze and start again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from tests.support.functional.harness import PROMPT, free_port, wait_for
from tests.support.functional.processes import children


@dataclass
class Cluster:
    """A PostgreSQL server of the tests' own, run by a user that may run it: root may not."""

    directory: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def run(self, program: str, *args: str) -> subprocess.Popen[bytes]:
        """Start one of PostgreSQL's programs."""
        [*_, path] = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"))
        other: dict[str, Any] = {"user": "postgres", "group": "postgres", "extra_groups": []} if is_root() else {}
        with (self.directory / "log").open("ab") as log:
            return subprocess.Popen(
                [path, "-D", self.directory / "data", *args],
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **other,
            )

    def initialise(self) -> None:
        assert self.run("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "-N").wait() == 0, (
            self.log
        )

    def start(self) -> None:
        """Start the server and wait until it accepts connections."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "fsync": "off",
            "shared_buffers": "16MB",
        }
        self.process = self.run("postgres", *(f"--{name}={value}" for name, value in settings.items()))
        wait_for(self.accepts, f"PostgreSQL to start\n{self.log}")

    def accepts(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self) -> None:
        """Stop the server as `pg_ctl stop -m fast` does: sessions are ended."""
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            assert self.process.wait(PROMPT) == 0, self.log
            self.process = None

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """The server hangs: all its processes stand still, while the kernel still accepts connections for it."""
        assert self.process is not None
        pids = [self.process.pid]
        os.kill(self.process.pid, signal.SIGSTOP)
        try:
            for pid in children(self.process.pid):
                os.kill(pid, signal.SIGSTOP)
                pids.append(pid)
            yield
        finally:
            for pid in reversed(pids):
                os.kill(pid, signal.SIGCONT)

    def connect(self, database: str = "postgres") -> psycopg.Connection[Any]:
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user="postgres", dbname=database, autocommit=True, connect_timeout=5
        )

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text()


def is_root() -> bool:
    return os.getuid() == 0


@contextmanager
def postgresql() -> Iterator[Cluster]:
    """A new server for as long as the block runs."""
    # Not in pytest's own directories: those are closed to other users.
    directory = Path(tempfile.mkdtemp(prefix="twistserve-postgresql-"))
    if is_root():
        shutil.chown(directory, "postgres", "postgres")
    cluster = Cluster(directory)
    try:
        cluster.initialise()
        cluster.start()
        yield cluster
        cluster.stop()
    finally:
        if cluster.process is not None:
            cluster.process.kill()
        shutil.rmtree(directory)
