"""Projects that configure logging: their handlers win, our formatters serve them, and no traceback is lost."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.functional.harness import PATIENCE, PROMPT, Server, command, free_port, wait_for
from tests.support.functional.logs import (
    SETTINGS,
    VIEWS,
    Launch,
    ends,
    launching_with_streams,
    lines_of,
    read_log,
    the_line,
)
from tests.support.functional.workers import kill_all

Project = Callable[..., Path]

RUNNERS = pytest.mark.parametrize("runner", ["twistd", "twist", "manage"])
DEBUG = pytest.mark.parametrize("debug", [True, False])
WORKERS = pytest.mark.parametrize("workers", ["1", "2"])


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    with launching_with_streams(tmp_path) as launcher:
        yield launcher


def fail(server: Server) -> None:
    assert server.get("/fail/").status == 500
    assert server.get("/nope").status == 404
    assert server.get("/shout/?text=x").status == 200


# Tracebacks


NOWHERE = {
    "none": "",
    "as issued": "LOGGING = {'version': 1, 'disable_existing_loggers': False}",
    "version alone": "LOGGING = {'version': 1}",
    "empty": "LOGGING = {}",
    "mail alone": """LOGGING = {"version": 1, "disable_existing_loggers": False,
        "handlers": {"mail": {"class": "django.utils.log.AdminEmailHandler", "level": "ERROR"}},
        "loggers": {"django.request": {"handlers": ["mail"], "level": "ERROR", "propagate": False}}}""",
    "mail of django": """LOGGING = {"version": 1, "disable_existing_loggers": True,
        "handlers": {"mail": {"class": "django.utils.log.AdminEmailHandler", "level": "ERROR"}},
        "loggers": {"django": {"handlers": ["mail"], "level": "INFO"}}}""",
    "null": """LOGGING = {"version": 1, "disable_existing_loggers": False,
        "handlers": {"null": {"class": "logging.NullHandler"}}, "root": {"handlers": ["null"], "level": "INFO"}}""",
    "no stream": """LOGGING = {"version": 1, "disable_existing_loggers": False,
        "handlers": {"memory": {"class": "site_handlers.List"}}, "root": {"handlers": ["memory"], "level": "INFO"}}""",
    "formatters": """LOGGING = {"version": 1, "disable_existing_loggers": False,
        "formatters": {"own": {"format": "%(message)s"}}}""",
    "only another logger": """LOGGING = {"version": 1, "disable_existing_loggers": False,
        "handlers": {"own": {"class": "logging.StreamHandler"}}, "loggers": {"shop": {"handlers": ["own"]}}}""",
    "above errors": """LOGGING = {"version": 1, "disable_existing_loggers": False,
        "handlers": {"own": {"class": "logging.StreamHandler", "level": "CRITICAL"}}, "root": {"handlers": ["own"]}}""",
    "only with debug": """LOGGING = {"version": 1, "disable_existing_loggers": False,
        "filters": {"debug": {"()": "django.utils.log.RequireDebugTrue"}},
        "handlers": {"own": {"class": "logging.StreamHandler", "filters": ["debug"]}},
        "loggers": {"django": {"handlers": ["own"], "level": "INFO"}}}""",
    "cut off": """LOGGING = {"version": 1, "disable_existing_loggers": False,
        "handlers": {"own": {"class": "logging.StreamHandler"}}, "root": {"handlers": ["own"]},
        "loggers": {"django": {"propagate": False}}}""",
}
"""Values of LOGGING under which Django's errors reach no stream and no file."""
LIST = "import logging\nclass List(logging.Handler):\n    def emit(self, record):\n        pass\n"


@pytest.mark.parametrize("form", ["text", "json"])
@DEBUG
@pytest.mark.parametrize("kind", NOWHERE)
def test_no_traceback_is_lost(launch: Launch, project: Project, kind: str, debug: bool, form: str) -> None:
    """Where LOGGING gives Django's errors no stream or file, they are written by us: once each."""
    settings = f"DEBUG = {debug}\n{NOWHERE[kind]}\n"
    server = launch("--log-format", form, cwd=project(VIEWS, settings=settings, site_handlers=LIST))
    fail(server)
    ends(server, PROMPT)
    assert server.output.count("LookupError: the shelf") == 1, server.output
    assert server.output.count("Internal Server Error: /fail/") == 1, server.output
    assert server.output.count("Not Found: /nope") <= 1, server.output
    if kind in ("none", "as issued", "version alone", "empty", "mail alone", "mail of django", "formatters"):
        lines = lines_of(server, form)
        line = the_line(lines, "Internal Server Error: /fail/")
        assert (line["logger"], line["level"]) == ("django.request", "ERROR")


