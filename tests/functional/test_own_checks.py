"""The checks of ours where Django's run: manage.py check, manage.py serve, and twistd without the application."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.functional.harness import EXAMPLE, Serve, Server, lines_with, wait_for

Project = Callable[..., Path]

FAULTS = """
ALLOWED_HOSTS = ["*", " shop.example"][1:]
DATABASES = {
    "default": {"ENGINE": "django.db.backends.postgresql", "NAME": "shop", "CONN_MAX_AGE": 60},
    "pooled": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "pooled",
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {"pool": {"max_size": 3}},
    },
}
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "on")
"""
"""What is wrong wherever it is looked at; the databases do not exist, and nobody asks them."""
MEDIA = """
MEDIA_URL = "media/"
MEDIA_ROOT = BASE_DIR
"""
VIEWS = """
from django.http import HttpResponse
from django.urls import path
urlpatterns = [path("media/<path:name>", lambda request, name: HttpResponse("mine"))]
"""
WITHOUT_APPLICATION = "INSTALLED_APPS = []\n"


def check(cwd: Path, *words: str, env: dict[str, str] | None = None, settings: str = "site_settings") -> list[str]:
    """The lines that `manage.py check` says, which passes."""
    foreign = ("TWISTSERVE_", "DJANGO_", "KUBERNETES_", "BOOKSHOP_")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    environ |= {"DJANGO_SETTINGS_MODULE": settings, **(env or {})}
    command = [sys.executable, "manage.py", "check", "--tag", "twistserve", *words]
    done = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return (done.stdout + done.stderr).splitlines()


def ids(lines: list[str]) -> list[str]:
    """The numbers of the checks that have found something."""
    return sorted(line.partition("(twistserve.")[2][:4] for line in lines if "(twistserve.W" in line)


def wait_for_the_log(server: Server) -> None:
    """A thread writes it: its last line of a start comes a moment after the server is ready."""
    wait_for(lambda: "the status page is at" in server.stdout, lambda: server.stdout)


def test_manage_py_check(project: Project) -> None:
    """It judges by environment and setting, and warns; an unrelated command is run all the same."""
    directory = project(
        views=VIEWS, settings=FAULTS + MEDIA + "TWISTSERVE = {'STATIC': True, 'PROT': 80, 'THREADS': 4}"
    )
    env = {"TWISTSERVE_MEDIA": "on", "TWISTSERVE_TREADS": "9"}
    lines = check(directory, env=env)
    assert ids(lines) == ["W001", "W003", "W005", "W006", "W008", "W009", "W010", "W011"]
    [line] = lines_with("\n".join(lines), "W009")
    assert "The 4 threads of --threads share the 3 connections" in line
    assert "\tHINT: Did you mean 'PORT'?" in lines


@pytest.mark.parametrize(
    "setting", ["['no dictionary']", "{'THREADS': 'many'}", "{'PORT': 80, 'PROBE_PORT': 80, 'WORKERS': 2}", "7"]
)
def test_settings_that_are_broken(project: Project, setting: str) -> None:
    """They are told by one warning; the checks that need no option say what they find."""
    directory = project(settings=FAULTS + f"TWISTSERVE = {setting}\n")
    assert ids(check(directory)) == ["W005", "W006", "W008", "W012"]


def test_silenced_checks(project: Project) -> None:
    """By their ids."""
    silenced = 'SILENCED_SYSTEM_CHECKS = ["twistserve.W005", "twistserve.W006", "twistserve.W008"]\n'
    lines = check(project(settings=FAULTS + silenced))
    assert lines == ["System check identified no issues (3 silenced)."]


def test_the_deployment_checks_ask_for_what_a_command_line_may_give(project: Project) -> None:
    """What the ordinary ones leave out for not knowing it."""
    directory = project(settings=FAULTS.replace('"on"', '"https"'))
    assert ids(check(directory)) == ["W005", "W008"]
    assert ids(check(directory, "--deploy")) == ["W005", "W006", "W008", "W009"]


@pytest.mark.parametrize(
    ("runner", "words", "settings"),
    [
        ("manage", [], ""),
        ("manage", ["--workers", "2"], ""),
        ("twistd", ["--system-checks"], WITHOUT_APPLICATION),
        ("twistd", ["--system-checks", "--workers", "2"], WITHOUT_APPLICATION),
        ("twistd", ["--command", "check"], ""),
    ],
    ids=["manage", "manage-workers", "twistd", "twistd-workers", "command"],
)
def test_a_server_judges_by_its_options(
    serve: Serve, project: Project, runner: str, words: list[str], settings: str
) -> None:
    """Those of its command line; what the start says by itself is not said twice, and each of the rest once."""
    directory = project(views=VIEWS, settings=FAULTS + MEDIA + settings)
    env = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "TWISTSERVE_TREADS": "9", "TWISTSERVE_DRAIN_DELAY": "0"}
    server = serve(
        *(*words, "--media", "--threads", "5"),
        runner=runner,
        cwd=directory,
        settings="site_settings",
        env=env,
        until="/startup",
    )
    wait_for_the_log(server)
    assert ids(server.stdout.splitlines()) == ["W005", "W006", "W008", "W009"]
    [line] = lines_with(server.stdout, "W009")
    assert "The 5 threads of --threads share the 3 connections" in line
    assert len(lines_with(server.stdout, "everybody may read what is below /media/")) == 1
    assert len(lines_with(server.stdout, "TWISTSERVE_TREADS is not a known option")) == 1


def test_what_a_start_says_by_itself_is_silenced_too(serve: Serve, project: Project) -> None:
    """By the ids of the checks that say the same."""
    silenced = 'SILENCED_SYSTEM_CHECKS = ["twistserve.W003", "twistserve.W011"]\n'
    directory = project(views=VIEWS, settings=MEDIA + silenced)
    server = serve("--media", cwd=directory, settings="site_settings", env={"TWISTSERVE_TREADS": "9"})
    wait_for_the_log(server)
    assert lines_with(server.stdout, " WARNING ") == []


@pytest.mark.parametrize("env", [{}, {"TWISTSERVE_STATIC": "on", "TWISTSERVE_MEDIA": "on"}])
def test_the_example_is_as_it_should_be(env: dict[str, str]) -> None:
    """No check of ours finds anything in it, for deployment either."""
    assert check(EXAMPLE, "--deploy", env=env, settings="bookshop.settings") == [
        "System check identified no issues (0 silenced)."
    ]


def test_the_demo_is_quiet(serve: Serve) -> None:
    """With the options of `make demo`, under manage.py too."""
    server = serve("--static", "--media", runner="manage")
    wait_for_the_log(server)
    assert "System check identified no issues (0 silenced)." in server.stdout
