"""Processes that the application starts: they behave as under any Python, and have nothing of the service."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.certificates import write_certificate
from tests.support.functional.harness import PATIENCE, PROMPT, Serve, Server, free_port, start, wait_for, write_project
from tests.support.functional.workers import titles

RUNNERS = ("twistd", "twist", "manage")

VIEWS = """
import json, multiprocessing, os, signal, socket, subprocess, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from django.http import JsonResponse
from django.urls import path
HERE = Path(__file__).resolve().parent
context = multiprocessing.get_context("fork")
own = socket.create_server(("127.0.0.1", 0))
children = []

def terminated(request):
    def once(number):
        child = context.Process(target=time.sleep, args=(600,))
        child.start()
        getattr(child, request.GET["how"])()
        child.join(20)
        return child.exitcode
    # One after another: multiprocessing waits for the children of other threads too.
    return JsonResponse({"statuses": [str(once(number)) for number in range(20)]})

def pool(request):
    with context.Pool(1) as workers:
        return JsonResponse({"result": workers.apply_async(sum, ([1, 2],)).get(timeout=20)})

def abandoned(request):
    workers = context.Pool(1)
    children.append(workers)
    return JsonResponse({"result": workers.apply_async(sum, ([1, 2],)).get(timeout=20)})

def sleeper(request):
    child = context.Process(target=time.sleep, args=(600,))
    child.start()
    children.append(child)
    return JsonResponse({"pid": child.pid})

def describe(descriptor):
    kind = os.readlink(f"/proc/self/fd/{descriptor}")
    if kind.startswith("socket:"):
        with socket.socket(fileno=os.dup(descriptor)) as sock:
            with_peer = ""
            try:
                with_peer = str(sock.getpeername())
            except OSError:
                pass
            return f"socket {sock.getsockname()} {with_peer}"
    return kind.partition(":")[0]

def tell(path):
    found = []
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        if descriptor > 2:
            try:
                found.append(describe(descriptor))
            except OSError:
                pass
    handlers = {signal.Signals(number).name: repr(signal.getsignal(number)) for number in range(1, 32)}
    blocked = sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
    result = {
        "files": found, "handlers": handlers, "blocked": blocked, "wakeup": signal.set_wakeup_fd(-1),
        "own": own.getsockname()[1],
    }
    path.write_text(json.dumps(result))

def told(request):
    child = context.Process(target=tell, args=(HERE / "told",))
    child.start()
    child.join(20)
    return JsonResponse(json.loads((HERE / "told").read_text()))

def statuses(request):
    def shell(number):
        preexec = os.setsid if number % 2 else None
        return subprocess.run(["sh", "-c", f"exit {number}"], preexec_fn=preexec).returncode
    def fork(number):
        child = context.Process(target=os._exit, args=(number,))
        child.start()
        child.join(20)
        return child.exitcode
    with ThreadPoolExecutor(4) as threads:
        shells = threads.map(shell, range(20))
        return JsonResponse({"fork": list(map(fork, range(20))), "shell": list(shells)})

urlpatterns = [
    path(f"{view.__name__}/", view) for view in (terminated, pool, abandoned, sleeper, told, statuses)
]
"""
OURS = ("SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGTTIN", "SIGTTOU", "SIGCHLD", "SIGALRM", "SIGUSR1", "SIGUSR2")
"""Signals that the service, its parent of workers or Twisted take."""

Launch = Callable[..., Server]


@pytest.fixture
def launch(serve: Serve, tmp_path: Path) -> Iterator[Launch]:
    """Start a server of the views above; none of its processes outlives the test."""
    servers: list[Server] = []

    def launcher(*args: str, runner: str = "twistd", **modules: str) -> Server:
        directory = write_project(tmp_path / "project", VIEWS, **modules)
        server = serve(*args, cwd=directory, settings="site_settings", runner=runner)
        servers.append(server)
        return server

    yield launcher
    for server in servers:
        kill(server)


def kill(server: Server) -> None:
    for pid in titles(server):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def document(answer: bytes) -> Any:
    """The JSON document of an answer, in one chunk."""
    return json.loads(answer[answer.index(b"{") : answer.rindex(b"}") + 1])


def sockets_of(pid: int) -> set[str]:
    """The sockets that a process has open, by their inodes."""
    links: set[str] = set()
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            links.add(os.readlink(path))
    return {link for link in links if link.startswith("socket:")}


def is_free(port: int) -> bool:
    """Whether nobody listens on a port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
            probe.listen()
        except OSError:
            return False
    return True


