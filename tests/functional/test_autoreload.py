"""--autoreload: what a developer sees while files change, fail, and are mended."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.functional.harness import (
    AT_ONCE,
    Serve,
    Server,
    assert_failed,
    free_port,
    lines_with,
    raw,
    refuses,
    wait_for,
)
from tests.support.functional.processes import children, is_running

Project = Callable[..., Path]

VIEWS = """
import os, time
from django.http import HttpResponse
from django.urls import path

def index(request):
    return HttpResponse("version {}")

def pid(request):
    return HttpResponse(str(os.getpid()))

def slow(request, seconds):
    open("begun", "w").close()
    time.sleep(seconds)
    return HttpResponse("slept")

urlpatterns = [path("", index), path("pid", pid), path("slow/<int:seconds>", slow)]
"""
OUT_OF_A_SESSION = ("setsid",)
"""Has the process lead a group, which a terminal's Ctrl-C goes to."""


def ask_for_long(server: Server) -> bytes:
    """Ask for what takes longer than anybody waits, and return what comes until the connection is cut."""
    try:
        return raw(server.port, b"GET /slow/50 HTTP/1.0\r\n\r\n")
    except ConnectionError:
        return b""


def version(number: object) -> str:
    return VIEWS.replace("{}", str(number))


def write(path: Path, text: str) -> None:
    """Save a file as editors do, with a time of its own."""
    temporary = path.with_name(path.name + "~")
    temporary.write_text(text)
    temporary.replace(path)


def serves(server: Server, number: object) -> None:
    """Wait until this version is served; requests meanwhile get one that was there before, never nothing."""
    wait_for(lambda: server.get("/").text == f"version {number}", lambda: f"version {number}\n{server.output}")


def fails(server: Server, *words: str) -> str:
    """Wait until requests get an error with these words; its text."""

    def shown() -> str:
        reply = server.get("/")
        return reply.text if reply.status == 500 and all(word in reply.text for word in words) else ""

    return wait_for(shown, lambda: f"an error with {words}\n{server.output}")


@pytest.fixture
def site(project: Project, serve: Serve) -> Callable[..., Server]:
    """A project's first version, served with --autoreload."""

    def begin(*options: str, settings: str = "", runner: str = "twistd", **keywords: object) -> Server:
        cwd = project(version(1), settings)
        server: Server = serve(
            "--autoreload", "--no-access-log", *options, cwd=cwd, runner=runner, settings="site_settings", **keywords
        )
        serves(server, 1)
        return server

    return begin


def child_of(server: Server) -> int:
    [pid] = children(server.process.pid)
    return pid


# Changes


@pytest.mark.parametrize("runner", ["twistd", "twist", "manage", "asyncio", "with a pid file", "with a log file"])
def test_a_change_is_served(site: Callable[..., Server], runner: str) -> None:
    """By another process; again and again, and the parent stays."""
    server = site(runner=runner)
    pids = {server.get("/pid").text}
    for number in (2, 3):
        write(server.cwd / "site_urls.py", version(number))
        serves(server, number)
        pids.add(server.get("/pid").text)
    assert len(pids) == 3
    assert server.terminate() == 0
    assert "Traceback" not in server.output


def test_no_request_fails_in_a_reload(site: Callable[..., Server]) -> None:
    """New connections wait, and what a kept one asks is responded to; one that ends has said so before."""
    server = site()
    stop, statuses, errors = threading.Event(), [], []

    def new_connections() -> None:
        while not stop.is_set():
            statuses.append(server.get("/").status)

    def kept_connection() -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", server.port)) as connection:
            while not stop.is_set():
                connection.request("GET", "/")
                response = connection.getresponse()
                statuses.append(response.status)
                response.read()

    def run(client: Callable[[], None]) -> None:
        try:
            client()
        except Exception as error:
            errors.append(error)

    clients = [threading.Thread(target=run, args=[each]) for each in (new_connections, kept_connection)]
    for client in clients:
        client.start()
    try:
        for number in range(2, 5):
            write(server.cwd / "site_urls.py", version(number))
            serves(server, number)
    finally:
        stop.set()
        for client in clients:
            client.join()
    assert errors == []
    assert set(statuses) == {200}


