"""Start a server for a workload, and check that its response is the right one."""

from __future__ import annotations

import http.client
import re
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.postgresql import Database
from benchmarks.processes import Tree, cpu_list, free_port
from benchmarks.projects import BENCH, SCRIPTS, Project, start_commands
from benchmarks.servers import Server, environ
from benchmarks.workloads import Workload, write_static_files

START_PATIENCE = 60.0
"""Seconds a server may take until it answers."""
PAUSE = 0.002
"""Seconds between two questions whether it does, which bound the error of the time of a start."""


class RefusedError(Exception):
    """A server does not start, or gives a wrong answer."""


@dataclass(frozen=True)
class Stage:
    """Where, how often and how long everything is measured."""

    data: Path
    """The directory of the database and the static files."""
    scratch: Path
    """A directory for configuration files and the like."""
    server_cores: tuple[int, ...]
    load_cores: tuple[int, ...]
    """The cores of wrk and PostgreSQL."""
    connections: int
    seconds: int
    rounds: int
    postgresql: Database | None = None

    @property
    def static(self) -> Path:
        return self.data / "static"

    def prepare(self, server: Server, projects: Iterable[Project] = (BENCH,)) -> None:
        """Make the projects, the databases, with this server's Django, and the static files. Raises `RefusedError`."""
        self.scratch.mkdir(parents=True, exist_ok=True)
        write_static_files(self.static)
        for project in projects:
            if project.source is None:
                self._make(project, server)
            if project.sqlite:
                run_script(self, server, project, *project.prepare, postgresql=False)
            if self.postgresql is not None:
                run_script(self, server, project, *project.prepare, postgresql=True)

    def _make(self, project: Project, server: Server) -> None:
        env = self.environ(server, project, postgresql=False)
        directory = project.directory(self.data)
        for command in start_commands(server.bin, directory):
            _run(command, directory, env, START_PATIENCE)

    def environ(self, server: Server, project: Project, *, postgresql: bool) -> Mapping[str, str]:
        """The environment variables of a server whose project uses PostgreSQL, or SQLite."""
        found = environ(self.data, server, project)
        if not postgresql:
            return found
        if self.postgresql is None:
            raise RefusedError("PostgreSQL does not run")
        return {**found, "BENCHMARKS_POSTGRESQL": str(self.postgresql.port)}

    def cores_of(self, server: Server) -> str:
        """The server's cores, as a CPU list for taskset."""
        return cpu_list(self.server_cores[:1] if server.pinned else self.server_cores)


@dataclass(frozen=True)
class Running:
    """A server that has given the right answer."""

    server: Server
    tree: Tree
    port: int
    url: str
    seconds: float
    """From its command to the first response."""


@contextmanager
def serving(stage: Stage, server: Server, workload: Workload, *, reference: Server) -> Iterator[Running]:
    """Run the server for as long as the block runs. Raises `RefusedError` when it does not answer as it should.

    The right answer is that of the file, or that of Django called directly in the environment of `reference`.
    """
    port = free_port()
    static = stage.static if workload.static else None
    command = server.words(port, static, stage.scratch)
    env = stage.environ(server, workload.project, postgresql=workload.postgresql)
    cwd = workload.project.directory(stage.data)
    cores = stage.cores_of(server)
    began = time.monotonic()
    tree = Tree(command, core=cores, cwd=cwd, env=env)
    try:
        answer = _first_answer(tree, port, workload)
        seconds = time.monotonic() - began
        if answer is None:
            tree.end()
            raise RefusedError(f"it does not answer: {_what_it_says(stage, command, cores, cwd, env)}")
        check_answer(answer, _right_answer(stage, reference, workload), workload.varying)
        yield Running(server, tree, port, f"http://127.0.0.1:{port}{workload.path}", seconds)
    finally:
        tree.end()


def call_directly(stage: Stage, server: Server, action: str, workload: Workload, *more: str) -> bytes:
    """Call Django in the server's environment on the server's core, without a server: see scripts/direct.py."""
    words = (action, workload.method, workload.path, str(workload.upload), *more)
    return run_script(stage, server, workload.project, "direct.py", *words, postgresql=workload.postgresql)


def run_script(stage: Stage, server: Server, project: Project, script: str, *arguments: str, postgresql: bool) -> bytes:
    """Run one of our scripts in the server's environment, on its cores. Raises `RefusedError` where it fails."""
    command = [
        *("taskset", "--cpu-list", stage.cores_of(server)),
        *(str(server.bin / "python"), str(SCRIPTS / script), *arguments),
    ]
    env = stage.environ(server, project, postgresql=postgresql)
    return _run(command, project.directory(stage.data), env, START_PATIENCE + 2 * stage.seconds)


def _run(command: list[str], cwd: Path, env: Mapping[str, str], timeout: float) -> bytes:
    try:
        done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired as error:
        raise RefusedError(str(error)) from error
    if done.returncode:
        raise RefusedError(f"{' '.join(command)}: {done.stderr.decode(errors='replace')[-1000:]}")
    return done.stdout


def _right_answer(stage: Stage, reference: Server, workload: Workload) -> bytes:
    if workload.static:
        return (stage.static / Path(workload.path).name).read_bytes()
    return call_directly(stage, reference, "answer", workload)


def _first_answer(tree: Tree, port: int, workload: Workload) -> tuple[int, bytes] | None:
    """The first answer the server gives, status and body; None if it ends or takes too long."""
    deadline = time.monotonic() + START_PATIENCE
    while tree.running and time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_PATIENCE)
        try:
            connection.request(workload.method, workload.path, body=b"x" * workload.upload or None)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException):
            time.sleep(PAUSE)
        finally:
            connection.close()
    return None


def check_answer(answer: tuple[int, bytes], right: bytes, varying: str) -> None:
    """Raise `RefusedError` unless it is the right one, but for what matches the regular expression `varying`."""
    status, body = answer
    if status != 200:
        raise RefusedError(f"it answers with status {status}")
    if varying:
        body, right = (re.sub(varying.encode(), b"", one) for one in (body, right))
    if body != right:
        raise RefusedError(f"it answers with {len(body)} bytes that are not the {len(right)} of the right answer")


def _what_it_says(stage: Stage, command: list[str], cores: str, cwd: Path, env: Mapping[str, str]) -> str:
    """Start the server once more, this time with its output kept, and return the end of that."""
    output = stage.scratch / "output.txt"
    tree = Tree(command, core=cores, cwd=cwd, env=env, output=output)
    deadline = time.monotonic() + 5
    while tree.running and time.monotonic() < deadline:
        time.sleep(0.1)
    tree.end()
    last_lines = output.read_text(errors="replace").strip().splitlines()[-5:]
    return "\n".join(last_lines) or "and says nothing"