@pytest.mark.parametrize("how", ["terminate", "kill"])
def test_a_child_can_be_ended(launch: Launch, how: str) -> None:
    """As soon as it is there, which its parent takes for no signal of its own."""
    server = launch("--graceful-timeout", "1")
    status = "-15" if how == "terminate" else "-9"
    assert server.get(f"/terminated/?how={how}").json()["statuses"] == [status] * 20
    time.sleep(0.5)
    assert server.probe("/ready").status == 200
    assert "SIGTERM" not in server.output
    assert server.terminate() == 0


@pytest.mark.parametrize("args", [(), ("--workers", "2")], ids=["one process", "workers"])
@pytest.mark.parametrize("runner", RUNNERS)
def test_signals_are_pythons(launch: Launch, runner: str, args: tuple[str, ...]) -> None:
    """Each has its default, none is blocked, and none wakes the parent."""
    told = launch(*args, runner=runner).get("/told/").json()
    expected = dict.fromkeys(OURS, "<Handlers.SIG_DFL: 0>") | {"SIGINT": "<built-in function default_int_handler>"}
    assert {name: told["handlers"][name] for name in OURS} == expected
    assert (told["blocked"], told["wakeup"]) == ([], -1)


def assert_nothing_of_ours(told: dict[str, Any], pipes: int = 2) -> None:
    """The child has its own files and those of the application, but none of the service.

    multiprocessing makes two pipes for a child.
    """
    sockets = [name for name in told["files"] if name.startswith("socket")]
    own = [name for name in sockets if f"('127.0.0.1', {told['own']})" in name]
    assert len(own) == 1, told
    # multiprocessing's own have no name.
    assert all("socket  " in name for name in sockets if name not in own), told
    assert "anon_inode" not in told["files"], told
    assert told["files"].count("pipe") == pipes, told


def test_a_child_has_no_sockets_of_ours(launch: Launch) -> None:
    """Neither those that listen nor connections, idle, paused or to receivers of webhooks, nor the reactor's files."""
    with socket.create_server(("127.0.0.1", 0)) as receiver:
        server = launch("--webhook-url", f"http://127.0.0.1:{receiver.getsockname()[1]}/")
        idle = socket.create_connection(("127.0.0.1", server.port))
        paused = socket.create_connection(("127.0.0.1", server.port))
        probing = socket.create_connection(("127.0.0.1", server.probe_port))
        with idle, paused, probing, receiver.accept()[0]:
            request = b"GET /nothing/ HTTP/1.1\r\nHost: x\r\n\r\n"
            idle.sendall(request)
            assert idle.recv(1)
            paused.setblocking(False)
            with suppress(BlockingIOError):
                while True:
                    paused.send(request * 1000)
            assert_nothing_of_ours(server.get("/told/").json())


def test_a_child_has_no_paused_port_of_ours(launch: Launch) -> None:
    """With as many connections as may be nothing is accepted, and the port is not read from."""
    server = launch("--max-connections", "1", "--workers", "1")
    assert_nothing_of_ours(server.get("/told/").json())


def test_a_child_of_a_worker_has_nothing_of_ours(launch: Launch) -> None:
    """No shared socket, nor a pipe to the parent."""
    server = launch("--workers", "2", "--host", "127.0.0.1")
    assert_nothing_of_ours(server.get("/told/").json())


