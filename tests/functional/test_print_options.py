"""--print-options and --print-options-json: what is in force and where it came from, on standard output and no more."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.functional.harness import PATIENCE_WITH_FAILURE, Serve, Server, assert_failed, lines_with, refuses

RUNNERS = ("twistd", "asyncio", "with a log file", "with a pid file", "daemon", "twist", "manage")
SETTINGS = """
import warnings
TWISTSERVE = {"THREADS": 3, "WEBHOOK_SECRET": "hunter2", "WEBHOOK_URL": ["https://me:hunter2@hooks.example.com/T0KEN"]}
"""
LOUD = """
import logging, sys
print("importing the settings")
logging.basicConfig(stream=sys.stdout)
logging.getLogger("shop").error("the shop is open")
warnings.warn("the shop will close", DeprecationWarning)
"""
APP = """
from django.apps import AppConfig

class Shop(AppConfig):
    name = "shop"

    def ready(self):
        open("set-up", "w").close()
"""

Project = Callable[..., Path]


def printed(server: Server) -> str:
    """What is on standard output of a command that ends at once with status 0, having served nothing."""
    assert server.wait(PATIENCE_WITH_FAILURE) == 0, server.output
    assert refuses(server.port)
    assert refuses(server.probe_port)
    return server.stdout


@pytest.mark.parametrize("runner", RUNNERS)
def test_every_runner_prints(serve: Serve, project: Project, runner: str) -> None:
    """The whole table and nothing else, and nothing is written, set up or served."""
    loud = "" if runner == "manage" else LOUD
    directory = project(settings=SETTINGS + loud + "INSTALLED_APPS += ['shop.Shop']\n", shop=APP)
    before = {path.name for path in directory.iterdir()}
    words = ("--print-options", "--workers", "2")
    env = {"TWISTSERVE_MAX_AGE": "60", "TWISTSERVE_LOG_FORMAT": "json", "PYTHONDONTWRITEBYTECODE": "1"}
    server = serve(*words, runner=runner, cwd=directory, settings="site_settings", env=env, until=None)
    text = printed(server)
    lines = text.splitlines()
    assert lines[0] == "Django:"
    assert all(not line or line.startswith("  --") or line.endswith(":") for line in lines), text
    for option, value, source in (
        ("--port", str(server.port), "the command line"),
        ("--max-age", "60", "the environment variable TWISTSERVE_MAX_AGE"),
        ("--threads", "3", "the setting TWISTSERVE['THREADS']"),
        ("--probe-port", str(server.probe_port), "default"),
        ("--webhook-secret", "set, but not shown", "the setting TWISTSERVE['WEBHOOK_SECRET']"),
        ("--system-checks", *(("on", "default with manage.py serve") if runner == "manage" else ("off", "default"))),
    ):
        [line] = lines_with(text, f"  {option} ")
        assert line.split(maxsplit=1)[1].startswith(value)
        assert line.endswith(f"  {source}")
    assert "hunter2" not in text
    written = {path.name for path in directory.iterdir()} - before
    # manage.py sets Django up before any command of its.
    assert written <= ({"set-up"} if runner == "manage" else set())


@pytest.mark.parametrize("runner", ["twistd", "twist", "manage"])
def test_json(serve: Serve, project: Project, runner: str) -> None:
    """One object with values rather than text, without secrets."""
    directory = project(settings=SETTINGS + ("" if runner == "manage" else LOUD))
    env = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "TWISTSERVE_ACCESS_LOG": "off"}
    server = serve("--print-options-json", runner=runner, cwd=directory, settings="site_settings", env=env, until=None)
    found = json.loads(printed(server))
    told = {name: (found[name]["value"], found[name]["source"]) for name in found}
    assert told["PORT"] == (server.port, "the command line")
    assert told["ACCESS_LOG"] == (False, "the environment variable TWISTSERVE_ACCESS_LOG")
    assert told["DRAIN_DELAY"] == (5.0, "default inside Kubernetes")
    assert told["SETTINGS"] == ("site_settings", "the environment variable DJANGO_SETTINGS_MODULE")
    assert told["WEBHOOK_URL"] == (["https://hooks.example.com/…"], "the setting TWISTSERVE['WEBHOOK_URL']")
    assert told["MAX_BODY_SIZE"] == (100 << 20, "default")
    assert "hunter2" not in server.output


@pytest.mark.parametrize("runner", ["twistd", "twist", "manage"])
def test_what_is_wrong_is_told_as_ever(serve: Serve, project: Project, runner: str) -> None:
    """One line and status 1, with nothing on standard output."""
    words = ("--print-options", "--threads", "0")
    server = serve(*words, runner=runner, cwd=project(), settings="site_settings", until=None)
    assert_failed(server, "--threads: '0' from the command line is not valid")
    assert server.stdout == ""


@pytest.mark.parametrize("runner", ["twistd", "twist"])
def test_settings_that_cannot_be_imported(serve: Serve, project: Project, runner: str) -> None:
    """They may have options: the error is that of a start."""
    directory = project(settings="import no_such_dependency\n")
    server = serve("--print-options-json", runner=runner, cwd=directory, settings="site_settings", until=None)
    assert_failed(server, "'site_settings'", "cannot be imported", "no_such_dependency")
    assert server.stdout == ""


def test_only_the_command_line_asks_for_it(serve: Serve, project: Project) -> None:
    """A variable that the whole cluster has would keep every pod from serving: it is told, and has no effect."""
    env = {"TWISTSERVE_PRINT_OPTIONS": "true"}
    server = serve(cwd=project(), settings="site_settings", env=env)
    assert "TWISTSERVE_PRINT_OPTIONS has no effect: --print-options is for the command line alone" in server.stdout


def test_a_port_in_use_does_not_matter(serve: Serve, project: Project) -> None:
    """It can be asked beside a server that runs, as with kubectl exec."""
    directory = project()
    running = serve(cwd=directory, settings="site_settings")
    beside = serve(
        *("--print-options", "--port", str(running.port)),
        cwd=directory, settings="site_settings", port=running.port + 1000, until=None,
    )  # fmt: skip
    assert beside.wait(PATIENCE_WITH_FAILURE) == 0
    assert str(running.port) in beside.stdout
    assert running.answers("/ready")


def test_a_thread_of_the_settings_does_not_hold_it_up(serve: Serve, project: Project) -> None:
    """The end has its bound, as that of the service has."""
    directory = project(settings="import threading\nthreading.Thread(target=threading.Event().wait).start()\n")
    server = serve("--print-options", cwd=directory, settings="site_settings", until=None)
    assert "--threads" in printed(server)
