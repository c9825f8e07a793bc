"""A debugger attaches to a server that runs: breakpoints, probes meanwhile, the end, and the next process."""

from __future__ import annotations

import json
import re
import signal
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.functional.debug_client import DebugClient, attached, connect, line_of
from tests.support.functional.harness import (
    AT_ONCE,
    PROMPT,
    ROOT,
    Reply,
    Serve,
    Server,
    assert_failed,
    fetch,
    free_port,
    lines_with,
    refuses,
    wait_for,
)

Project = Callable[..., Path]
Hold = Callable[[Server, DebugClient], tuple[int, "Future[Reply]"]]

VIEWS = """
import os, subprocess, sys
from pathlib import Path
from django.core.checks import register
from django.http import HttpResponse
from django.urls import path

@register("readiness", deploy=True)
def noted(app_configs, **kwargs):
    with Path(__file__).with_name("checked").open("a") as file:
        file.write("checked ")
    return []

def hello(request):
    name = request.GET.get("name", "you")
    text = f"hello {name}"
    return HttpResponse(text)

def children(request):
    pid = os.fork()
    if pid == 0:
        os._exit(7)
    forked = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return HttpResponse(f"{forked} {subprocess.run([sys.executable, '-c', 'exit(8)']).returncode}")

def stop(request):
    breakpoint()
    return HttpResponse("went on")

urlpatterns = [path("", hello), path("children/", children), path("stop/", stop)]
"""
APPS = """
from django.apps import AppConfig

class Slow(AppConfig):
    name = "site_app"

    def ready(self):
        import debugpy
        debugpy.wait_for_client()
        answer = 42
        print("the answer is", answer)
"""


@pytest.fixture
def site(project: Project) -> Path:
    return project(VIEWS)


@pytest.fixture
def debugged(serve: Serve, site: Path) -> Callable[..., tuple[Server, int]]:
    """Start a server with a debugger: the server, and the port of the debugger."""

    def starter(*words: str, port: int | None = None, cwd: Path = site, **keywords: Any) -> tuple[Server, int]:
        port = port or free_port()
        options = ["--debugger", "--debugger-port", str(port), "--host", "127.0.0.1"]
        return serve(*options, *words, cwd=cwd, settings="site_settings", **keywords), port

    return starter


@pytest.fixture
def hold() -> Iterator[Hold]:
    """Have a view stand at its breakpoint: the thread's id, and what becomes of the request."""
    with ThreadPoolExecutor(4) as clients:

        def request(server: Server, client: DebugClient) -> tuple[int, Future[Reply]]:
            future = clients.submit(fetch, server.port, "/?name=Ada")
            return client.stopped(), future

        yield request


def in_view(site: Path) -> dict[Path, list[int]]:
    """A breakpoint at the last line of the view."""
    return {site / "site_urls.py": [line_of(site / "site_urls.py", "return HttpResponse(text)")]}


def answer(future: Future[Reply]) -> tuple[int, str]:
    reply = future.result()
    return reply.status, reply.text


@pytest.mark.parametrize("runner", ["twistd", "twist", "manage", "asyncio"])
def test_a_breakpoint_in_a_view(
    debugged: Callable[..., tuple[Server, int]], site: Path, hold: Hold, runner: str
) -> None:
    """Its local variables are read while the probes answer, past every timeout of requests; then it responds."""
    server, port = debugged("--request-timeout", "0.001", runner=runner)
    with attached(port, in_view(site)) as client:
        thread, future = hold(server, client)
        assert client.frame(thread)["name"] == "hello"
        variables = client.variables(thread)
        assert (variables["name"], variables["text"]) == ("'Ada'", "'hello Ada'")
        for path in ("/startup", "/ready", "/alive", "/metrics", "/"):
            assert server.probe(path, timeout=PROMPT).status == 200
        before = (site / "checked").read_text()
        wait_for(lambda: server.answers() and (site / "checked").read_text() != before, "a check to run")
        assert not future.done()
        client.go_on(thread)
        assert answer(future) == (200, "hello Ada")
        client.disconnect()
    assert server.get("/").text == "hello you"
    assert server.terminate() == 0
    assert "--request-timeout has no effect with --debugger" in server.stdout
    assert refuses(port)


