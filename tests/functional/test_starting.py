"""Every way of starting the service, what configures it, what it says, and how it ends."""

from __future__ import annotations

import http.client
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.functional.harness import PATIENCE, PROMPT, Serve, Server, free_port, lines_with, refuses, wait_for
from tests.support.functional.processes import is_running

RUNNERS = ("twistd", "twist", "manage")

VIEWS = """
import time
from pathlib import Path
from django.http import HttpResponse
from django.urls import path
HERE = Path(__file__).resolve().parent

def hello(request):
    print("said by the view")
    return HttpResponse("hello")

def hold(request):
    size = int(request.GET["size"])
    (HERE / f"entered-{size}").touch()
    while not (HERE / "go").exists():
        time.sleep(0.02)
    return HttpResponse("x" * size)

urlpatterns = [path("", hello), path("hold/", hold)]
"""
HOLD_COMMAND = """
import time
from pathlib import Path
from django.core.management.base import BaseCommand

class Command(BaseCommand):
    def add_arguments(self, parser):
        parser.add_argument("name")

    def handle(self, *args, name, **options):
        self.stdout.write(f"begin {name}")
        while not Path(name).exists():
            time.sleep(0.02)
        self.stdout.write(f"end {name}")
"""

Project = Callable[..., Path]


@pytest.fixture(autouse=True)
def _deliver_interrupts() -> Iterator[None]:
    """Let the servers receive SIGINT even where the tests run in the background, with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def holding(project: Project) -> Project:
    """A project with the command `hold NAME`, which runs until a file NAME is in the current directory."""

    def write(settings: str = "", **kwargs: str) -> Path:
        directory = project(settings=f"INSTALLED_APPS += ['holding']\n{settings}", **kwargs)
        commands = directory / "holding" / "management" / "commands"
        commands.mkdir(parents=True)
        (commands / "hold.py").write_text(HOLD_COMMAND)
        return directory

    return write


def hold_a_request(server: Server, size: int) -> http.client.HTTPConnection:
    """A connection whose request is in a view that returns `size` bytes once the file `go` is there."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    connection.request("GET", f"/hold/?size={size}")
    wait_for((server.cwd / f"entered-{size}").exists, "the request to reach its view")
    return connection


# Starting, serving, stopping


@pytest.mark.smoke
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
@pytest.mark.parametrize("runner", RUNNERS)
def test_it_serves_the_project_and_ends_with_status_0(serve: Serve, runner: str, number: int) -> None:
    """Each command serves the project, logs its request once as plain text, and ends in good order on a signal."""
    server = serve(runner=runner)
    page = server.get("/?marked")
    assert (page.status, page.headers.get_content_type()) == (200, "text/html")
    assert '<ul class="books">' in page.text
    server.signal(number)
    assert server.wait() == 0, server.output
    assert refuses(server.port)
    assert refuses(server.probe_port)
    assert server.stderr == ""
    assert "Traceback" not in server.stdout
    [line] = lines_with(server.stdout, "/?marked")
    assert re.match(
        r'\S+ \S+ INFO twistserve\.access: 127\.0\.0\.1 - - \[[^]]+\] "GET /\?marked HTTP/1\.1" 200 \d+ ', line
    )


def test_a_daemon_serves_logs_to_its_file_and_ends_on_sigterm(serve: Serve, example: Path) -> None:
    """Without -n twistd returns at once with 0; the daemon serves, writes to its log file and removes its pid file."""
    pid_file, log_file = example / "twistd.pid", example / "twistd.log"
    parent = serve(runner="daemon", cwd=example, until=None)
    pid = None
    try:
        assert parent.wait() == 0, parent.output
        pid = int(wait_for(lambda: pid_file.read_text() if pid_file.exists() else None, "the pid file"))

        def ready() -> bool:
            assert is_running(pid), log_file.read_text()
            try:
                return parent.probe("/ready").status == 200
            except OSError:
                return False

        wait_for(ready, "the daemon to be ready")
        assert '<ul class="books">' in parent.get("/?marked").text
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: not is_running(pid), "the daemon to end")
    finally:
        if pid is not None and is_running(pid):
            os.kill(pid, signal.SIGKILL)
    assert not pid_file.exists()
    assert refuses(parent.port)
    log = log_file.read_text()
    assert len(lines_with(log, '"GET /?marked HTTP/1.1" 200')) == 1, log
    assert len(lines_with(log, f"serving on *:{parent.port}")) == 1, log
    assert "Traceback" not in log
    assert (parent.stdout, parent.stderr) == ("", "")


# Where options come from


