"""Servers of several processes: which there are, what state they are in, and that none outlives its test."""

from __future__ import annotations

import http.client
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.functional.harness import PATIENCE, PROMPT, Serve, Server, refuses, wait_for, write_project
from tests.support.functional.processes import state
from tests.support.functional.workers_project import VIEWS, WSGI

PRELOADED_TOO = pytest.mark.parametrize(
    "launch", [pytest.param(False, id="started"), pytest.param(True, id="preloaded")], indirect=True
)
"""For tests that hold with --preload too: the fixture `launch` then gets whether to use it."""

Launch = Callable[..., Server]


def titles(server: Server) -> dict[int, str]:
    """The processes that run in the server's directory, as `ps` shows them; without those that have ended."""
    found: dict[int, str] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            if os.readlink(f"/proc/{name}/cwd") == str(server.cwd):
                line = Path(f"/proc/{name}/cmdline").read_bytes()
                found[int(name)] = line.rstrip(b"\0").replace(b"\0", b" ").decode()
    return found


def workers(server: Server) -> dict[int, int]:
    """The numbers of the workers by their pids."""
    prefix = "twistserve: worker "
    return {pid: int(title.removeprefix(prefix)) for pid, title in titles(server).items() if title.startswith(prefix)}


def states(server: Server) -> dict[str, str]:
    """The workers that readiness tells of, by their names there, and what it says of them; none while it starts."""
    checks = server.probe("/ready").json()["checks"]
    return {name: entry["observedValue"] for name, [entry] in checks.items() if name.startswith("worker:")}


def wait_until_ready(server: Server, number: int = 2) -> Server:
    """Wait until so many workers serve, and no other is there."""

    def ready() -> bool:
        assert titles(server), f"the server ended early\n{server.output}"
        try:
            return list(states(server).values()) == ["ready"] * number == ["ready"] * len(workers(server))
        except (OSError, http.client.HTTPException, KeyError):
            return False

    wait_for(ready, f"{number} workers to be ready\n{server.output}")
    return server


def wait_until_replaced(server: Server, old: set[int], number: int = 2) -> set[int]:
    """Wait until none of the old workers is left and so many others serve; their pids."""
    wait_for(lambda: old.isdisjoint(workers(server)), f"{old} to be replaced\n{server.output}")
    return {*workers(wait_until_ready(server, number))}


def wait_until_none_is_left(server: Server, patience: float = PROMPT) -> None:
    """Wait until all processes of the server have ended."""
    wait_for(lambda: not titles(server), f"its processes to end: {titles(server)}\n{server.output}", patience)


def ended(server: Server) -> bool:
    """Whether the server ends in good order: with status 0, and no process is left when it has."""
    assert server.wait(PROMPT) == 0, server.output
    assert titles(server) == {}, server.output
    assert "Traceback" not in server.output, server.output
    return True


def restarts(server: Server) -> dict[str, int]:
    """What is counted of replaced workers, by reason, as far as there is anything."""
    prefix = 'twistserve_worker_restarts_total{reason="'
    lines = [line.removeprefix(prefix) for line in server.probe("/metrics").text.splitlines() if prefix in line]
    return {line.partition('"')[0]: int(float(line.split()[-1])) for line in lines if float(line.split()[-1])}


@contextmanager
def launching(serve: Serve, directory: Path, preload: bool = False) -> Iterator[Launch]:
    """Starts servers of the views with two workers: `launch("--threads", "1", settings="...")`; with `preload` forked.

    Each is in a directory of its own, `name`. In the end none of their processes may be left, nor anything in their
    temporary directory.
    """
    servers: list[Server] = []
    temporary = directory / "temporary"
    temporary.mkdir()

    def launcher(
        *args: str,
        name: str = "project",
        number: int = 2,
        until: str | None = "/ready",
        env: dict[str, str] | None = None,
        runner: str = "twistd",
        port: int | None = None,
        **texts: str,
    ) -> Server:
        texts = {"views": VIEWS, "site_wsgi": WSGI, "revision": "REVISION = 'one'\n", **texts}
        server = serve(
            *("--workers", str(number), *(["--preload"] if preload else []), *args),
            cwd=write_project(directory / name, **texts),
            settings="site_settings",
            env={"TMPDIR": str(temporary), **(env or {})},
            runner=runner,
            port=port,
            until=None,
        )
        servers.append(server)
        if until is not None:
            wait_until_ready(server.wait_until(until), number)
        return server

    try:
        yield launcher
        for server in servers:
            if server.process.poll() is None:
                server.signal(signal.SIGTERM)
                assert ended(server)
        assert [titles(server) for server in servers] == [{}] * len(servers)
        if all(server.process.returncode != -signal.SIGKILL for server in servers):
            # Files with other names are Python's: a worker killed while `tempfile` probes the directory leaves one.
            assert [path.name for path in temporary.glob("twistserve-*")] == []
    finally:
        for server in servers:
            kill_all(server)


