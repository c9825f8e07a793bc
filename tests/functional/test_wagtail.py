"""Wagtail's start project, installed as its users do, and its admin clicked through in a real browser."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path
from urllib.parse import quote

import pytest

from benchmarks.environments import ROOT, ensure
from tests.support.functional.browser import Browser, address, png
from tests.support.functional.harness import Serve, Server, wait_for
from tests.support.functional.workers import ended, wait_until_ready

# The first test has to install Wagtail.
pytestmark = pytest.mark.timeout(300)

WAGTAIL = "wagtail~=8.0.0"
USERNAME, PASSWORD = "ishmael", "Call me 9 times: ünïcode"
SUPERUSER = {
    "DJANGO_SUPERUSER_USERNAME": USERNAME,
    "DJANGO_SUPERUSER_PASSWORD": PASSWORD,
    "DJANGO_SUPERUSER_EMAIL": "ishmael@example.org",
}
LOCAL_SETTINGS = """
from .base import DATABASES, INSTALLED_APPS

SECRET_KEY = "tests"
ALLOWED_HOSTS = ["127.0.0.1"]
INSTALLED_APPS = [*INSTALLED_APPS, "twistserve"]
# The browser sends several requests that write at the same time: they wait for each other.
DATABASES["default"]["OPTIONS"] = {"transaction_mode": "IMMEDIATE", "timeout": 60}
# No requests to other servers, which may take long to fail.
WAGTAIL_ENABLE_UPDATE_CHECK = False
WAGTAIL_GRAVATAR_PROVIDER_URL = None
"""
"""The file that the start project's settings import if it is there."""

PAGES = {
    "/admin/pages/1/": "Exploring: Root",
    "/admin/images/multiple/add/": "Add images",
    "/admin/documents/": "Documents",
    "/admin/users/edit/1/": "Editing: ishmael",
    "/admin/groups/": "Groups",
    "/admin/workflows/list/": "Workflows",
    "/admin/redirects/": "Redirects",
    "/admin/reports/aging-pages/": "Aging pages",
    "/admin/reports/page-types-usage/": "Page types usage",
    "/django-admin/": "Site administration",
}
"""Pages that are only looked at, and words on them."""

