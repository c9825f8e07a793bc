"""--probe-port equal to --port: one port for the site, the probes and the metrics, from the start to the drain."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.functional.harness import (
    BIN,
    Serve,
    Server,
    assert_failed,
    fetch,
    free_port,
    lines_with,
    present,
    refuses,
    wait_for,
)

Project = Callable[..., Path]

VIEWS = """
import time
from pathlib import Path
from django.http import HttpResponse
from django.urls import path

def says(text):
    return lambda request: HttpResponse(text)

def hold(request):
    Path("entered").touch()
    while not Path("go").exists():
        time.sleep(0.02)
    return HttpResponse("held")

urlpatterns = [
    path("", says("home")),
    path("hold", hold),
    path("ready", says("my own")),
    path("ready/", says("my own")),
    path("ready/too", says("ready too")),
    path("metrics", says("my metrics")),
    path("echo", lambda request: HttpResponse(request.body)),
]
"""
SETTINGS = """
INSTALLED_APPS += ["holding", "django.contrib.staticfiles"]
STATIC_URL, STATIC_ROOT, WHITENOISE_ROOT = "/static/", BASE_DIR / "files", BASE_DIR / "root"
"""
HOLDING = """
import time
from pathlib import Path
from django.core.management.base import BaseCommand

class Command(BaseCommand):
    def handle(self, *args, **options):
        while not Path("go").exists():
            time.sleep(0.02)
"""
CHECKS = """
from pathlib import Path
from django.core.checks import Error, register

@register("readiness", deploy=True)
def shelves(**kwargs):
    return [Error("The shelves are empty.", id="shop.E001")] if Path("empty").exists() else []
"""


@pytest.fixture
def site(project: Project, serve: Serve) -> Callable[..., Server]:
    """A project on one port. Its command `hold` runs until there is a file `go`."""

    def begin(*options: str, runner: str = "twistd", until: str | None = "/ready", views: str = VIEWS) -> Server:
        directory = project(views, SETTINGS)
        commands = directory / "holding" / "management" / "commands"
        commands.mkdir(parents=True)
        (commands / "hold.py").write_text(HOLDING)
        (directory / "holding" / "__init__.py").write_text(CHECKS)
        for name in ("files/a.txt", "root/robots.txt", "root/alive"):
            (directory / name).parent.mkdir(exist_ok=True)
            (directory / name).write_text(f"a file: {name}")
        port = free_port()
        return serve(
            *("--port", str(port), "--probe-port", str(port), *options),
            port=port,
            cwd=directory,
            settings="site_settings",
            runner=runner,
            until=until,
        )

    return begin


@pytest.mark.parametrize("runner", ["twistd", "manage", "asyncio"])
def test_one_port_from_the_start_to_the_end(site: Callable[..., Server], runner: str) -> None:
    """Probes and metrics answer while it starts, is ready, fails and drains; the application when it is ready."""
    words = ("--command", "hold", "--drain-delay", "60", "--graceful-timeout", "5", "--static")
    server = site(*words, runner=runner, until=None)
    wait_for(lambda: lines_with(server.stdout, "running the command 'hold'"), lambda: server.output)

    # The start
    started = server.get("/startup")
    assert (started.status, "running the command 'hold'" in started.text) == (503, True)
    assert [server.get(path).status for path in ("/ready", "/alive", "/metrics")] == [503, 200, 200]
    for path, body in (("/", None), ("/ready/too", None), ("/echo", b"x" * 2_000_000)):
        early = server.get(path, method="GET" if body is None else "POST", body=body)
        assert (early.status, early.headers["Retry-After"], early.text) == (503, "1", "The service is starting.\n")

    # Ready
    (server.cwd / "go").touch()
    server.wait_until("/ready")
    assert server.get("/startup").json() == {"status": "pass", "checks": {"startup": [{"status": "pass"}]}}
    for path in ("/ready", "/ready/", "/alive"):
        assert server.get(path).headers["Content-Type"] == "application/health+json"
    for path, text in (("/", "home"), ("/ready/too", "ready too"), ("/static/a.txt", "a file: files/a.txt")):
        assert server.get(path).text == text
    assert server.get("/robots.txt").text == "a file: root/robots.txt"
    assert server.get("/status.json").headers["Content-Type"].startswith("text/html"), "the application's 404"
    with present(server, "empty"):
        failing = server.get("/ready", headers={"Accept": "text/plain"})
        assert (failing.status, "The shelves are empty." in failing.text) == (503, True)
        assert server.get("/").text == "home"

    # The drain
    server.signal(signal.SIGTERM)
    server.wait_until("/ready", 503)
    assert '"draining"' in server.get("/ready").text
    assert [server.get(path).status for path in ("/startup", "/alive", "/metrics", "/")] == [200] * 4
    server.signal(signal.SIGTERM)
    assert server.wait() == 0, server.output
    assert refuses(server.port)
    assert "Traceback" not in server.output


def test_what_is_counted_and_logged(site: Callable[..., Server]) -> None:
    """The requests of the site alone, as when the probes have a port of their own."""
    server = site()
    assert server.get("/?marked").status == 200
    counted = lambda: server.get("/metrics").text  # noqa: E731
    wait_for(lambda: 'requests_total{handler="django",method="GET",status="200"} 1.0' in counted(), counted)
    requests = lines_with(counted(), "twistserve_http_requests_total{")
    assert len(requests) == 1
    assert "twistserve_http_requests_in_progress 0.0" in counted()
    assert server.terminate() == 0
    [line] = lines_with(server.stdout, "twistserve.access")
    assert "/?marked" in line
    paths = re.findall(rf"http://127.0.0.1:{server.port}(\S+)", server.stdout)
    assert paths == ["/", "/startup", "/ready", "/alive"]


def test_probes_are_logged_where_that_is_wanted(site: Callable[..., Server]) -> None:
    """With --log-probes, whether the site's requests are or not."""
    server = site("--log-probes", "--no-access-log")
    assert server.get("/?marked").status == 200
    assert server.get("/alive/?marked").status == 200
    assert server.terminate() == 0
    [line] = lines_with(server.stdout, "twistserve.access", "marked")
    assert '"GET /alive/?marked HTTP/1.1" 200' in line


