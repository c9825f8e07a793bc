"""--autoreload in a real browser."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from selenium.common.exceptions import WebDriverException

from tests.support.functional.browser import Browser
from tests.support.functional.harness import Serve, Server, wait_for

VIEWS = """
from django.http import HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

FORM = "<form method=post><button>Send</button></form>"
urlpatterns = [path("", csrf_exempt(lambda request: HttpResponse(f"<p>{request.method} VERSION</p>{FORM}")))]
"""


def write(server: Server, text: str) -> None:
    (server.cwd / "site_urls.py").write_text(text)


def shows(browser: Browser, text: str) -> Callable[[], bool]:
    """Whether the page has these words; while another one takes its place it has none."""

    def look() -> bool:
        try:
            return text in browser.text
        except WebDriverException:
            return False

    return look


@pytest.fixture
def server(project: Callable[..., Path], serve: Serve) -> Server:
    cwd = project(VIEWS.replace("VERSION", "one"))
    return serve("--autoreload", cwd=cwd, settings="site_settings")


def test_the_error_page_turns_into_the_site(browser: Browser, server: Server) -> None:
    """By itself, through another error; and nothing in it is against its own policy."""
    browser.open(f"http://127.0.0.1:{server.port}/")
    assert "GET one" in browser.text
    write(server, "def broken(:\n")
    wait_for(lambda: server.get("/").status == 500, "the error")
    browser.open(f"http://127.0.0.1:{server.port}/")
    assert "SyntaxError" in browser.text
    assert "def broken(:" in browser.text
    assert browser.style("pre", "background-color") != browser.style("body", "background-color")
    write(server, "import nothing_of_that_name\n")
    wait_for(shows(browser, "ModuleNotFoundError"), "the second error")
    write(server, VIEWS.replace("VERSION", "two"))
    wait_for(shows(browser, "GET two"), "the site")
    complaints = [entry["message"] for entry in browser.driver.get_log("browser")]
    # The page itself is a 500, and there is no icon.
    assert [each for each in complaints if "500" not in each and "favicon" not in each] == []


def test_a_page_asked_for_during_a_reload_arrives(browser: Browser, server: Server) -> None:
    """The browser waits as for a slow page."""
    started = server.cwd / "started"
    write(server, f"import time; open({str(started)!r}, 'w'); time.sleep(2)\n" + VIEWS.replace("VERSION", "two"))
    wait_for(started.exists, "the reload")
    began = time.monotonic()
    browser.open(f"http://127.0.0.1:{server.port}/")
    assert "GET two" in browser.text
    assert time.monotonic() - began > 0.5


def test_a_form_is_not_sent_again(browser: Browser, server: Server) -> None:
    """A page that was got by POST says what to do instead."""
    browser.open(f"http://127.0.0.1:{server.port}/")
    write(server, "def broken(:\n")
    wait_for(lambda: server.get("/").status == 500, "the error")
    browser.find("button").click()
    wait_for(shows(browser, "Send the form again"), "the error")
    write(server, VIEWS.replace("VERSION", "two"))
    wait_for(lambda: server.get("/").status == 200, "the site")
    assert "Send the form again" in browser.text