@pytest.mark.parametrize("kind", ["none", "as issued", "version alone", "mail alone", "null"])
@pytest.mark.parametrize("runner", ["twist", "manage"])
def test_no_traceback_is_lost_by_other_commands(launch: Launch, project: Project, runner: str, kind: str) -> None:
    """The same under twist and manage.py serve."""
    server = launch(cwd=project(VIEWS, settings=f"{NOWHERE[kind]}\n"), runner=runner)
    fail(server)
    ends(server, PROMPT)
    assert server.output.count("LookupError: the shelf") == 1, server.output


@pytest.mark.parametrize("kind", ["none", "as issued", "version alone", "mail alone", "null"])
def test_no_traceback_is_lost_by_workers(launch: Launch, project: Project, kind: str) -> None:
    """The same in workers."""
    server = launch("--workers", "2", cwd=project(VIEWS, settings=f"{NOWHERE[kind]}\n"))
    for _ in range(4):
        fail(server)
    ends(server, PROMPT)
    assert server.output.count("LookupError: the shelf") == 4, server.output


SOMEWHERE = {
    "root": '"root": {"handlers": ["own"], "level": "INFO"}',
    "django": '"loggers": {"django": {"handlers": ["own"], "level": "INFO", "propagate": False}}',
    "django.request": '"loggers": {"django.request": {"handlers": ["own"], "level": "ERROR", "propagate": False}}',
    "django and root": '"loggers": {"django": {"handlers": ["own"], "level": "INFO", "propagate": False}}, '
    '"root": {"handlers": ["own"]}',
}
"""Loggers that take Django's errors to a handler of the project's."""
HANDLERS = {
    "stdout": '{"class": "logging.StreamHandler", "stream": "ext://sys.stdout", "formatter": "own"}',
    "stderr": '{"class": "logging.StreamHandler", "formatter": "own"}',
    "file": '{"class": "logging.FileHandler", "filename": BASE_DIR / "own.log", "formatter": "own"}',
    "rotating": '{"class": "logging.handlers.RotatingFileHandler", "filename": BASE_DIR / "own.log", '
    '"formatter": "own"}',
}


def own_logging(handler: str, loggers: str) -> str:
    return (
        'LOGGING = {"version": 1, "disable_existing_loggers": False, '
        '"formatters": {"own": {"format": "OWN %(levelname)s %(name)s %(message)s"}}, '
        f'"handlers": {{"own": {handler}}}, {loggers}}}\n'
    )


@DEBUG
@pytest.mark.parametrize("handler", HANDLERS)
@pytest.mark.parametrize("loggers", SOMEWHERE)
def test_the_handlers_of_the_project_win(
    launch: Launch, project: Project, loggers: str, handler: str, debug: bool
) -> None:
    """Where LOGGING takes Django's errors to a stream or a file, they are there, once, and nowhere else."""
    directory = project(VIEWS, settings=f"DEBUG = {debug}\n" + own_logging(HANDLERS[handler], SOMEWHERE[loggers]))
    server = launch("--log-format", "json", cwd=directory)
    fail(server)
    ends(server, PROMPT)
    own = {"stdout": server.stdout, "stderr": server.stderr}.get(handler)
    own = own if own is not None else (directory / "own.log").read_text()
    everything = server.output + (own if handler in ("file", "rotating") else "")
    assert everything.count("LookupError: the shelf") == 1, everything
    assert own.count("OWN ERROR django.request Internal Server Error: /fail/") == 1, own
    if loggers != "django.request":
        assert everything.count("Not Found: /nope") == own.count("OWN WARNING django.request Not Found: /nope") == 1
    if "root" in loggers:
        assert own.count("OWN WARNING shop said x") == everything.count("said x") == 1
        assert "OWN INFO twistserve.access" in own or "OWN ERROR twistserve.access" in own
        if handler != "stdout":
            assert "ready" not in server.stdout, "nothing goes elsewhere once LOGGING is applied"