@pytest.mark.parametrize("runner", ["twistd", "manage"])
def test_precedence_of_the_sources_of_an_option(serve: Serve, project: Project, runner: str) -> None:
    """The command line wins over the environment, that over the settings, those over the default."""
    directory = project(
        settings="TWISTSERVE = {name: '/settings' + name for name in"
        " ('STARTUP_PROBE', 'READINESS_PROBE', 'LIVENESS_PROBE')}\n"
    )
    server = serve(
        *("--startup-probe", "/line"),
        runner=runner,
        cwd=directory,
        settings="site_settings",
        env={"TWISTSERVE_STARTUP_PROBE": "/environment/startup", "TWISTSERVE_READINESS_PROBE": "/environment"},
        until="/environment",
    )
    statuses = {
        path: server.probe(path).status
        for path in (
            *("/line", "/environment/startup", "/settingsSTARTUP_PROBE", "/startup"),
            *("/environment", "/settingsREADINESS_PROBE", "/ready"),
            *("/settingsLIVENESS_PROBE", "/alive"),
            "/metrics",
        )
    }
    passing = {path for path, status in statuses.items() if status == 200}
    assert passing == {"/line", "/environment", "/settingsLIVENESS_PROBE", "/metrics"}
    assert {status for path, status in statuses.items() if path not in passing} == {404}


@pytest.mark.parametrize("runner", ["twistd", "manage"])
def test_ports_flags_and_lists_come_from_every_source(serve: Serve, holding: Project, runner: str) -> None:
    """Numbers, flags and repeated options obey the precedence too, and an empty environment variable says nothing."""
    port, probe_port = free_port(), free_port()
    directory = holding(
        settings="TWISTSERVE = {"
        f"'PORT': {port}, 'PROBE_PORT': 1, 'NO_METRICS': False, 'ACCESS_LOG': False, 'COMMAND': ['hold unwanted']}}\n",
        views=VIEWS,
    )
    for gate in ("one", "two"):
        (directory / gate).touch()
    server = serve(
        "--access-log",
        runner=runner,
        cwd=directory,
        settings="site_settings",
        port=port,
        env={
            "TWISTSERVE_PORT": "",
            "TWISTSERVE_PROBE_PORT": str(probe_port),
            "TWISTSERVE_NO_METRICS": "true",
            "TWISTSERVE_COMMAND": "hold one\nhold two",
        },
        until=None,
    )
    server.probe_port = probe_port
    server.wait_until()
    assert server.get("/?marked").text == "hello"
    assert server.probe("/metrics").status == 404
    assert server.terminate() == 0
    assert len(lines_with(server.stdout, "/?marked")) == 1
    ran = re.findall(r"(?:begin|end) \w+$", server.stdout, re.MULTILINE)
    assert ran == ["begin one", "end one", "begin two", "end two"]


@pytest.mark.parametrize("runner", ["twistd", "manage"])
def test_settings_and_pythonpath_options(serve: Serve, project: Project, tmp_path: Path, runner: str) -> None:
    """--settings wins over the environment; modules come from the current directory and from --pythonpath."""
    directory, elsewhere = project(views=VIEWS), tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "other_settings.py").write_text(
        "from site_settings import *\nTWISTSERVE = {'READINESS_PROBE': '/other'}\n"
    )
    server = serve(
        *("--settings", "other_settings", "--pythonpath", str(elsewhere)),
        runner=runner,
        cwd=directory,
        settings="site_settings",
        until="/other",
    )
    assert server.get("/").text == "hello"


@pytest.mark.parametrize("runner", ["twistd", "manage"])
def test_wsgi_wins_over_the_setting(serve: Serve, project: Project, runner: str) -> None:
    """--wsgi names the application to serve, whatever the project's WSGI_APPLICATION says."""
    directory = project(
        settings="WSGI_APPLICATION = 'nowhere.application'\n",
        other_wsgi=(
            "def application(environ, start_response):\n"
            "    start_response('200 OK', [('Content-Type', 'text/plain')])\n"
            "    return [b'the other one']\n"
        ),
    )
    server = serve("--wsgi", "other_wsgi.application", runner=runner, cwd=directory, settings="site_settings")
    assert server.get("/").text == "the other one"