def is_preloaded(server: Server) -> bool:
    """Whether it was started with --preload."""
    assert isinstance(server.process.args, list)
    return "--preload" in server.process.args


def kill_all(server: Server) -> None:
    """Kill every process of a server, also one whose parent has ended."""
    for pid in titles(server):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def assert_ends_well(server: Server) -> None:
    """SIGTERM ends the server in good order: its ports are closed, and it has written no error."""
    server.signal(signal.SIGTERM)
    assert ended(server)
    assert refuses(server.port)
    assert refuses(server.probe_port)
    assert server.stderr == ""


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def states_of_threads(pid: int) -> set[str]:
    """The state of each thread of a process, as `state` has it."""
    stats = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    return {stat.rpartition(")")[2].split()[0] for stat in stats}


def suspend(*pids: int) -> None:
    """Stop processes with SIGSTOP, and wait until they have stopped."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    wait_for(lambda: all(state(pid) == "T" for pid in pids), "the processes to stop")


def resume(*pids: int) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


def block_one(server: Server) -> int:
    """Block a worker's reactor; its pid."""
    return _send_without_response(server, "/block/", "blocked-")


def hold_up_one(server: Server) -> None:
    """Have a worker run C code that holds the GIL."""
    pid = _send_without_response(server, "/compute/", "computing-")
    wait_for(lambda: "R" in states_of_threads(pid), "it to be at it")


def _send_without_response(server: Server, path: str, noted: str) -> int:
    """Send a request to a view that never returns; the pid of the worker, which the view notes in a file's name."""

    def ask() -> None:
        with suppress(OSError, http.client.HTTPException):
            server.get(path, timeout=PATIENCE)

    threading.Thread(target=ask, daemon=True).start()
    [file] = wait_for(lambda: [*server.cwd.glob(f"{noted}*")], f"{path} to be called")
    return int(file.name.removeprefix(noted))


class Held:
    """A request that is in a view until the file `go` is there."""

    def __init__(self, server: Server, name: str, rest: str = "") -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        self.connection.request("GET", f"/hold/?name={name}{rest}")
        entered = server.cwd / f"entered-{name}"

        def missing() -> str:
            processes = {pid: (title, state(pid)) for pid, title in titles(server).items()}
            return f"{name} to be held by one of {processes}, {entered.exists()=}\n{server.output}"

        self.pid = int(wait_for(lambda: entered.read_text() if entered.exists() else None, missing))

    def outcome(self) -> str:
        """Status and text, or what went wrong."""
        try:
            response = self.connection.getresponse()
            return f"{response.status} {response.read().decode()}"
        except (OSError, http.client.HTTPException) as error:
            return repr(error)
        finally:
            self.connection.close()

    def __del__(self) -> None:
        self.connection.close()


class Load:
    """Clients in threads that ask over and over for the pid of a worker, each time on a new connection.

    Each response is counted; `losses` has all other outcomes, with the time when they were seen.
    """

    def __init__(self, server: Server, clients: int = 8, path: str = "/who/", seconds: float = PATIENCE) -> None:
        self.answers: Counter[str] = Counter()
        self.losses: list[tuple[float, str]] = []
        self._port = server.port
        self._path = path
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._deadline = time.monotonic() + seconds
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    @property
    def sent(self) -> int:
        return sum(self.answers.values()) + len(self.losses)

    @property
    def by_pid(self) -> Counter[int]:
        """The number of responses of each process."""
        found: Counter[int] = Counter()
        for text, count in self.answers.items():
            found[int(text.split()[0])] += count
        return found

    def wait_for(self, number: int) -> None:
        """Wait for so many more responses."""
        enough = sum(self.answers.values()) + number
        wait_for(lambda: sum(self.answers.values()) >= enough, f"{number} answers")

    def stop(self) -> Load:
        """Stop when each client has its last response."""
        self._stopped.set()
        for thread in self._threads:
            thread.join(PATIENCE)
        sys.stdout.write(f"{self.sent} requests, {len(self.losses)} lost: {self.losses[:20]}\n{dict(self.answers)}\n")
        return self

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *error: Any) -> None:
        self.stop()

    def _run(self) -> None:
        while not self._stopped.is_set() and time.monotonic() < self._deadline:
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
            loss = ""
            try:
                connection.request("GET", self._path, headers={"Connection": "close"})
                response = connection.getresponse()
                text = response.read().decode()
                loss = "" if response.status == 200 else f"{response.status} {text[:200]}"
            except (OSError, http.client.HTTPException) as error:
                loss = repr(error)
            finally:
                connection.close()
            with self._lock:
                if loss:
                    self.losses.append((time.monotonic(), loss))
                else:
                    self.answers[text] += 1