def test_a_client_comes_and_goes(debugged: Callable[..., tuple[Server, int]], site: Path, hold: Hold) -> None:
    """A view at a breakpoint goes on when its client detaches, and when it vanishes; the next can attach."""
    server, port = debugged()
    for leave in (DebugClient.disconnect, DebugClient.close, DebugClient.disconnect):
        client = connect(port)
        client.attach(in_view(site))
        _, future = hold(server, client)
        leave(client)
        assert answer(future) == (200, "hello Ada")


def test_breakpoint_in_the_code(debugged: Callable[..., tuple[Server, int]], site: Path) -> None:
    """Python's own function stops in the client, and nowhere while there is none."""
    server, port = debugged()
    assert server.get("/stop/", timeout=PROMPT).text == "went on"
    with attached(port, {}) as client, ThreadPoolExecutor(1) as clients:
        future = clients.submit(server.get, "/stop/")
        thread = client.stopped()
        assert client.frame(thread)["name"] == "stop"
        client.go_on(thread)
        assert answer(future) == (200, "went on")
        client.disconnect()


def test_child_processes_do_not_wait_for_a_client(debugged: Callable[..., tuple[Server, int]], site: Path) -> None:
    """Neither a forked one with a breakpoint on its way, nor another Python."""
    server, port = debugged()
    with attached(port, {site / "site_urls.py": [line_of(site / "site_urls.py", "os._exit")]}) as client:
        assert server.get("/children/", timeout=PROMPT).text == "7 8"
        client.disconnect()


def test_a_breakpoint_in_the_start_up(debugged: Callable[..., tuple[Server, int]], project: Project) -> None:
    """An AppConfig that waits for the debugger can be debugged, while the startup probe tells the step."""
    site = project(VIEWS, "INSTALLED_APPS += ['site_app.Slow']\n", site_app=APPS)
    server, port = debugged(until=None, cwd=site)
    with attached(port, {site / "site_app.py": [line_of(site / "site_app.py", "print")]}) as client:
        thread = client.stopped()
        assert client.variables(thread)["answer"] == "42"
        assert "setting Django up" in server.probe("/startup").text
        client.go_on(thread)
        server.wait_until()
        client.disconnect()


def test_ctrl_c_in_a_start_up_that_stands_at_a_breakpoint(
    debugged: Callable[..., tuple[Server, int]], project: Project
) -> None:
    """It ends as it does at any other step."""
    site = project(VIEWS, "INSTALLED_APPS += ['site_app.Slow']\n", site_app=APPS)
    server, port = debugged(until=None, cwd=site)
    with attached(port, {site / "site_app.py": [line_of(site / "site_app.py", "print")]}) as client:
        client.stopped()
        server.signal(signal.SIGINT)
        assert server.wait(PROMPT) == 0
        client.wait_for_close()
    assert refuses(port)


# The end


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_the_end_while_a_client_is_connected(
    debugged: Callable[..., tuple[Server, int]], site: Path, number: signal.Signals
) -> None:
    """One that leaves when debugging is over, as editors do, is not cut off."""
    server, port = debugged()
    with attached(port, in_view(site)) as client:
        server.signal(number)
        client.event("terminated")
        client.disconnect()
        assert server.wait(PROMPT) == 0
    assert "has not left" not in server.stdout
    assert refuses(port)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_the_end_while_a_view_stands_at_a_breakpoint(
    debugged: Callable[..., tuple[Server, int]], site: Path, hold: Hold, number: signal.Signals
) -> None:
    """The view goes on and its client has the response; a debugger that stays connected loses its connection."""
    server, port = debugged()
    with attached(port, in_view(site)) as client:
        _, future = hold(server, client)
        server.signal(number)
        assert server.wait(PROMPT) == 0
        assert answer(future) == (200, "hello Ada")
        client.event("terminated")
        client.wait_for_close()
    assert "the debugger's client has not left" in server.stdout
    assert refuses(port)