@WORKERS
@RUNNERS
def test_a_handler_of_our_loggers(launch: Launch, project: Project, runner: str, workers: str) -> None:
    """A handler of the logger `twistserve` gets our lines, and only those; Django's go on as without LOGGING."""
    loggers = '"loggers": {"twistserve": {"handlers": ["own"], "propagate": False}}'
    directory = project(VIEWS, settings=own_logging(HANDLERS["file"], loggers))
    server = launch("--workers", workers, cwd=directory, runner=runner)
    fail(server)
    ends(server, PROMPT)
    own = (directory / "own.log").read_text()
    assert own.count('GET /fail/ HTTP/1.1" 500') == 1
    assert "OWN ERROR twistserve.access" in own
    assert "django.request" not in own
    assert server.output.count("LookupError: the shelf") == 1, server.output


# Other ways to configure


CONFIGURED = {
    "dictConfig": "import logging.config\nLOGGING_CONFIG = None\n"
    + own_logging(HANDLERS["stdout"], SOMEWHERE["root"])
    + "logging.config.dictConfig(LOGGING)\n",
    "basicConfig": "import logging, sys\nLOGGING = {'version': 1, 'disable_existing_loggers': False}\n"
    "logging.basicConfig(level='INFO', stream=sys.stdout, format='OWN %(levelname)s %(name)s %(message)s')\n",
    "basicConfig without LOGGING_CONFIG": "import logging, sys\nLOGGING_CONFIG = None\n"
    "logging.basicConfig(level='INFO', stream=sys.stdout, format='OWN %(levelname)s %(name)s %(message)s')\n",
    "a function": own_logging(HANDLERS["stdout"], SOMEWHERE["root"]) + "LOGGING_CONFIG = 'site_handlers.configure'\n",
}
CONFIGURE = "import logging.config\ndef configure(config):\n    logging.config.dictConfig(config)\n"


@WORKERS
@RUNNERS
@pytest.mark.parametrize("kind", CONFIGURED)
def test_other_ways_to_configure(launch: Launch, project: Project, kind: str, runner: str, workers: str) -> None:
    """Handlers that the settings made themselves win as those of LOGGING do, and have each line once."""
    directory = project(VIEWS, settings=CONFIGURED[kind], site_handlers=CONFIGURE)
    server = launch("--workers", workers, cwd=directory, runner=runner)
    fail(server)
    ends(server, PROMPT)
    assert server.output.count("LookupError: the shelf") == 1, server.output
    assert server.stdout.count("OWN ERROR django.request Internal Server Error: /fail/") == 1, server.output
    assert server.stdout.count("OWN WARNING shop said x") == server.output.count("said x") == 1
    access = [line for line in server.output.splitlines() if "GET /fail/" in line]
    assert len(access) == 1, access
    assert access[0].startswith("OWN ERROR twistserve.access"), access


@RUNNERS
def test_logging_config_none_alone(launch: Launch, project: Project, runner: str) -> None:
    """LOGGING_CONFIG = None without anything else loses nothing."""
    server = launch("--log-format", "json", cwd=project(VIEWS, settings="LOGGING_CONFIG = None\n"), runner=runner)
    fail(server)
    ends(server, PROMPT)
    assert server.output.count("LookupError: the shelf") == 1, server.output
    line = the_line(lines_of(server), "Internal Server Error: /fail/")
    assert "LookupError" in line["exception"]


def test_disabled_loggers(launch: Launch, project: Project) -> None:
    """disable_existing_loggers silences none of the server's loggers."""
    settings = own_logging(HANDLERS["stdout"], SOMEWHERE["root"]).replace("False", "True")
    server = launch(cwd=project(VIEWS, settings=settings))
    server.get("/")
    ends(server, PROMPT)
    for words in ("OWN INFO twistserve.access", "serving on", "received SIGTERM"):
        assert server.stdout.count(words) == 1, server.output


# Our formatters


@pytest.mark.parametrize("form", ["json", "text"])
@RUNNERS
def test_our_formatters_by_name(launch: Launch, project: Project, runner: str, form: str) -> None:
    """LOGGING can name twistserve.logs.JSONFormatter or TextFormatter: every line of its handler has the format."""
    formatter = {"json": "JSONFormatter", "text": "TextFormatter"}[form]
    settings = f"""LOGGING = {{"version": 1, "disable_existing_loggers": False,
        "formatters": {{"ours": {{"()": "twistserve.logs.{formatter}"}}}},
        "handlers": {{"own": {{"class": "logging.FileHandler", "filename": "own.log", "formatter": "ours"}}}},
        "root": {{"handlers": ["own"], "level": "INFO"}}}}\n"""
    directory = project(VIEWS, settings=settings)
    server = launch(cwd=directory, runner=runner)
    reply = server.get("/fail/")
    fail(server)
    ends(server, PROMPT)
    lines = read_log((directory / "own.log").read_text(), form)
    the_line(lines, "said x")
    the_line(lines, "serving on")
    access = [line for line in lines if line["logger"] == "twistserve.access"]
    assert [line["level"] for line in access] == ["ERROR", "ERROR", "WARNING", "INFO"]
    if form == "json":
        ids = [line["request_id"] for line in lines if line["message"] == "Internal Server Error: /fail/"]
        assert len(ids) == 2
        assert ids[0] == reply.headers["X-Request-ID"]
        assert access[0]["path"] == "/fail/"
        assert access[0]["status"] == 500