@pytest.mark.parametrize("runner", ["twistd", "manage"])
def test_a_project_without_wsgi_application(serve: Serve, project: Project, runner: str) -> None:
    """Where the setting WSGI_APPLICATION is missing, Django's own handler of the project is served."""
    directory = project(views=VIEWS, settings="del WSGI_APPLICATION\n")
    server = serve(runner=runner, cwd=directory, settings="site_settings")
    assert server.get("/").text == "hello"


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize(
    ("path", "missing"),
    [("nowhere.application", "nowhere"), ("site_urls.wsgi.application", "site_urls.wsgi"), ("odd.a.b", "odd.a")],
)
def test_wsgi_application_of_a_module_that_does_not_exist(
    serve: Serve, project: Project, runner: str, path: str, missing: str
) -> None:
    """Where WSGI_APPLICATION names a module that is not there, Django's own handler is served, with a warning."""
    directory = project(views=VIEWS, settings=f"WSGI_APPLICATION = {path!r}\n")
    (directory / "odd").mkdir()
    server = serve(runner=runner, cwd=directory, settings="site_settings")
    assert server.get("/").text == "hello"
    [line] = lines_with(server.stdout, " WARNING twistserve.")
    assert f"the setting WSGI_APPLICATION is '{path}', and there is no module '{missing}'" in line


# Commands before serving


@pytest.mark.parametrize("runner", RUNNERS)
def test_commands_run_in_order_before_the_web_port_opens(serve: Serve, holding: Project, runner: str) -> None:
    """While a --command runs, /startup names it and its age, the process is alive, and the web port is closed."""
    directory = holding(views=VIEWS)
    server = serve(
        *("--command", "hold one", "--command", "hold two"),
        runner=runner,
        cwd=directory,
        settings="site_settings",
        until=None,
    )

    def startup(name: str) -> dict[str, Any] | None:
        """The entry of /startup, once it names this command."""
        if not server.answers("/startup", 503):
            return None
        answer = server.probe("/startup").json()
        assert answer["status"] == "fail"
        entry: dict[str, Any]
        [entry] = answer["checks"]["startup"]
        return entry if f"hold {name}" in entry["output"] else None

    first = wait_for(lambda: startup("one"), "/startup to name the first command")
    assert "two" not in str(first)
    wait_for(lambda: (entry := startup("one")) and entry["observedValue"] > first["observedValue"], "it to age")
    assert server.probe("/alive").status == 200
    assert server.probe("/ready").status == 503
    assert refuses(server.port)

    began = time.monotonic()
    (directory / "one").touch()
    second = wait_for(lambda: startup("two"), "/startup to name the second command")
    assert second["observedValue"] <= time.monotonic() - began + 0.1
    assert refuses(server.port)

    (directory / "two").touch()
    server.wait_until("/startup")
    server.wait_until("/ready")
    assert server.get("/").text == "hello"
    ran = re.findall(r"(?:begin|end) \w+$", server.stdout, re.MULTILINE)
    assert ran == ["begin one", "end one", "begin two", "end two"]


@pytest.mark.parametrize("runner", RUNNERS)
def test_the_log_says_how_long_each_step_took(serve: Serve, holding: Project, runner: str) -> None:
    """One line has the seconds of every step, and of what came before the first."""
    directory = holding(views=VIEWS)
    (directory / "one").touch()
    server = serve("--command", "hold one", runner=runner, cwd=directory, settings="site_settings")
    # The log is written by a thread of its own.
    [line] = wait_for(lambda: lines_with(server.stdout, "the start took "), "the line of the log")
    command = "running the command 'hold one'"
    steps = ("setting Django up", command, "loading the WSGI application", "opening the web ports")
    assert re.search(r"the start took (\d+\.\d{3}) s before the first step; ", line)
    assert all(re.search(rf"{re.escape(step)} \d+\.\d{{3}} s", line) for step in steps), line


# Ending


@pytest.mark.parametrize("runner", RUNNERS)
def test_requests_in_flight_at_sigterm_are_answered_completely(serve: Serve, project: Project, runner: str) -> None:
    """SIGTERM fails readiness and closes the web port, but requests in flight get their whole answers."""
    server = serve(runner=runner, cwd=project(views=VIEWS), settings="site_settings")
    held = {size: hold_a_request(server, size) for size in (5, 2_000_000)}
    server.signal(signal.SIGTERM)
    server.wait_until("/ready", 503)
    wait_for(lambda: refuses(server.port), "the web port to close")
    assert server.probe("/alive").status == 200
    (server.cwd / "go").touch()
    for size, connection in held.items():
        response = connection.getresponse()
        assert (response.status, len(response.read())) == (200, size)
        connection.close()
    assert server.wait() == 0, server.output
    assert "Traceback" not in server.output