def test_a_request_during_a_reload_waits(site: Callable[..., Server]) -> None:
    """However long the start takes; probes say meanwhile that it starts."""
    server = site()
    started = server.cwd / "started"
    write(server.cwd / "site_urls.py", f"import time; open({str(started)!r}, 'w'); time.sleep(3)\n" + version(2))
    wait_for(started.exists, "the reload")
    began = time.monotonic()
    assert server.probe("/startup").status == 503
    assert server.get("/").text == "version 2"
    assert time.monotonic() - began > 1


def test_requests_in_flight_have_two_seconds(site: Callable[..., Server]) -> None:
    """What takes longer is cut off, and does not hold the reload up, nor does its thread."""
    server = site()
    replies: list[str] = []
    short = threading.Thread(target=lambda: replies.append(server.get("/slow/1").text))
    long = threading.Thread(target=lambda: replies.append(ask_for_long(server).decode()))
    for client in (short, long):
        (server.cwd / "begun").unlink(missing_ok=True)
        client.start()
        wait_for((server.cwd / "begun").exists, "the request")
    write(server.cwd / "site_urls.py", version(2))
    serves(server, 2)
    for client in (short, long):
        client.join(10)
    assert sorted(replies) == ["", "slept"]
    assert lines_with(server.stdout, "cut off after", "/slow/50")


def test_a_file_saved_ten_times_in_a_second(site: Callable[..., Server]) -> None:
    """The last version is served in the end, also if a save meets a process that is just starting."""
    server = site()
    for burst in range(3):
        for number in range(10):
            write(server.cwd / "site_urls.py", version(f"{burst}.{number}"))
            time.sleep(0.1)
    serves(server, "2.9")


def test_a_template_is_read_anew(site: Callable[..., Server], project: Project) -> None:
    """By the same process, for Django's loaders do so."""
    settings = (
        "TEMPLATES = [{'BACKEND': 'django.template.backends.django.DjangoTemplates', 'DIRS': [BASE_DIR / 'html']}]\n"
    )
    server = site(settings=settings)
    (server.cwd / "html").mkdir()
    write(server.cwd / "html" / "page.html", "one")
    write(
        server.cwd / "site_urls.py",
        version(2) + "from django.shortcuts import render\n"
        "urlpatterns += [path('page', lambda request: render(request, 'page.html'))]\n",
    )
    serves(server, 2)
    assert server.get("/page").text == "one"
    pid = server.get("/pid").text
    # Not before the templates are watched.
    time.sleep(1.5)
    write(server.cwd / "html" / "page.html", "two")
    wait_for(lambda: server.get("/page").text == "two", "the new template")
    assert server.get("/pid").text == pid


def test_further_files_are_watched(project: Project, serve: Serve) -> None:
    """What settings read from .env arrives, though it was in the environment of the process before."""
    settings = (
        "import os\n"
        "for line in open(BASE_DIR / '.env'):\n"
        "    os.environ.setdefault(*line.strip().split('='))\n"
        "GREETING = os.environ['GREETING']\n"
    )
    views = version("one").replace('"version one"', "'version ' + __import__('os').environ['GREETING']")
    cwd = project(views, settings)
    (cwd / ".env").write_text("GREETING=one\n")
    for runner in ("twistd", "manage"):
        write(cwd / ".env", "GREETING=one\n")
        server = serve(
            *("--autoreload", "--autoreload-watch", ".env"), cwd=cwd, runner=runner, settings="site_settings"
        )
        serves(server, "one")
        write(cwd / ".env", "GREETING=two\n")
        serves(server, "two")
        assert server.terminate() == 0


def test_twistd_in_another_directory(project: Project, serve: Serve) -> None:
    """The process is started where the command was given, each time."""
    cwd = project(version(1))
    (cwd / "run").mkdir()
    server = serve(
        *("--autoreload", "--pythonpath", str(cwd)), cwd=cwd, settings="site_settings", until=None, runner="elsewhere"
    )
    wait_for(lambda: not refuses(server.port), "the port")
    for number in (2, 3):
        write(cwd / "site_urls.py", version(number))
        serves(server, number)