def test_our_formatters_outside_of_the_server(project: Project) -> None:
    """The same settings serve any command of manage.py."""
    settings = """LOGGING = {"version": 1, "disable_existing_loggers": False,
        "formatters": {"json": {"class": "twistserve.logs.JSONFormatter"},
                       "text": {"()": "twistserve.logs.TextFormatter"}},
        "handlers": {"json": {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stdout"},
                     "text": {"class": "logging.StreamHandler", "formatter": "text"}},
        "root": {"handlers": ["json", "text"], "level": "INFO"}}\n"""
    words = "import logging; logging.getLogger('shop').warning('said %s', 'x')"
    ran = subprocess.run(
        [*command("manage")[:2], "shell", "-c", words],
        cwd=project(VIEWS, settings=settings),
        capture_output=True,
        text=True,
        check=True,
    )
    [line] = read_log("\n".join(each for each in ran.stdout.splitlines() if "said x" in each), "json")
    assert (line["logger"], line["level"], line["message"]) == ("shop", "WARNING", "said x")
    [line] = read_log("\n".join(each for each in ran.stderr.splitlines() if "said x" in each), "text")
    assert (line["logger"], line["level"], line["message"]) == ("shop", "WARNING", "said x")


# A terminal


def on_a_terminal(directory: Path, runner: str, *args: str, env: dict[str, str]) -> str:
    """What a server writes to a terminal: from its start over a 404 and a failing request to its end."""
    port, (controller, terminal) = free_port(), pty.openpty()
    environ = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    process = subprocess.Popen(
        [*command(runner), "--port", str(port), *args],
        cwd=directory,
        env={**environ, "DJANGO_SETTINGS_MODULE": SETTINGS, "TERM": "xterm-256color", **env},
        stdin=subprocess.DEVNULL,
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    written: list[bytes] = []

    def read() -> None:
        try:
            while chunk := os.read(controller, 65536):
                written.append(chunk)
        except OSError:  # the last who had the terminal has closed it
            pass

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    nowhere = Path(os.devnull)
    server = Server(process, port, port + 1, nowhere, nowhere, directory)
    try:
        server.wait_until()
        fail(server)
        wait_for(lambda: b"GET /shout/" in b"".join(written), "the lines")
        assert server.terminate() == 0
    finally:
        kill_all(server)
        process.wait()
        reader.join(PATIENCE)
        os.close(controller)
    return b"".join(written).decode().replace("\r\n", "\n")


COLOUR = re.compile(r"\x1b\[[\d;]*m")


@RUNNERS
def test_colours_on_a_terminal(project: Project, runner: str) -> None:
    """On a terminal lines are coloured, and but for the colours, and further lines, they are those of the format."""
    text = on_a_terminal(project(VIEWS), runner, env={})
    lines = text.splitlines()
    for words in ("Internal Server Error", "Not Found", "GET /fail/"):
        [line] = [line for line in lines if words in line]
        assert COLOUR.search(line), line
    assert "\n    Traceback " in text, "further lines of a message are indented"
    read_log(re.sub(r"^    .*\n", "", COLOUR.sub("", text), flags=re.M), "text")
    for line in lines:
        colours = COLOUR.findall(line)
        assert not colours or colours[-1] in ("\x1b[0m", "\x1b[m"), f"the colour is not ended: {line!r}"


@pytest.mark.parametrize("runner", ["twistd", "manage"])
def test_no_colours_in_json(project: Project, runner: str) -> None:
    """json has no colours, on a terminal either."""
    text = on_a_terminal(project(VIEWS), runner, "--log-format", "json", env={})
    assert "\x1b" not in text
    read_log(text, "json")


@pytest.mark.parametrize("runner", ["twistd", "manage"])
@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_colours(project: Project, env: dict[str, str], runner: str) -> None:
    """NO_COLOR (no-color.org) is honoured, and a terminal that has no colours is not sent any, as Django has it."""
    assert "\x1b" not in on_a_terminal(project(VIEWS), runner, env=env)