def test_a_second_ctrl_c_ends_at_once(debugged: Callable[..., tuple[Server, int]], site: Path) -> None:
    """Whatever the client of the debugger does."""
    server, port = debugged()
    with attached(port, in_view(site)):
        server.signal(signal.SIGINT)
        wait_for(lambda: "draining" in server.stdout, "the drain")
        server.signal(signal.SIGINT)
        assert server.wait(AT_ONCE) == 0


# The next process


@pytest.mark.parametrize("stays", [False, True], ids=["leaves", "stays"])
def test_the_next_process_has_the_port(
    debugged: Callable[..., tuple[Server, int]], site: Path, hold: Hold, stays: bool
) -> None:
    """Whether the client of the one before has left or not, it is debugged at once."""
    server, port = debugged()
    with attached(port, in_view(site)) as before:
        if not stays:
            before.disconnect()
        assert server.terminate() == 0
        server, port = debugged(port=port)
        assert lines_with(server.stdout, "a debugger can attach to")
        with attached(port, in_view(site)) as client:
            thread, future = hold(server, client)
            assert client.variables(thread)["name"] == "'Ada'"
            client.go_on(thread)
            assert answer(future) == (200, "hello Ada")
            client.disconnect()


def test_the_client_of_a_process_that_was_killed(debugged: Callable[..., tuple[Server, int]], site: Path) -> None:
    """While it stays, the port is taken: pages are served meanwhile, and the debugger listens once it has left."""
    server, port = debugged()
    with attached(port, in_view(site)) as client:
        server.kill()
        assert refuses(server.port)
        server, port = debugged(port=port)
        assert server.get("/").text == "hello you"
        assert not lines_with(server.stdout, "a debugger can attach to")
        client.disconnect()
        wait_for(lambda: lines_with(server.stdout, "a debugger can attach to"), "the port to be free")


def test_a_port_that_another_program_has(debugged: Callable[..., tuple[Server, int]]) -> None:
    """It is served without a debugger, and said once who has the port."""
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        server, port = debugged(port=taken.getsockname()[1])
        assert server.get("/").status == 200
        wait_for(lambda: lines_with(server.stdout, "WARNING", "has been taken"), "the warning")
        [line] = lines_with(server.stdout, "WARNING", "--debugger-port")
        assert f"127.0.0.1:{port} has been taken for 5 s by process" in line
        assert "serving without a debugger; end it or give another port" in line
        assert server.get("/").status == 200
        assert server.terminate() == 0


# What is refused


def test_an_address_that_is_not_ours_fails_the_start(debugged: Callable[..., tuple[Server, int]]) -> None:
    """In one line that names the option."""
    server, _ = debugged("--debugger-host", "192.0.2.1", until=None)
    assert_failed(server, "--debugger-host", "192.0.2.1")


@pytest.mark.parametrize("runner", ["twistd", "twist", "manage"])
def test_pycharm_s_options_say_what_to_use(serve: Serve, site: Path, runner: str) -> None:
    """On the command line of each runner, and in the environment."""
    typed = serve("--pycharm-host", "localhost", until=None, cwd=site, settings="site_settings", runner=runner)
    assert_failed(typed, "--pycharm-host", "use --debugger", "Attach to DAP")
    environ = {"TWISTSERVE_PYCHARM_PORT": "9000"}
    server = serve(until=None, cwd=site, settings="site_settings", runner=runner, env=environ)
    assert_failed(server, "TWISTSERVE_PYCHARM_PORT", "use --debugger")


def test_the_document_s_launch_json_is_json() -> None:
    """And attaches to where --debugger listens by default."""
    text = (ROOT / "docs/development.md").read_text()
    [plain, container] = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL)]
    for document in (plain, container):
        [one] = document["configurations"]
        assert (one["type"], one["request"], one["connect"]) == (
            "debugpy",
            "attach",
            {"host": "127.0.0.1", "port": 5678},
        )
    assert "pathMappings" not in plain["configurations"][0]
    assert container["configurations"][0]["pathMappings"] == [{"localRoot": "${workspaceFolder}", "remoteRoot": "/app"}]