def test_a_file_that_the_start_writes_reloads_only_some_times(site: Callable[..., Server]) -> None:
    """Otherwise it would go on for ever; a line says so."""
    server = site()
    (server.cwd / "made.py").write_text("")
    making = "open('made.py', 'w').close()\nimport made, time\n"
    write(server.cwd / "site_urls.py", making + version(2))
    wait_for(lambda: lines_with(server.stdout, "made.py has changed during 10 starts in a row"), lambda: server.output)
    serves(server, 2)
    pid = server.get("/pid").text
    time.sleep(2)
    assert server.get("/pid").text == pid
    write(server.cwd / "site_urls.py", making + version(3))
    serves(server, 3)


def test_other_sockets_than_ports(project: Project, serve: Serve, tmp_path: Path) -> None:
    """An endpoint is shared in the same way, and with it --no-probe."""
    path = tmp_path / "socket"
    cwd = project(version(1))
    serve(
        *("--autoreload", "--no-probe", "--endpoint", f"unix:{path}"),
        cwd=cwd, settings="site_settings", until=None,
    )  # fmt: skip

    def ask() -> str:
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
                client.sendall(b"GET / HTTP/1.0\r\n\r\n")
                return client.makefile("rb").read().decode()
        except OSError:
            return ""

    wait_for(lambda: "version 1" in ask(), "the first")
    write(cwd / "site_urls.py", "import nothing_of_that_name\n")
    wait_for(lambda: "nothing_of_that_name" in ask(), "the error")
    write(cwd / "site_urls.py", version(2))
    wait_for(lambda: "version 2" in ask(), "the second")


def test_options_of_the_sockets_stay(site: Callable[..., Server]) -> None:
    """What the setting says of ports counts when the command is started anew; a line says so."""
    server = site()
    write(
        server.cwd / "site_settings.py",
        (server.cwd / "site_settings.py").read_text() + "TWISTSERVE = {'PROBE_HOST': '127.0.0.1'}\n",
    )
    wait_for(lambda: lines_with(server.stdout, "--probe-host has changed"), lambda: server.output)
    serves(server, 1)


# Errors


def test_errors_are_served_until_they_are_mended(site: Callable[..., Server]) -> None:
    """A syntax error, then a missing module, which appears: each with its traceback, on the terminal too."""
    server = site()
    write(server.cwd / "site_urls.py", "def broken(:\n")
    text = fails(server, "SyntaxError", "def broken(:", "site_urls.py")
    assert text.startswith("The project does not serve.")
    assert "def broken(:" in server.stderr
    assert server.probe("/startup").status == server.probe("/ready").status == 503
    assert "SyntaxError" in server.probe("/ready").text
    assert server.probe("/alive").status == 200
    write(server.cwd / "site_urls.py", "import missing_module\n" + version(2))
    fails(server, "ModuleNotFoundError", "missing_module")
    write(server.cwd / "missing_module.py", "")
    serves(server, 2)
    server.wait_until("/ready")


@pytest.mark.parametrize("runner", ["twistd", "manage"])
def test_settings_and_apps_that_cannot_be_imported(site: Callable[..., Server], runner: str) -> None:
    """With manage.py they fail before any code of ours runs."""
    server = site(runner=runner)
    settings = (server.cwd / "site_settings.py").read_text()
    write(server.cwd / "site_settings.py", "1 / 0\n")
    fails(server, "ZeroDivisionError", "site_settings.py")
    (server.cwd / "shop").mkdir()
    (server.cwd / "shop" / "__init__.py").write_text("")
    (server.cwd / "shop" / "models.py").write_text("import nothing_of_that_name\n")
    write(server.cwd / "site_settings.py", settings + "INSTALLED_APPS += ['shop']\n")
    fails(server, "ModuleNotFoundError", "models.py")
    write(server.cwd / "shop" / "models.py", "")
    serves(server, 1)


