"""What the functional tests share: free ports, patience, a running server to talk to."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parents[3]
EXAMPLE = ROOT / "example"
BIN = Path(sys.executable).parent
PATIENCE = 60.0
"""Seconds a condition may take on a slow, noisy machine before the test fails."""

PATIENCE_WITH_FAILURE = 30.0
"""Seconds for a start that cannot succeed."""

PROMPT = 15.0
"""Seconds that an end without waiting may take: less than the grace of requests in flight, which is 25."""

AT_ONCE = 2.5
"""Seconds for an end after a second signal, which takes less than one, on a machine that is busy."""

SETTLE = 1.05
"""Seconds after which no probe responds with the result of a check from before."""

UNTRACED = {"COVERAGE_PROCESS_START": "", "COVERAGE_PROCESS_CONFIG": ""}
"""The environment of a process that `make coverage` must leave alone: it would write, import or lock on its own."""

T = TypeVar("T")

MOST_WORKERS = 8
"""Processes that pytest-xdist may run tests in, each with ports of its own."""
_given: deque[int] = deque(maxlen=200)
"""Ports that were given last."""


def free_port() -> int:
    """A TCP port whose successor, the probe port's default, is free too, and which nobody else has been given lately.

    Even, so that it is no other's successor, and of this process of pytest-xdist's alone. Below the ports that Linux
    gives to outgoing connections, one of which could take it before the server does.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    while True:
        port = random.randrange(20000 + 2 * worker, 32000, 2 * MOST_WORKERS)
        if port in _given:
            continue
        with socket.socket() as one, socket.socket() as two:
            try:
                one.bind(("", port))
                two.bind(("", port + 1))
            except OSError:
                continue
            _given.append(port)
            return port


def refuses(port: int) -> bool:
    """Whether nothing listens on this port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE).close()
    except ConnectionRefusedError:
        return True
    return False


def wait_for(condition: Callable[[], T | None], what: str | Callable[[], str], patience: float = PATIENCE) -> T:
    """Poll until `condition()` is true and return its value; `what` is said, or called, if it never is."""
    deadline = time.monotonic() + patience
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {patience:g} s for {what if isinstance(what, str) else what()}")
        time.sleep(0.02)
    return value


@dataclass
class Reply:
    """One HTTP answer, read to its end."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)


def fetch(
    port: int,
    path: str,
    method: str = "GET",
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
    timeout: float = PATIENCE,
) -> Reply:
    """Send one request to a port of this machine, over a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        response = connection.getresponse()
        return Reply(response.status, response.headers, response.read())
    finally:
        connection.close()


def raw(port: int, data: bytes, timeout: float = PATIENCE) -> bytes:
    """Send bytes as they are and return all that comes back until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
        connection.sendall(data)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
        return received


def at_once(calls: int, call: Callable[[], Reply]) -> list[Reply]:
    """The replies of as many calls, all under way together."""
    with ThreadPoolExecutor(calls) as clients:
        return [future.result() for future in [clients.submit(call) for _ in range(calls)]]


