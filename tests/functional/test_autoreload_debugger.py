"""--autoreload together with --debugger: a breakpoint is hit, after a reload too, and no client stops one."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.functional.debug_client import DebugClient, attached, connect, line_of
from tests.support.functional.harness import (
    AT_ONCE,
    Reply,
    Serve,
    Server,
    free_port,
    lines_with,
    wait_for,
)
from tests.support.functional.processes import children, is_running

VIEWS = """
from django.http import HttpResponse
from django.urls import path

def hello(request):
    text = "version {}"
    return HttpResponse(text)

urlpatterns = [path("", hello), path("free", lambda request: HttpResponse("version {}"))]
"""


class Asking:
    """A request that is under way in a thread of its own."""

    def __init__(self, server: Server) -> None:
        self._replies: list[Reply] = []
        self._thread = threading.Thread(target=self._ask, args=[server])
        self._thread.start()

    def _ask(self, server: Server) -> None:
        with suppress(ConnectionError):
            self._replies.append(server.get("/"))

    def text(self) -> str:
        """What came, once it has; nothing if the connection was cut."""
        self._thread.join()
        return self._replies[0].text if self._replies else ""


@pytest.fixture
def developed(project: Callable[..., Path], serve: Serve) -> tuple[Server, int]:
    """A server that reloads and can be debugged, and the port of the debugger."""
    port = free_port()
    cwd = project(VIEWS.replace("{}", "1"))
    options = ("--autoreload", "--debugger", "--debugger-port", str(port), "--host", "127.0.0.1")
    return serve(*options, cwd=cwd, settings="site_settings", prefix=("setsid",)), port


def save(server: Server, number: int) -> None:
    temporary = server.cwd / "site_urls.py~"
    temporary.write_text(VIEWS.replace("{}", str(number)))
    temporary.replace(server.cwd / "site_urls.py")


def breakpoints(server: Server) -> dict[Path, list[int]]:
    path = server.cwd / "site_urls.py"
    return {path: [line_of(path, "return HttpResponse(text)")]}


def stop_and_look(server: Server, client: DebugClient, number: int) -> None:
    """Ask, stop at the breakpoint, look at the variable, and let it go on."""
    asking = Asking(server)
    thread = client.stopped()
    assert client.variables(thread)["text"] == f"'version {number}'"
    client.go_on(thread)
    assert asking.text() == f"version {number}"


def served(server: Server, number: int) -> Callable[[], bool]:
    return lambda: server.get("/free").text == f"version {number}"


def test_a_breakpoint_is_hit_after_a_reload_too(developed: tuple[Server, int]) -> None:
    """The client attaches anew; the one that was there does not stop the reload."""
    server, port = developed
    with attached(port, breakpoints(server)) as client:
        stop_and_look(server, client, 1)
        save(server, 2)
        wait_for(served(server, 2), "the reload")
        client.event("terminated")
    with attached(port, breakpoints(server)) as client:
        stop_and_look(server, client, 2)
    assert server.terminate() == 0


def test_a_view_at_a_breakpoint_does_not_stop_a_reload(developed: tuple[Server, int]) -> None:
    """It goes on, and its client has the response."""
    server, port = developed
    with attached(port, breakpoints(server)) as client:
        asking = Asking(server)
        client.stopped()
        save(server, 2)
        wait_for(served(server, 2), "the reload")
        assert asking.text() == "version 1"


def test_a_client_that_holds_the_port(developed: tuple[Server, int]) -> None:
    """A killed process leaves it with the client: the next one serves without a debugger, and says so."""
    server, port = developed
    with attached(port, breakpoints(server)):
        [child] = children(server.process.pid)
        os.kill(child, signal.SIGKILL)
        wait_for(lambda: server.get("/free").status == 500, "the page that tells of it")
        began = time.monotonic()
        save(server, 2)
        wait_for(served(server, 2), "the next process")
        assert time.monotonic() - began < 5, "pages wait for the port of the debugger"
        wait_for(
            lambda: lines_with(server.stdout, "WARNING", f"--debugger-port: 127.0.0.1:{port} has been taken for 5 s"),
            lambda: server.output,
        )
        assert server.get("/").text == "version 2"
    save(server, 3)
    wait_for(served(server, 3), "a third process")
    connect(port).close()


def test_a_port_of_another_program(project: Callable[..., Path], serve: Serve) -> None:
    """The same, and a reload tries it again."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        options = ("--autoreload", "--debugger", "--debugger-port", str(port))
        server = serve(*options, cwd=project(VIEWS.replace("{}", "1")), settings="site_settings")
        wait_for(
            lambda: lines_with(server.stdout, "WARNING", f"--debugger-port: 127.0.0.1:{port} has been taken for 5 s"),
            lambda: server.output,
        )
        assert server.get("/").text == "version 1"
    save(server, 2)
    wait_for(served(server, 2), "the reload")
    connect(port).close()


def test_ctrl_c_while_a_view_stands_at_a_breakpoint(developed: tuple[Server, int]) -> None:
    """Both processes are gone at once."""
    server, port = developed
    with attached(port, breakpoints(server)) as client:
        asking = Asking(server)
        client.stopped()
        [child] = children(server.process.pid)
        began = time.monotonic()
        os.killpg(server.process.pid, signal.SIGINT)
        assert server.wait() == 0
        assert time.monotonic() - began < AT_ONCE
        assert not is_running(child)
        assert asking.text() == ""
