"""`--debug`, and what a start that is complete says in any case."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.functional.browser import Browser, address
from tests.support.functional.harness import Serve, Server, lines_with, wait_for, write_project

VIEWS = """
import slow_to_import_b
import time
from django.conf import settings
from django.http import HttpResponse
from django.urls import path
from twisted.internet import reactor
from twisted.logger import Logger


def hold_the_reactor():
    time.sleep(0.2)


def callback(request):
    reactor.callFromThread(hold_the_reactor)
    return HttpResponse("called")


def slow_view(request):
    time.sleep(0.2)
    return HttpResponse("slow")


def say(request):
    Logger("twisted.whale").debug("a white one")
    return HttpResponse(str(settings.DEBUG))


urlpatterns = [path("callback", callback), path("slow", slow_view), path("say", say)]
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """With two modules that take their time, one of which the settings import."""
    slow = "import time\ntime.sleep(0.3)\n"
    directory = tmp_path / "project"
    return write_project(directory, VIEWS, "import slow_to_import_a\n", slow_to_import_a=slow, slow_to_import_b=slow)


@pytest.fixture
def launch(serve: Serve, project: Path) -> Callable[..., Server]:
    def launch(*options: str, **keywords: Any) -> Server:
        return serve(*options, cwd=project, settings="site_settings", **keywords)

    return launch


def has(server: Server, *words: str) -> bool:
    """Whether there is a line with these."""
    return bool(lines_with(server.stdout, *words))


# Without it


@pytest.mark.parametrize(
    ("runner", "options"),
    [("twistd", []), ("twist", []), ("manage", []), ("asyncio", []), ("twistd", ["--workers", "2"])],
)
def test_a_start_says_where_to_look(launch: Any, runner: str, options: list[str]) -> None:
    """Once, when the site is there: each address at the end of a line of its own."""
    server = launch(*options, runner=runner)
    for line in (
        f"the site is at http://127.0.0.1:{server.port}/",
        "the probes are at "
        + " ".join(f"http://127.0.0.1:{server.probe_port}/{path}" for path in ("startup", "ready", "alive")),
        f"the status page is at http://127.0.0.1:{server.probe_port}/",
    ):
        wait_for(partial(has, server, line), line)
        assert len([each for each in server.stdout.splitlines() if each.endswith(line)]) == 1
    assert server.probe("/").status == 200


def test_without_it_there_is_nothing_of_it(launch: Any) -> None:
    """Neither in the log nor in responses."""
    server = launch()
    assert "Server-Timing" not in server.get("/callback").headers
    assert server.get("/say").text == "False"
    server.terminate()
    for word in ("slow_callbacks", "slow_imports", "a white one", " DEBUG "):
        assert word not in server.stdout


# With it


@pytest.mark.parametrize(
    ("runner", "options", "process"),
    [
        ("twistd", [], ""),
        ("asyncio", [], ""),
        ("twist", [], ""),
        ("manage", [], ""),
        ("twistd", ["--workers", "2"], "[worker-"),
    ],
)
def test_what_holds_the_reactor_is_told(launch: Any, runner: str, options: list[str], process: str) -> None:
    """Where it stands, and how long it took; a slow view, which holds a thread of its own, is not."""
    server = launch("--debug", *options, runner=runner)
    assert server.get("/slow").text == "slow"
    server.get("/callback")
    told = "the callback site_urls.hold_the_reactor held the reactor for 0."
    wait_for(lambda: lines_with(server.stdout, "WARNING", told, process), "the callback to be told")
    assert lines_with(server.stdout, "WARNING", "hold_the_reactor has held the reactor for", process)
    assert lines_with(server.stdout, "WARNING", "    time.sleep(0.2)", process)
    assert not lines_with(server.stdout, "slow_view")


@pytest.mark.parametrize("options", [[], ["--workers", "2"]])
def test_the_slowest_imports_are_told(launch: Any, options: list[str]) -> None:
    """From the settings on."""
    server = launch("--debug", "--log-level", "INFO", *options)
    for name in ("slow_to_import_a", "slow_to_import_b"):
        wait_for(partial(has, server, f"  {name}"), f"{name} to be told")
        own, cumulative = re.findall(rf" (\d+\.\d{{3}}) +(\d+\.\d{{3}})  {name}$", server.stdout, re.MULTILINE)[0]
        assert 0.3 <= float(own) <= float(cumulative)
    assert lines_with(server.stdout, "the start took", "loading the WSGI application ")


@pytest.mark.parametrize("runner", ["twistd", "twist", "manage"])
def test_debugging_lines_appear(launch: Any, runner: str) -> None:
    """Ours and Twisted's; Django's DEBUG is nothing of ours."""
    server = launch("--debug", runner=runner)
    assert server.get("/say").text == "False"
    wait_for(lambda: lines_with(server.stdout, "DEBUG twisted.whale: a white one"), "a line of Twisted's")


def test_a_level_that_is_given_stays(launch: Any) -> None:
    """The diagnostics are told all the same."""
    server = launch("--debug", "--log-level", "WARNING", until="/ready")
    server.get("/say")
    server.get("/callback")
    wait_for(lambda: lines_with(server.stdout, "hold_the_reactor held the reactor"), "the callback to be told")
    assert "DEBUG" not in server.stdout
    assert not lines_with(server.stdout, "INFO twistserve")


def test_a_browser_shows_the_times(serve: Serve, browser: Browser) -> None:
    """Of pages, which the application makes, and not of files."""
    server = serve("--debug", "--static")
    browser.open(address(server, "/"))
    script = (
        "return performance.getEntriesByType(arguments[0]).map(entry =>"
        " [entry.name, entry.serverTiming.map(timing => [timing.name, timing.duration])])"
    )
    [[page, timings]] = browser.driver.execute_script(script, "navigation")
    assert page == address(server, "/")
    assert [name for name, _ in timings] == ["queue", "application"]
    assert dict(timings)["application"] > 0
    files = dict(browser.driver.execute_script(script, "resource"))
    assert files[address(server, "/static/catalogue/style.css")] == []