PRESENTED = """
const found = document.querySelector(arguments[0]);
if (!found) return false;
const box = found.getBoundingClientRect();
const top = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
return found.contains(top) && !document.getAnimations().some(each => each.effect.target.contains(found));
"""
"""Whether an element is there to be clicked: nothing covers it, and it does not move any more."""


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` directory of a fresh virtual environment that has Wagtail and this checkout, nothing else."""
    return ensure(tmp_path_factory.mktemp("wagtail") / "venv", [WAGTAIL, str(ROOT)])


@pytest.fixture
def mysite(programs: Path, tmp_path: Path) -> Path:
    """What `wagtail start mysite` makes, with local settings."""
    subprocess.run([programs / "wagtail", "start", "mysite"], cwd=tmp_path, check=True)
    (tmp_path / "mysite" / "mysite" / "settings" / "local.py").write_text(LOCAL_SETTINGS)
    return tmp_path / "mysite"


@pytest.mark.parametrize(
    ("runner", "settings", "workers"), [("twistd", "production", 1), ("twistd", "production", 2), ("manage", "dev", 2)]
)
def test_an_editor_at_work(
    serve: Serve, programs: Path, mysite: Path, browser: Browser, runner: str, settings: str, workers: int
) -> None:
    """The first start prepares the site; then an editor changes it, and visitors see it, without a single error."""
    server = serve(
        *("--static", "--media", "--check-migrations-apply", "--workers", str(workers)),
        *("--command", "collectstatic --noinput", "--command", "createsuperuser --noinput"),
        runner=runner,
        programs=programs,
        cwd=mysite,
        settings=f"mysite.settings.{settings}",
        env=SUPERUSER,
    )
    if workers > 1:
        wait_until_ready(server, workers)

    log_in(browser, server)
    publish(browser, server, title="The Whale")
    upload(browser, server, mysite.parent / "whale.png")
    look_around(browser, server)
    search(browser, server, "whale", "The Whale")
    log_out(browser, server)
    visit(browser, server, title="The Whale")

    server.signal(signal.SIGTERM)
    assert ended(server)
    logged = access_log(server)
    assert ("200", "/") in logged
    assert {(status, path) for status, path in logged if status >= "400"} <= {("404", "/favicon.ico")}
    assert re.findall(r"^\S+ \S+ (?:ERROR|CRITICAL) .*", server.output, re.MULTILINE) == []
    assert [entry["message"] for entry in browser.errors() if "/favicon.ico" not in entry["message"]] == []


def log_in(browser: Browser, server: Server) -> None:
    browser.open(address(server, "/admin/"))
    assert browser.driver.current_url == address(server, "/admin/login/?next=/admin/")
    browser.fill(username=USERNAME, password=PASSWORD)
    browser.click("[type=submit]", address(server, "/admin/"))
    assert browser.driver.title == "Dashboard - Wagtail"
    assert browser.style(".sidebar", "position") == "fixed"


def publish(browser: Browser, server: Server, title: str) -> None:
    """Find the home page in the explorer, which asks the API, change its title and publish it."""
    unfold(browser, ".sidebar-page-explorer-item > button", "nav a[href='/admin/pages/3/edit/']")
    browser.click("nav a[href='/admin/pages/3/edit/']", address(server, "/admin/pages/3/edit/"))
    browser.find("[name=title]").clear()
    browser.fill(title=title)
    unfold(browser, "footer .w-dropdown__toggle", "[name=action-publish]")
    browser.click("[name=action-publish]", address(server, "/admin/pages/1/"))
    wait_for_message(browser, f"Page '{title}' has been published.")


def upload(browser: Browser, server: Server, picture: Path) -> None:
    """Upload an image; the listing shows a smaller rendition of it, which Wagtail has just written to MEDIA_ROOT."""
    picture.write_bytes(png(600, 400))
    browser.open(address(server, "/admin/images/add/"))
    browser.fill(file=str(picture))
    wait_for(lambda: browser.find("[name=title]").get_attribute("value") == picture.stem, "the title to be filled in")
    browser.click("#main form [type=submit]", address(server, "/admin/images/"))
    wait_for_message(browser, f"Image '{picture.stem}' added.")
    assert browser.image_size("img[src^='/media/images/']") == (165, 110)


def look_around(browser: Browser, server: Server) -> None:
    """Users and reports from the menus, and more pages by their addresses."""
    for path, words in {"/admin/users/": USERNAME, "/admin/reports/site-history/": "The Whale"}.items():
        link = f"nav a[href='{path}']"
        unfold(browser, f"nav li:has([href='{path}']) > button", link)
        browser.click(link, address(server, path))
        assert words in browser.find("#main").text
    for path, words in PAGES.items():
        browser.open(address(server, path))
        assert words in browser.text


def search(browser: Browser, server: Server, words: str, found: str) -> None:
    """Search from the sidebar."""
    browser.open(address(server, "/admin/"))
    browser.find(".sidebar form[role=search] [name=q]").send_keys(words)
    browser.click(".sidebar form[role=search] button", address(server, f"/admin/pages/search/?q={words}"))
    assert found in browser.find("#main").text


def log_out(browser: Browser, server: Server) -> None:
    unfold(browser, ".sidebar-footer__account", "form[action='/admin/logout/'] button")
    browser.click("form[action='/admin/logout/'] button", address(server, "/admin/login/"))
    browser.open(address(server, "/admin/"))
    assert browser.driver.current_url == address(server, "/admin/login/?next=/admin/")


def visit(browser: Browser, server: Server, title: str) -> None:
    """The public site has the new title and its style sheets, and finds the page by its title."""
    browser.open(address(server, "/"))
    assert browser.driver.title == title
    assert browser.style("body", "max-width") == "960px"
    browser.open(address(server, f"/search/?query={quote(title)}"))
    assert title in browser.text


def unfold(browser: Browser, button: str, selector: str) -> None:
    """Click a button that unfolds a menu, and wait until an element in it can be clicked."""
    browser.find(button).click()
    wait_for(lambda: browser.driver.execute_script(PRESENTED, selector), f"{selector} to be presented")


def wait_for_message(browser: Browser, words: str) -> None:
    wait_for(lambda: words in browser.find(".messages").text, f"the message {words!r}")


def access_log(server: Server) -> set[tuple[str, str]]:
    """Statuses and paths of the access log, without those of requests that the browser gave up (499)."""
    requests = re.findall(r'"[A-Z]+ (\S+) HTTP/1.1" (\d+)', server.output)
    return {(status, path) for path, status in requests if status != "499"}