def test_the_first_start_may_fail(project: Project, serve: Serve) -> None:
    """Settings that cannot be imported are waited for; then their options count but for the sockets."""
    cwd = project(version(1))
    settings = (cwd / "site_settings.py").read_text()
    (cwd / "site_settings.py").write_text("import nothing_of_that_name\n")
    server = serve("--autoreload", cwd=cwd, settings="site_settings", until=None)
    wait_for(lambda: not refuses(server.port), "the port")
    fails(server, "nothing_of_that_name", "site_settings.py")
    write(cwd / "site_settings.py", settings)
    serves(server, 1)


def test_an_option_that_is_wrong(site: Callable[..., Server]) -> None:
    """The setting may be edited too."""
    server = site()
    settings = (server.cwd / "site_settings.py").read_text()
    write(server.cwd / "site_settings.py", settings + "TWISTSERVE = {'THREADS': 0}\n")
    assert "--threads: 0 from the setting" in fails(server, "--threads")
    write(server.cwd / "site_settings.py", settings)
    serves(server, 1)


def test_a_process_that_is_killed(site: Callable[..., Server]) -> None:
    """Requests are told, and the next change starts another."""
    server = site()
    os.kill(child_of(server), signal.SIGKILL)
    fails(server, "killed by SIGKILL")
    write(server.cwd / "site_urls.py", version(2))
    serves(server, 2)


def test_the_error_as_a_page(site: Callable[..., Server]) -> None:
    """For browsers; nothing in it is taken for markup, and nobody may keep it."""
    server = site()
    write(server.cwd / "site_urls.py", "raise ValueError('<b>&')\n")
    fails(server, "ValueError")
    reply = server.get("/any?thing", headers={"Accept": "text/html,*/*;q=0.8"})
    assert (reply.status, reply.headers["Content-Type"]) == (500, "text/html; charset=utf-8")
    assert "&lt;b&gt;&amp;" in reply.text
    assert "<b>&" not in reply.text
    assert reply.headers["Cache-Control"] == "no-store"


def test_a_style_sheet_that_cannot_be_collected(project: Project, serve: Serve) -> None:
    """With --static-watch that fails the start; the sources of static files are watched then too."""
    settings = (
        "INSTALLED_APPS += ['django.contrib.staticfiles']\n"
        "STATIC_URL, STATIC_ROOT = '/static/', BASE_DIR / 'collected'\n"
        "STATICFILES_DIRS = [BASE_DIR / 'assets']\n"
        "STORAGES = {'staticfiles': {'BACKEND': 'django.contrib.staticfiles.storage.ManifestStaticFilesStorage'}}\n"
    )
    cwd = project(version(1), settings)
    (cwd / "assets").mkdir()
    write(cwd / "assets" / "site.css", "p { background: url(missing.png) }\n")
    options = ("--autoreload", "--static", "--static-watch", "assets")
    server = serve(*options, cwd=cwd, settings="site_settings", until=None)
    wait_for(lambda: not refuses(server.port), "the port")
    fails(server, "missing.png")
    write(cwd / "assets" / "site.css", "p { color: red }\n")
    serves(server, 1)
    assert "red" in server.get("/static/site.css").text
    write(cwd / "assets" / "site.css", "p { color: blue }\n")
    wait_for(lambda: "blue" in server.get("/static/site.css").text, "the new style sheet")


# The end


def interrupt(server: Server) -> None:
    """What a terminal does for Ctrl-C."""
    os.killpg(server.process.pid, signal.SIGINT)


def ends_in_silence(server: Server) -> None:
    child, before = child_of(server) if children(server.process.pid) else 0, server.output
    began = time.monotonic()
    interrupt(server)
    assert server.wait() == 0
    assert time.monotonic() - began < AT_ONCE
    assert server.output == before
    assert not is_running(child)


@pytest.mark.parametrize("runner", ["twistd", "twist", "manage"])
def test_ctrl_c_is_silent_and_immediate(site: Callable[..., Server], runner: str) -> None:
    """With a request in flight too, and no process is left."""
    server = site(runner=runner, prefix=OUT_OF_A_SESSION)
    client = threading.Thread(target=ask_for_long, args=[server])
    client.start()
    wait_for((server.cwd / "begun").exists, "the request")
    ends_in_silence(server)
    client.join()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_end_while_the_project_does_not_start(site: Callable[..., Server], number: int) -> None:
    """There is no process then but the parent."""
    server = site(prefix=OUT_OF_A_SESSION)
    write(server.cwd / "site_urls.py", "def broken(:\n")
    fails(server, "SyntaxError")
    wait_for(lambda: lines_with(server.stdout, "waiting for a change"), "the line")
    if number == signal.SIGINT:
        ends_in_silence(server)
    else:
        server.signal(number)
        assert server.wait(AT_ONCE) == 0


