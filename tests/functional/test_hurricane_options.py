"""A project that Django-Hurricane has served: its variables, its settings and its command lines, by every runner."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.functional.harness import (
    PATIENCE,
    PATIENCE_WITH_FAILURE,
    Serve,
    Server,
    assert_failed,
    free_port,
    lines_with,
    wait_for,
)

VIEWS = """
import threading
from django.http import HttpResponse
from django.urls import path

urlpatterns = [path("", lambda request: HttpResponse(threading.current_thread().name))]
"""
COMMAND = """
from django.core.management.base import BaseCommand

class Command(BaseCommand):
    def add_arguments(self, parser):
        parser.add_argument("words", nargs="*")
        parser.add_argument("--loud", action="store_true")

    def handle(self, *args, words, loud, **options):
        self.stdout.write(f"greeting {words} {loud}")
"""
APPS = """
from django.apps import AppConfig
from django.core.checks import Error, register

def weather(**keywords):
    return []

def tide(**keywords):
    return []

class Shop(AppConfig):
    name = "shop"

    def ready(self):
        register(weather, "hurricane")
        register(tide, "hurricane", "readiness")
"""

Project = Callable[..., Path]


@pytest.fixture
def shop(project: Project) -> Callable[[str], Path]:
    """A project with these settings, an app that has checks, and the command `greet`."""

    def make(settings: str) -> Path:
        directory = project(views=VIEWS, settings="INSTALLED_APPS += ['shop.apps.Shop']\n" + settings)
        commands = directory / "shop" / "management" / "commands"
        commands.mkdir(parents=True)
        (directory / "shop" / "__init__.py").write_text("")
        (directory / "shop" / "apps.py").write_text(APPS)
        (commands / "greet.py").write_text(COMMAND)
        return directory

    return make


def notices(text: str) -> list[str]:
    """The warnings of the start, without what stands before them."""
    return [line.partition(": ")[2] for line in lines_with(text, " WARNING ", "Hurricane")]


def asked(server: Server, *words: str) -> str:
    """What a probe that is asked from the command line responds, in the server's environment."""
    return subprocess.run(
        [sys.executable, *words], cwd=server.cwd, env=server.env, stdout=subprocess.PIPE, timeout=PATIENCE, check=True
    ).stdout.decode()


@pytest.mark.parametrize("runner", ["twistd", "twist", "manage"])
def test_variables(serve: Serve, shop: Callable[[str], Path], runner: str) -> None:
    """They are honoured, below what is ours, and each is told once with its name here."""
    port = free_port()
    env = {
        "HURRICANE_PORT": str(port),
        "HURRICANE_PROBE_PORT": "1",
        "TWISTSERVE_PROBE_PORT": str(port + 1),
        "HURRICANE_WORKERS": "1",
        "HURRICANE_LIVENESS_PROBE": "veryalive",
        "HURRICANE_COMMAND": "greet you --loud",
        "HURRICANE_NO_METRICS": "True",
        "HURRICANE_PYCHARM_HOST": "me",
        "HURRICANE_METRICS_PORT": "tcp://10.0.0.7:9102",
    }
    server = serve(runner=runner, cwd=shop(""), settings="site_settings", env=env, port=port)
    assert server.get("/").status == 200
    assert [server.probe(path).status for path in ("/veryalive", "/alive", "/metrics")] == [200, 404, 404]
    assert "greet: greeting ['you'] True" in server.stdout
    told = notices(server.stdout)
    assert [line.split(",")[0] for line in told if "variable" in line] == [
        f"the environment variable HURRICANE_{name} is Django-Hurricane's"
        for name in (
            *("PORT", "LIVENESS_PROBE", "PROBE_PORT", "NO_METRICS", "COMMAND", "WORKERS"),
            "PYCHARM_HOST",
        )
    ]
    [workers] = [line for line in told if "HURRICANE_WORKERS" in line]
    assert workers.endswith("sets --threads here, since --workers are processes: name it TWISTSERVE_THREADS")
    [checks] = [line for line in told if line.startswith("checks tagged hurricane")]
    assert "shop.apps.weather;" in checks
    assert "tide" not in checks


def test_settings(serve: Serve, shop: Callable[[str], Path]) -> None:
    """They are honoured where the project asks for it, and `manage.py probe` finds the server by them."""
    port = free_port()
    directory = shop(
        f"PORT, PROBE_PORT, WORKERS, READINESS_PROBE, LOG_PROBES = {port}, {port + 1}, 2, ' willing ', True\n"
        "COMMAND = [['greet you --loud'], ['greet']]\n"
        "HURRICANE_VERSION = '1.2'\n"
        "DEBUG = True\n"
        "TWISTSERVE = {'HURRICANE_SETTINGS': True}\n"
    )
    server = serve(runner="manage", cwd=directory, settings="site_settings", port=port, until="/willing")
    greetings = [line.partition("greet: ")[2] for line in lines_with(server.stdout, "greet: ")]
    assert greetings == ["greeting ['you'] True", "greeting [] False"]
    wait_for(lambda: lines_with(server.stdout, "GET /willing"), "the line of a probe")
    assert not lines_with(server.stdout, " DEBUG "), "DEBUG is Django's"
    assert [line for line in notices(server.stdout) if not line.startswith("checks tagged")] == []
    options = server.probe("/status.json").json()["options"]
    sources = {option["option"]: (option["value"], option["source"]) for option in options}
    assert sources["--threads"] == ("2", "the Django setting WORKERS")
    assert sources["--app-version"] == ("1.2", "the Django setting HURRICANE_VERSION")
    assert sources["--hurricane-settings"] == ("on", "the setting TWISTSERVE['HURRICANE_SETTINGS']")
    assert asked(server, "manage.py", "probe").startswith("pass\n")