def test_the_probe_command_asks_there(site: Callable[..., Server]) -> None:
    """`manage.py probe`, and the same without the project's apps."""
    server = site()
    port = ("--port", str(server.port), "--probe-port", str(server.port))
    for words in (("manage.py", "probe", "alive"), ("-m", "twistserve.probes", "startup")):
        asked = [str(BIN / "python"), *words, *port]
        said = subprocess.run(asked, cwd=server.cwd, env=server.env, capture_output=True, text=True, check=False)
        assert (said.returncode, said.stdout.splitlines()[0]) == (0, "pass"), said


def test_probes_wait_behind_the_bound_of_connections(site: Callable[..., Server]) -> None:
    """As docs/probes.md says: no room is kept for them."""
    server = site("--max-connections", "1")
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(65536)
        with pytest.raises(TimeoutError):
            server.get("/alive", timeout=0.5)
    assert server.get("/alive").status == 200


def test_when_the_port_has_closed_there_are_no_probes(site: Callable[..., Server]) -> None:
    """As docs/probes.md says: while the last requests are responded to."""
    server = site()
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"GET /hold HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_for((server.cwd / "entered").exists, lambda: server.output)
        server.signal(signal.SIGTERM)
        wait_for(lambda: refuses(server.port), lambda: server.output)
        (server.cwd / "go").touch()
        assert client.makefile("rb").read().endswith(b"held\r\n0\r\n\r\n")
    assert server.wait() == 0, server.output


def test_a_start_that_fails(site: Callable[..., Server]) -> None:
    """Ends at once, whatever the times of a drain."""
    failed = site("--command", "no_such_command", "--drain-delay", "60", until=None)
    assert_failed(failed, "no_such_command")


@pytest.mark.parametrize(
    ("word", "path", "text"), [("--no-probe", "/ready", "my own"), ("--no-metrics", "/metrics", "my metrics")]
)
def test_what_is_switched_off_hides_nothing(site: Callable[..., Server], word: str, path: str, text: str) -> None:
    """Its path is the application's."""
    server = site(word, until=None)
    wait_for(lambda: lines_with(server.stdout, "the site is at"), lambda: server.output)
    assert server.get(path).text == text


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--workers", "2"], "--workers 2"),
        (["--endpoint", "tcp:0"], "--endpoint"),
        (["--endpoint", "tls:/certificates:port=0"], "TLS"),
        (["--probe-host", "127.0.0.1"], "--probe-host"),
    ],
)
def test_what_is_refused(site: Callable[..., Server], words: list[str], named: str) -> None:
    """In one line that says what to do."""
    assert_failed(site(*words, until=None), named, "give the probes a port of their own")


def test_while_the_project_does_not_start(site: Callable[..., Server]) -> None:
    """--autoreload: the parent answers the probes at their paths, and everything else by the error."""
    server = site("--autoreload")
    assert server.get("/").text == "home"
    urls = server.cwd / "site_urls.py"
    urls.write_text("raise RuntimeError('no shelves')\n")
    wait_for(lambda: "no shelves" in server.get("/").text, lambda: server.output)
    startup = server.get("/startup")
    assert (startup.status, "no shelves" in startup.text) == (503, True)
    assert [server.get(path).status for path in ("/ready/", "/alive", "/", "/ready/too")] == [503, 200, 500, 500]
    urls.write_text(VIEWS + "\n")
    server.wait_until("/ready")
    assert server.get("/").text == "home"
    assert server.terminate() == 0


def test_nothing_is_lost_when_the_application_takes_over(site: Callable[..., Server]) -> None:
    """Clients that ask all the time get that it starts, and then the page: nothing else."""
    server = site("--command", "hold", until=None)
    server.wait_until("/alive")
    seen: list[str] = []

    def ask() -> bool:
        seen.append(fetch(server.port, "/").text)
        if len(seen) == 20:
            (server.cwd / "go").touch()
        return seen[-1] == "home"

    wait_for(ask, lambda: server.output)
    assert set(seen[:-1]) == {"The service is starting.\n"}