@pytest.mark.parametrize("runner", ["twistd", "manage"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_end_during_a_reload(site: Callable[..., Server], runner: str, number: int) -> None:
    """Whatever the start is at."""
    server = site(runner=runner, prefix=OUT_OF_A_SESSION)
    started = server.cwd / "started"
    write(server.cwd / "site_settings.py", f"import time; open({str(started)!r}, 'w'); time.sleep(50)\n")
    wait_for(started.exists, "the reload")
    child = child_of(server)
    began = time.monotonic()
    if number == signal.SIGINT:
        ends_in_silence(server)
    else:
        assert server.terminate() == 0
    assert time.monotonic() - began < AT_ONCE
    assert not is_running(child)


def test_sigterm_drains(site: Callable[..., Server]) -> None:
    """As without --autoreload: requests in flight have --graceful-timeout."""
    server = site()
    replies: list[str] = []
    client = threading.Thread(target=lambda: replies.append(server.get("/slow/3").text))
    client.start()
    wait_for((server.cwd / "begun").exists, "the request")
    assert server.terminate() == 0
    client.join()
    assert replies == ["slept"]


def test_a_second_sigterm_waits_for_nothing(site: Callable[..., Server]) -> None:
    """And leaves no process."""
    server = site()
    client = threading.Thread(target=ask_for_long, args=[server])
    client.start()
    wait_for((server.cwd / "begun").exists, "the request")
    child = child_of(server)
    server.signal(signal.SIGTERM)
    wait_for(lambda: lines_with(server.stdout, "received SIGTERM"), "the first")
    server.signal(signal.SIGTERM)
    assert server.wait(AT_ONCE) == 0
    wait_for(lambda: not is_running(child), "its process", AT_ONCE)
    client.join()


def test_nothing_is_left_when_the_parent_is_killed(site: Callable[..., Server]) -> None:
    """The port is free for the next try."""
    server = site()
    child = child_of(server)
    server.kill()
    wait_for(lambda: not is_running(child), "the end of the process that serves")
    assert refuses(server.port)


def test_a_process_that_ends_by_itself_ends_all(site: Callable[..., Server]) -> None:
    """As --max-lifetime says."""
    server = site("--max-lifetime", "5")
    for _ in range(6):
        server.get("/")
    assert server.wait() == 0


# Refusals


@pytest.mark.parametrize("runner", ["twistd", "manage"])
def test_one_process_is_reloaded(project: Project, serve: Serve, runner: str) -> None:
    """Workers have SIGHUP."""
    server = serve(
        *("--autoreload", "--workers", "2"), cwd=project(), settings="site_settings", until=None, runner=runner
    )
    assert_failed(server, "--autoreload", "--workers is 2", "give --workers 1")


def test_a_daemon_is_not_reloaded(project: Project, serve: Serve) -> None:
    """Nobody sits at its terminal."""
    server = serve("--autoreload", cwd=project(), settings="site_settings", until=None, runner="daemon")
    assert_failed(server, "--autoreload", "daemon", "give twistd -n")


def test_a_watched_path_that_is_not_there(project: Project, serve: Serve) -> None:
    """A typo would be noticed too late."""
    server = serve(
        *("--autoreload", "--autoreload-watch", "nowhere/.env"), cwd=project(), settings="site_settings", until=None
    )
    assert_failed(server, "--autoreload-watch: 'nowhere/.env'", "there is no such file or directory")


def test_a_port_in_use(project: Project, serve: Serve) -> None:
    """It ends as without --autoreload: no change of a file mends that."""
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        server = serve(
            "--autoreload",
            cwd=project(),
            settings="site_settings",
            until=None,
            port=port,
            env={"TWISTSERVE_PORT": str(port)},
        )
        assert_failed(server, "--port", "is in use")