def test_settings_that_nobody_asks_for(serve: Serve, shop: Callable[[str], Path]) -> None:
    """They are not honoured, and those that are hardly anything else's are told."""
    directory = shop("PORT, PROBE_PORT, DEBUG, STATIC = 1, 2, True, 'shop'\n")
    server = serve(runner="manage", cwd=directory, settings="site_settings")
    [notice] = [line for line in notices(server.stdout) if not line.startswith("checks tagged")]
    assert notice.startswith("the Django setting PROBE_PORT, which Django-Hurricane reads, has no effect: write")


def test_a_command_line(serve: Serve, shop: Callable[[str], Path]) -> None:
    """With several workers, where the parent alone tells."""
    words = ("--workers", "2", "--max-buffer-size", "1000", "--command", "greet", "you", "--liveness-probe", " alive ")
    server = serve(*words, runner="manage", cwd=shop(""), settings="site_settings")
    assert "greet: greeting ['you'] False" in server.stdout
    assert server.probe("/alive").status == 200
    wait_for(lambda: server.stdout.count("is ready after") == 2, "both workers to be ready")
    told = [line for line in notices(server.stdout) if not line.startswith("checks tagged")]
    assert [line.split()[0] for line in told] == ["--command", "--workers:"]
    assert len(lines_with(server.stdout, "--max-buffer-size from the command line has no effect")) == 1
    assert len(lines_with(server.stdout, "checks tagged hurricane")) == 1


def test_a_queue_of_none(serve: Serve, shop: Callable[[str], Path]) -> None:
    """Readiness fails always, as with Django-Hurricane, and a line says so; the instance serves."""
    server = serve("--req-queue-len", "0", cwd=shop(""), settings="site_settings", until="/startup")
    assert server.probe("/ready").status == 503
    assert server.get("/").status == 200
    assert lines_with(server.stdout, "--req-queue-len: 0 from the command line makes the readiness probe fail always")


@pytest.mark.parametrize(
    ("env", "settings", "said"),
    [
        ({"HURRICANE_WORKERS": "many"}, "", "--threads: 'many' from the environment variable HURRICANE_WORKERS"),
        ({}, "REQ_QUEUE_LEN = 'x'\n", "--req-queue-len: 'x' from the Django setting REQ_QUEUE_LEN is not valid"),
    ],
)
def test_what_is_wrong(
    serve: Serve, shop: Callable[[str], Path], env: dict[str, str], settings: str, said: str
) -> None:
    """One line, which names it."""
    directory = shop(settings + "TWISTSERVE = {'HURRICANE_SETTINGS': True}\n")
    server = serve(cwd=directory, settings="site_settings", env=env, until=None)
    assert_failed(server, said)


def test_the_options_that_they_set_are_printed(serve: Serve, shop: Callable[[str], Path]) -> None:
    """With where they came from; what a start would tell is on standard error."""
    env = {"HURRICANE_WORKERS": "3", "HURRICANE_STATIC": "off"}
    directory = shop("PROBE_PORT = 9001\nTWISTSERVE = {'HURRICANE_SETTINGS': True}\n")
    server = serve("--print-options-json", cwd=directory, settings="site_settings", env=env, until=None)
    assert server.wait(PATIENCE_WITH_FAILURE) == 0
    found = {name: (option["value"], option["source"]) for name, option in json.loads(server.stdout).items()}
    assert found["THREADS"] == (3, "the environment variable HURRICANE_WORKERS")
    assert found["STATIC"] == (False, "the environment variable HURRICANE_STATIC")
    assert found["PROBE_PORT"] == (9001, "the Django setting PROBE_PORT")
    static, threads = server.stderr.splitlines()
    assert "'off' turns it off, where Django-Hurricane took every word for on" in static
    assert "TWISTSERVE_THREADS" in threads


def test_a_probe_is_asked_without_settings(serve: Serve, shop: Callable[[str], Path]) -> None:
    """A variable that says where is enough, whatever has become of the settings since."""
    port = free_port()
    directory = shop("")
    env = {"HURRICANE_PORT": str(port)}
    server = serve(cwd=directory, settings="site_settings", env=env, port=port)
    (directory / "site_settings.py").write_text("import no_such_dependency\n")
    assert asked(server, "-m", "twistserve.probes").startswith("pass\n")