@pytest.mark.parametrize("runner", RUNNERS)
def test_a_second_sigterm_does_not_wait(serve: Serve, project: Project, runner: str) -> None:
    """A second SIGTERM ends the process at once, though a request is in flight that would never end."""
    server = serve(runner=runner, cwd=project(views=VIEWS), settings="site_settings")
    connection = hold_a_request(server, 1)
    server.signal(signal.SIGTERM)
    server.wait_until("/ready", 503)
    server.signal(signal.SIGTERM)
    assert server.wait(PROMPT) == 0, server.output
    connection.close()
    assert "Traceback" not in server.output


@pytest.mark.parametrize("runner", RUNNERS)
def test_sigterm_during_a_command(serve: Serve, holding: Project, runner: str) -> None:
    """SIGTERM while a --command runs ends the process soon, with status 0, and nothing after it is begun."""
    server = serve(
        *("--command", "hold one", "--command", "hold two"),
        runner=runner,
        cwd=holding(),
        settings="site_settings",
        until=None,
    )
    wait_for(lambda: "begin one" in server.stdout, "the command to begin")
    server.signal(signal.SIGTERM)
    assert server.wait(PROMPT) == 0, server.output
    assert "begin two" not in server.stdout
    assert "Traceback" not in server.output


# What it says


@pytest.mark.parametrize("runner", RUNNERS)
def test_the_access_log_can_be_turned_off(serve: Serve, project: Project, runner: str) -> None:
    """--no-access-log drops the lines of requests and nothing else; what a view prints comes out as it is.

    Except that twist writes a log of its own, in JSON where standard output is no terminal, and puts the print there.
    """
    server = serve("--no-access-log", runner=runner, cwd=project(views=VIEWS), settings="site_settings")
    assert server.get("/?marked").text == "hello"
    assert server.terminate() == 0
    assert "/?marked" not in server.output
    assert len(re.findall(r"^.* INFO twistserve\S*: serving on .*$", server.stdout, re.MULTILINE)) == 1
    [said] = lines_with(server.stdout, "said by the view")
    assert said == "said by the view" or runner == "twist"


@pytest.mark.parametrize("runner", RUNNERS)
def test_log_level_warning_drops_what_is_merely_informative(serve: Serve, example: Path, runner: str) -> None:
    """With --log-level WARNING only twistserve's warnings are logged, such as a check that begins to fail."""
    server = serve("--log-level", "WARNING", runner=runner, cwd=example)
    (example / "closed").write_text("stocktaking")
    server.wait_until("/ready", 503)
    assert server.terminate() == 0
    assert not lines_with(server.output, " INFO twistserve.")
    [line] = lines_with(server.output, " WARNING twistserve.")
    assert "catalogue_is_open" in line


def console_logging(stream: str) -> str:
    """Settings with a console handler of the root logger; like any LOGGING, they disable existing loggers."""
    return f"""
LOGGING = {{
    "version": 1,
    "formatters": {{"project": {{"format": "PROJECT %(levelname)s %(name)s: %(message)s"}}}},
    "handlers": {{
        "console": {{"class": "logging.StreamHandler", "formatter": "project", "stream": "ext://sys.{stream}"}},
    }},
    "root": {{"handlers": ["console"], "level": "INFO"}},
}}
"""


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize("runner", ["twistd", "manage"])
def test_the_logging_of_the_project_gets_each_line_once(
    serve: Serve, project: Project, runner: str, stream: str
) -> None:
    """Where the project's LOGGING has a root handler, it writes each of twistserve's lines, and nothing else does."""
    directory = project(views=VIEWS, settings=console_logging(stream))
    server = serve(runner=runner, cwd=directory, settings="site_settings")
    assert server.get("/?marked").text == "hello"
    assert server.terminate() == 0
    written = getattr(server, stream).splitlines()
    [access] = lines_with(server.output, "/?marked")
    assert access.startswith("PROJECT INFO twistserve.access: 127.0.0.1 - - ")
    assert access in written
    messages = re.findall(r"twistserve[\w.]*: (.+)$", server.output, re.MULTILINE)
    assert len(messages) == len(set(messages)), server.output
    for words in ("serving on ", "received SIGTERM"):
        [line] = lines_with(server.output, words)
        assert line.startswith("PROJECT INFO twistserve.")
        assert line in written


def test_the_logging_of_the_project_under_twist(serve: Serve, project: Project) -> None:
    """twist takes what a project's console handler writes into a log of its own; each line comes once there too."""
    directory = project(views=VIEWS, settings=console_logging("stdout"))
    server = serve(runner="twist", cwd=directory, settings="site_settings")
    assert server.get("/?marked").text == "hello"
    assert server.terminate() == 0
    for words in ("/?marked", "serving on ", "received SIGTERM"):
        assert len(lines_with(server.output, words)) == 1, server.output
