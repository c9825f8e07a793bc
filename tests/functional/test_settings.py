"""Settings modules that ask Django for settings while they are imported, as helpers that read a flag do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.functional.harness import Serve, Server, assert_failed

RUNNERS = ("twistd", "twist", "manage")

HELPER = """
from django.conf import settings

def flag(name):
    return getattr(settings, name, False)
"""
ASKING = """
EARLY = "early"
from flags import flag
FLAGS = [flag("EARLY"), flag("LATE")]
"""
LATE = """
LATE = "late"
SECURE_HSTS_SECONDS = 60
"""
VIEWS = """
from django.conf import settings
from django.http import JsonResponse
from django.urls import path

def told(request):
    return JsonResponse({"late": settings.LATE, "hsts": settings.SECURE_HSTS_SECONDS, "flags": settings.FLAGS})

urlpatterns = [path("", told)]
"""
FAILS_IN_WORKERS = """
if "twistserve: worker" in open("/proc/self/cmdline").read():
    import no_such_dependency
"""
"""Workers have their names as titles."""

Project = Callable[..., Path]


@pytest.mark.parametrize("words", [[], ["--workers", "2", "--command", "check"]], ids=["alone", "workers"])
@pytest.mark.parametrize("runner", RUNNERS)
def test_settings_that_ask_for_settings_are_complete(
    serve: Serve, project: Project, runner: str, words: list[str]
) -> None:
    """What stands below the question counts too, as under runserver; the question sees what stands above it."""
    directory = project(views=VIEWS, settings=ASKING + LATE, flags=HELPER)
    server = serve(*words, runner=runner, cwd=directory, settings="site_settings")
    assert server.get("/").json() == {"late": "late", "hsts": 60, "flags": ["early", False]}


@pytest.mark.parametrize("runner", RUNNERS)
def test_settings_that_ask_and_then_fail(serve: Serve, project: Project, runner: str) -> None:
    """The half that has run is not served: the start fails with the line that it has for any such settings."""
    directory = project(settings=f"{ASKING}import no_such_dependency\n{LATE}", flags=HELPER)
    text = (directory / "site_settings.py").read_text().splitlines()
    server = serve(runner=runner, cwd=directory, settings="site_settings", until=None)
    assert_failed(server)
    assert server.stderr == (
        "twistserve: the settings module 'site_settings' of the environment variable DJANGO_SETTINGS_MODULE cannot be"
        " imported: ModuleNotFoundError: No module named 'no_such_dependency'"
        f" ({directory / 'site_settings.py'}, line {text.index('import no_such_dependency') + 1})\n"
    )


def test_a_settings_module_that_does_not_exist(serve: Serve, project: Project) -> None:
    """The line has no place in Django's code, which is not where the mistake is."""
    server = serve("--settings", "nowhere", cwd=project(), settings="site_settings", until=None)
    assert_failed(server)
    assert server.stderr == (
        "twistserve: the settings module 'nowhere' of --settings from the command line cannot be imported:"
        " ModuleNotFoundError: No module named 'nowhere'\n"
    )


@pytest.mark.parametrize("words", [[], ["--command", "check"]], ids=["alone", "command"])
def test_settings_that_fail_in_a_worker(serve: Serve, project: Project, words: list[str]) -> None:
    """A worker whose settings ask and then fail ends the start likewise, with something to do before it or without."""
    directory = project(settings=f"{ASKING}{FAILS_IN_WORKERS}{LATE}", flags=HELPER)
    server: Server = serve("--workers", "2", *words, cwd=directory, settings="site_settings", until=None)
    line = assert_failed(server, "'site_settings' of the environment variable DJANGO_SETTINGS_MODULE", "no_such_dep")
    assert str(directory / "site_settings.py") in line
