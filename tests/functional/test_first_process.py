"""The first process of a container, in a namespace of processes of its own: `unshare --pid --fork --mount-proc`."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.functional.first_process import SETTINGS, VIEWS
from tests.support.functional.harness import AT_ONCE, Server, command, free_port, wait_for, write_project
from tests.support.functional.processes import children, status, title

ROOT = [] if os.geteuid() == 0 else ["--map-root-user"]
NAMESPACE = ["unshare", *ROOT, "--pid", "--fork", "--mount-proc", "--kill-child"]
SESSION = ["setsid", "--ctty"]
"""Makes standard input the controlling terminal, as `docker run -it` does."""
RUNNERS = ("twistd", "twist", "manage")
WAYS = [*((runner, ()) for runner in RUNNERS), ("twistd", ("--workers", "2")), ("manage", ("--workers", "2"))]
FOREIGN = ("TWISTSERVE_", "KUBERNETES_", "DJANGO_")
GRACE = "0.5"
END = 10.0

KEEPS_LOCK = """
import ctypes
(BASE_DIR / "reached").touch()
libc, mutex = ctypes.PyDLL(None), ctypes.create_string_buffer(64)
libc.pthread_mutex_lock(mutex)
libc.pthread_mutex_lock(mutex)
"""

Launch = Callable[..., "Container"]


class Container(Server):
    """A server whose first process is ours, as this side of the namespace sees it."""

    @property
    def first(self) -> int:
        [pid] = children(self.process.pid)
        return pid

    @property
    def server(self) -> int:
        """The only child that the first process has, or the first of several."""
        return min(children(self.first))

    def signal(self, number: int) -> None:
        os.kill(self.first, number)


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    """Start a server as the first process of a namespace, which ends with the test, and all that is in it."""
    started: list[Container] = []

    def launcher(
        *args: str,
        runner: str = "twistd",
        settings: str = "",
        env: dict[str, str] | None = None,
        until: str | None = "/ready",
        name: str = "project",
        terminal: int | None = None,
    ) -> Container:
        directory = write_project(tmp_path / name, VIEWS, SETTINGS + settings)
        port = free_port()
        stdout, stderr = tmp_path / f"{port}.stdout", tmp_path / f"{port}.stderr"
        environ = {
            key: value for key, value in os.environ.items() if not key.startswith(("TWISTSERVE_", "KUBERNETES_"))
        }
        environ |= {"PYTHONUNBUFFERED": "1", "DJANGO_SETTINGS_MODULE": "site_settings", **(env or {})}
        words = [
            *(NAMESPACE if terminal is None else [*SESSION, *NAMESPACE]),
            *command(runner),
            "--port",
            str(port),
            "--graceful-timeout",
            GRACE,
            *args,
        ]
        stdin = subprocess.DEVNULL if terminal is None else terminal
        with stdout.open("wb") as out, stderr.open("wb") as err:
            process = subprocess.Popen(words, cwd=directory, env=environ, stdin=stdin, stdout=out, stderr=err)
        server = Container(process, port, port + 1, stdout, stderr, directory, environ)
        started.append(server)
        if until is not None:
            server.wait_until(until)
        return server

    yield launcher
    for server in started:
        # unshare takes the namespace with it.
        server.kill()
        sys.stdout.write(server.output)


@pytest.mark.parametrize(("runner", "args"), WAYS)
def test_orphans_are_reaped_and_statuses_are_not(launch: Launch, runner: str, args: tuple[str, ...]) -> None:
    """Nothing of a process that a view's shell has left stays, and nobody's exit status is taken."""
    server = launch(*args, runner=runner)
    wait_for(lambda: title(server.first) == "twistserve: init", "the first process to have its title")
    assert server.get("/orphans/").text == "left"
    wait_for(lambda: children(server.first) == [server.server], f"orphans to be gone: {children(server.first)}")
    assert server.get("/statuses/").text == f"{[*range(10)]} {[*range(10)]}"
    assert server.terminate() == 0
    assert "the function ran" in (server.cwd / "ended").read_text()


def test_the_first_process_holds_little(launch: Launch) -> None:
    """No threads, no files but the standard ones and its pipes, and less memory than a server has."""
    server = launch()
    wait_for(lambda: title(server.first) == "twistserve: init", "the first process to have its title")
    first = status(server.first)
    assert first["Threads"] == "1"
    names = [os.readlink(path) for path in Path(f"/proc/{server.first}/fd").iterdir() if int(path.name) > 2]
    assert all(name.startswith("pipe:") for name in names), names
    assert int(first["VmRSS"].split()[0]) < 16_000
    # A group of its own: Ctrl-C at a terminal is sent to that alone.
    assert os.getpgid(server.server) == server.server != os.getpgid(server.first)
    assert server.terminate() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_are_forwarded(launch: Launch, number: int) -> None:
    """Those that end the server, and those that do not."""
    server = launch()
    server.signal(signal.SIGQUIT)
    wait_for(lambda: "received SIGQUIT" in server.stdout, "the stacks to be logged")
    server.signal(signal.SIGHUP)
    wait_for(lambda: "received SIGHUP" in server.stdout, "it to be logged")
    server.signal(number)
    assert server.wait() == 0
    assert f"received {signal.Signals(number).name}" in server.stdout
    assert "again" not in server.stdout


def test_signals_of_workers_are_forwarded(launch: Launch) -> None:
    """SIGTTIN and SIGTTOU resize, SIGHUP replaces."""
    server = launch("--workers", "2")
    server.signal(signal.SIGTTIN)
    wait_for(lambda: "3 workers are wanted now" in server.stdout, "another worker")
    server.signal(signal.SIGTTOU)
    wait_for(lambda: "2 workers are wanted now" in server.stdout, "one less")
    server.signal(signal.SIGHUP)
    wait_for(lambda: "replacing all workers" in server.stdout, "new workers")
    assert server.terminate() == 0


def test_the_status_is_the_servers(launch: Launch) -> None:
    """1 of a start that fails, and 128 and its number of a signal."""
    failing = launch("--command", "no_such_command", name="failing", until=None)
    assert failing.wait() == 1
    assert len(failing.stderr.splitlines()) == 1
    wrong = launch("--threads", "0", name="wrong", until=None)
    assert wrong.wait() == 1
    dying = launch(name="dying")
    with suppress(OSError):
        dying.get("/die/")
    assert dying.wait() == 128 + signal.SIGABRT


@pytest.mark.parametrize("args", [(), ("--max-lifetime", "1")], ids=["SIGTERM", "recycling"])
def test_c_code_that_keeps_the_lock_is_killed_at_the_bound(launch: Launch, args: tuple[str, ...]) -> None:
    """No thread of the server's Python runs any more: the first process ends it in time."""
    regex = "import re\ndef compute():\n    re.match(r'(a+)+$', 'a' * 60 + 'b')\natexit.register(compute)\n"
    server = launch(*args, settings=regex)
    began = time.monotonic()
    if args:
        server.get("/orphans/")
        server.get("/orphans/")
    else:
        server.signal(signal.SIGTERM)
    assert server.wait() == 128 + signal.SIGKILL
    assert time.monotonic() - began <= float(GRACE) + END + (2 if args else 0)