@dataclass
class Server:
    """A server process of the test's own, and what it said."""

    process: subprocess.Popen[bytes]
    port: int
    probe_port: int
    stdout_path: Path
    stderr_path: Path
    cwd: Path
    env: dict[str, str] = field(default_factory=dict)

    def get(self, path: str, **kwargs: Any) -> Reply:
        return fetch(self.port, path, **kwargs)

    def probe(self, path: str, **kwargs: Any) -> Reply:
        return fetch(self.probe_port, path, **kwargs)

    @property
    def stdout(self) -> str:
        return self.stdout_path.read_text(errors="replace")

    @property
    def stderr(self) -> str:
        return self.stderr_path.read_text(errors="replace")

    @property
    def output(self) -> str:
        return f"--- stdout\n{self.stdout}\n--- stderr\n{self.stderr}"

    def answers(self, path: str = "/ready", status: int = 200) -> bool:
        """Whether the probe port answers this path with this status now."""
        assert self.process.poll() is None, f"the server ended early\n{self.output}"
        try:
            return self.probe(path).status == status
        except OSError:
            return False

    def wait_until(self, path: str = "/ready", status: int = 200) -> Server:
        wait_for(lambda: self.answers(path, status), f"{path} to answer {status}\n{self.output}")
        return self

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self, patience: float = PATIENCE) -> int:
        """Wait for the process to end and return its exit status."""
        try:
            return self.process.wait(patience)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {patience:g} s\n{self.output}") from None

    def terminate(self) -> int:
        self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def end(self, patience: float = 10) -> None:
        """End the process, politely first, so that it writes its coverage data."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
            try:
                self.process.wait(patience)
            except subprocess.TimeoutExpired:
                self.kill()


Serve = Callable[..., Server]
"""The fixture `serve`."""


def command(runner: str, programs: Path = BIN) -> list[str]:
    """The words that start the service in one of its ways, such as `twistd` or `manage`.

    `programs` is the `bin` directory of the virtual environment to start it from.
    """
    return {
        "twistd": [str(programs / "twistd"), "-n", "--pidfile=", "djangoserve"],
        "asyncio": [str(programs / "twistd"), "-n", "--pidfile=", "--reactor=asyncio", "djangoserve"],
        "with a log file": [str(programs / "twistd"), "-n", "--pidfile=", "--logfile=twistd.log", "djangoserve"],
        "with a pid file": [str(programs / "twistd"), "-n", "--pidfile=twistd.pid", "djangoserve"],
        "elsewhere": [str(programs / "twistd"), "-n", "--pidfile=", "--rundir=run", "djangoserve"],
        "daemon": [str(programs / "twistd"), "--pidfile=twistd.pid", "--logfile=twistd.log", "djangoserve"],
        "twist": [str(programs / "twist"), "djangoserve"],
        "manage": [str(programs / "python"), "manage.py", "serve"],
        "consume": [str(programs / "python"), "manage.py", "consume"],
    }[runner]


def start(
    *args: str,
    cwd: Path,
    logs: Path,
    runner: str = "twistd",
    env: dict[str, str] | None = None,
    settings: str | None = "bookshop.settings",
    port: int | None = None,
    programs: Path = BIN,
    prefix: Sequence[str] = (),
) -> Server:
    """Start the real command in `cwd`; without `port`, on a free one, given as an option.

    `prefix` are words before the command, of a program that changes what it finds and then runs it.
    """
    environ = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("TWISTSERVE_", "HURRICANE_", "DJANGO_", "PROMETHEUS_", "KUBERNETES_"))
    }
    environ |= {"PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "error::DeprecationWarning:twistserve"}
    if settings is not None:
        environ["DJANGO_SETTINGS_MODULE"] = settings
    environ |= env or {}
    arguments = list(args)
    if port is None:
        port = free_port()
        arguments += ["--port", str(port)]
    probe_port = port + 1
    if "--probe-port" in arguments:
        probe_port = int(arguments[arguments.index("--probe-port") + 1])
    stdout_path, stderr_path = logs / f"{port}.stdout", logs / f"{port}.stderr"
    with stdout_path.open("wb") as stdout, stderr_path.open("wb") as stderr:
        process = subprocess.Popen(
            [*prefix, *command(runner, programs), *arguments],
            cwd=cwd,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
        )
    return Server(process, port, probe_port, stdout_path, stderr_path, cwd, environ)


@contextmanager
def serving(*args: str, until: str = "/ready", **kwargs: Any) -> Iterator[Server]:
    """A server for as long as the block runs: `start()` for a fixture that several tests share."""
    server = start(*args, **kwargs)
    try:
        yield server.wait_until(until)
    finally:
        server.end()


@contextmanager
def present(server: Server, name: str, text: str = "", settle: float = SETTLE) -> Iterator[Path]:
    """A file beside the project's manage.py, as long as the block runs; no check's result is from before."""
    path = server.cwd / name
    path.write_text(text)
    time.sleep(settle)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
        time.sleep(settle)


def release(server: Server) -> None:
    """Let every view that is held return."""
    (server.cwd / "go").touch()


def write_project(directory: Path, views: str = "urlpatterns = []\n", settings: str = "", **modules: str) -> Path:
    """Write a one-module Django project, as the fixture `project` describes it."""
    directory.mkdir(exist_ok=True)
    (directory / "site_settings.py").write_text(
        "from pathlib import Path\n"
        "BASE_DIR = Path(__file__).resolve().parent\n"
        "SECRET_KEY = 'tests'\n"
        "ALLOWED_HOSTS = ['*']\n"
        "ROOT_URLCONF = 'site_urls'\n"
        "USE_TZ = True\n"
        "INSTALLED_APPS = ['twistserve']\n"
        "WSGI_APPLICATION = 'site_wsgi.application'\n" + settings
    )
    (directory / "site_urls.py").write_text(views)
    (directory / "site_wsgi.py").write_text(
        "from django.core.wsgi import get_wsgi_application\napplication = get_wsgi_application()\n"
    )
    (directory / "manage.py").write_text(
        "import os, sys\n"
        "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'site_settings')\n"
        "from django.core.management import execute_from_command_line\n"
        "if __name__ == '__main__':\n"
        "    execute_from_command_line(sys.argv)\n"
    )
    for name, text in modules.items():
        (directory / f"{name}.py").write_text(text)
    return directory


def assert_failed(server: Server, *named: str) -> str:
    """The one line of an end with status 1, which must contain each of these."""
    status = server.wait(PATIENCE_WITH_FAILURE)
    assert status == 1, f"status {status}\n{server.output}"
    lines = server.stderr.splitlines()
    assert len(lines) == 1, server.output
    [line] = lines
    assert line.strip()
    assert "Traceback" not in server.output
    assert "Unhandled" not in server.output
    for part in named:
        assert part in line, f"{part!r} is not named by: {line}"
    return line


def lines_with(text: str, *words: str) -> list[str]:
    return [line for line in text.splitlines() if all(word in line for word in words)]