@pytest.mark.parametrize("number", ["1", "2"])
def test_a_child_has_no_socket_of_an_endpoint(launch: Launch, tmp_path: Path, number: str) -> None:
    """Of a Unix socket, and of TLS."""
    (tmp_path / "tls").mkdir()
    port = free_port()
    write_certificate(tmp_path / "tls" / "localhost.pem", "localhost")
    path = tmp_path / "socket"
    server = launch(
        *("--endpoint", f"unix:{path}", "--endpoint", "tcp:0:interface=127.0.0.1"),
        *("--endpoint", f"tls:{tmp_path / 'tls'}:port={port}:interface=127.0.0.1", "--workers", number),
    )
    with socket.socket(socket.AF_UNIX) as client, socket.create_connection(("127.0.0.1", port)):
        client.settimeout(PATIENCE)
        client.connect(str(path))
        client.sendall(b"GET /told/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b""
        while chunk := client.recv(65536):
            answer += chunk
    assert_nothing_of_ours(document(answer))
    assert server.terminate() == 0


def test_a_program_that_is_started_early_has_nothing_of_ours(launch: Launch) -> None:
    """By a worker whose ports are not open yet, with all files that can be inherited."""
    wsgi = (
        "import subprocess\n"
        "process = subprocess.Popen(['sleep', '600'], close_fds=False)\n"
        "open(f'early-{process.pid}', 'w').close()\n"
        "from django.core.wsgi import get_wsgi_application\n"
        "application = get_wsgi_application()\n"
    )
    server = launch("--workers", "2", site_wsgi=wsgi)
    early = [int(path.name.partition("-")[2]) for path in server.cwd.glob("early-*")]
    assert early
    for pid in early:
        names = [os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()]
        assert not any(name.startswith("socket:") for name in names), names


@pytest.mark.parametrize("args", [(), ("--workers", "2")], ids=["one process", "workers"])
def test_pools(launch: Launch, args: tuple[str, ...]) -> None:
    """They end with their block; those that are left end with the server, and none of them keeps its port."""
    server = launch(*args)
    assert server.get("/pool/", timeout=30).json() == {"result": 3}
    assert server.get("/abandoned/", timeout=30).json() == {"result": 3}
    server.signal(signal.SIGTERM)
    assert server.wait(PROMPT) == 0
    assert is_free(server.port)
    assert is_free(server.probe_port)
    wait_for(lambda: not titles(server), f"no process to be left: {titles(server)}")


def test_a_child_that_stays_keeps_nothing(launch: Launch) -> None:
    """The server is killed: its port is free at once, and its clients see the end of their connections."""
    server = launch()
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as client:
        client.sendall(b"GET /sleeper/ HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = client.recv(65536)
        while not answer.endswith(b"\r\n0\r\n\r\n"):
            answer += client.recv(65536)
        pid = document(answer)["pid"]
        # The child has been forked, and may only come to letting go of them now; the application's own socket stays.
        wait_for(lambda: len(sockets_of(server.process.pid) & sockets_of(pid)) == 1, "the child to let go of them")
        server.kill()
        assert client.recv(1) == b""
        assert Path(f"/proc/{pid}/cmdline").read_bytes()
        assert is_free(server.port)
        assert is_free(server.probe_port)
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: pid not in titles(server), "the child to end")


@pytest.mark.parametrize("args", [(), ("--workers", "2")], ids=["one process", "workers"])
def test_exit_statuses_are_the_childrens(launch: Launch, args: tuple[str, ...]) -> None:
    """Nobody takes them from subprocess or multiprocessing."""
    assert launch(*args).get("/statuses/").json() == {"shell": [*range(20)], "fork": [*range(20)]}


def test_children_of_a_daemon(tmp_path: Path) -> None:
    """The same in a process that twistd has forked itself."""
    directory = write_project(tmp_path / "project", VIEWS)
    server = start(cwd=directory, logs=tmp_path, runner="daemon", settings="site_settings")
    try:
        assert server.wait() == 0

        def ready() -> bool:
            with suppress(OSError):
                return server.probe("/ready").status == 200
            return False

        wait_for(ready, "the daemon to be ready")
        assert server.get("/terminated/?how=terminate").json()["statuses"] == ["-15"] * 20
        told = server.get("/told/").json()
        # twistd leaves an end of the one that it has told its parent by that it runs.
        assert_nothing_of_ours(told, pipes=3)
        assert {told["handlers"][name] for name in OURS if name != "SIGINT"} == {"<Handlers.SIG_DFL: 0>"}
        pid = int((directory / "twistd.pid").read_text())
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: not titles(server), "the daemon to end")
    finally:
        kill(server)