@pytest.mark.parametrize(("runner", "args"), WAYS)
def test_a_view_that_keeps_the_lock_is_killed_at_a_second_signal(
    launch: Launch, runner: str, args: tuple[str, ...]
) -> None:
    """Within a second; and of workers only themselves, so that the status stays 0."""
    server = launch(*args, "--graceful-timeout", "60", runner=runner)
    with suppress(OSError):
        server.get("/compute/", timeout=0.5)
    server.signal(signal.SIGTERM)
    time.sleep(0.5)
    began = time.monotonic()
    server.signal(signal.SIGTERM)
    assert server.wait() == (0 if args else 128 + signal.SIGKILL)
    assert time.monotonic() - began <= AT_ONCE


def test_a_start_is_given_up_while_the_settings_are_imported(launch: Launch) -> None:
    """Before the server has said how long its end may take, too."""
    slow = "import time\n(BASE_DIR / 'reached').touch()\ntime.sleep(600)\n"
    server = launch(settings=slow, until=None)
    wait_for((server.cwd / "reached").exists, f"the settings to be reached\n{server.output}")
    assert server.terminate() == 0
    server = launch(settings=KEEPS_LOCK, name="lock", until=None)
    wait_for((server.cwd / "reached").exists, f"the settings to be reached\n{server.output}")
    began = time.monotonic()
    assert server.terminate() == 128 + signal.SIGKILL
    assert time.monotonic() - began <= END + 0.5


@pytest.mark.parametrize("runner", RUNNERS)
def test_a_process_that_has_threads_is_started_anew(launch: Launch, tmp_path: Path, runner: str) -> None:
    """A sitecustomize, or the settings of manage.py, may have started some: none is lost, and orphans are reaped."""
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "sitecustomize.py").write_text(
        "import os, threading\n"
        "threading.Thread(target=threading.Event().wait, name='exporter', daemon=True).start()\n"
        "print('customized', os.getpid(), flush=True)\n"
    )
    server = launch(runner=runner, env={"PYTHONPATH": str(tmp_path / "path")})
    assert re.findall(r"customized (\d+)", server.stdout)[0] == "1"
    assert len(re.findall("customized", server.stdout)) == 2
    wait_for(lambda: title(server.first) == "twistserve: init", "the first process to have its title")
    assert status(server.first)["Threads"] == "1"
    assert server.get("/orphans/").text == "left"
    wait_for(lambda: children(server.first) == [server.server], f"orphans to be gone: {children(server.first)}")
    server.signal(signal.SIGQUIT)
    wait_for(lambda: "thread exporter" in server.stdout, "the thread to be there")
    assert server.terminate() == 0


@pytest.mark.parametrize("runner", RUNNERS)
def test_a_python_that_is_told_where_its_library_is(launch: Launch, runner: str) -> None:
    """It cannot run the small program, which reads no environment: the first process goes on as it is."""
    server = launch(runner=runner, env={"PYTHONHOME": sys.base_prefix})
    assert server.get("/orphans/").text == "left"
    wait_for(lambda: children(server.first) == [server.server], f"orphans to be gone: {children(server.first)}")
    assert server.terminate() == 0
    assert "the function ran" in (server.cwd / "ended").read_text()


@pytest.mark.parametrize("words", [["--help"], ["djangoserve", "--help"], ["--version"]])
def test_help_needs_no_first_process(tmp_path: Path, words: list[str]) -> None:
    """It is printed as ever."""
    program = command("twistd")[0]
    line = [*NAMESPACE, program, *words]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    assert "wist" in done.stdout
    assert done.stderr == ""


def test_ctrl_c_at_a_terminal_counts_once(launch: Launch) -> None:
    """The terminal sends it to the server's group alone: nothing is forwarded besides."""
    controlling, terminal = os.openpty()
    with os.fdopen(controlling, "wb", buffering=0) as keyboard:
        server = launch("--drain-delay", "2", terminal=terminal)
        os.close(terminal)
        keyboard.write(b"\x03")
        wait_for(lambda: "received SIGINT" in server.stdout, "it to be logged")
        assert server.wait() == 0
        assert "again" not in server.stdout
