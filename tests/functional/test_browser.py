"""What a person sees: the example project in a real browser, Debian's Chromium, driven by selenium."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.select import Select

from tests.support.functional.browser import Browser, address, png
from tests.support.functional.harness import Serve, Server

TRANSPARENT = "rgba(0, 0, 0, 0)"
USERNAME, PASSWORD = "ishmael", "Call me 9 times: ünïcode"


@pytest.fixture
def shop(example: Path) -> Path:
    """The example project with a superuser and a place for media files."""
    (example / "media").mkdir(exist_ok=True)
    subprocess.run(
        [sys.executable, "manage.py", "createsuperuser", "--noinput", "-v0", "--email=ishmael@example.org"],
        cwd=example,
        env={**os.environ, "DJANGO_SUPERUSER_USERNAME": USERNAME, "DJANGO_SUPERUSER_PASSWORD": PASSWORD},
        check=True,
    )
    return example


@pytest.mark.parametrize("debug", ["1", "0"])
@pytest.mark.parametrize("runner", ["twistd", "manage"])
def test_front_page_shows_its_styles_and_image(
    serve: Serve, shop: Path, browser: Browser, runner: str, debug: str
) -> None:
    """The front page looks as designed, with files from the finders under DEBUG and from STATIC_ROOT without."""
    server = serve("--static", "--media", cwd=shop, runner=runner, env={"BOOKSHOP_DEBUG": debug})
    browser.open(address(server, "/"))
    assert browser.find("h1").text == "Books"
    assert "Pride and Prejudice" in browser.text
    assert browser.style("body", "background-color") in ("rgb(250, 247, 240)", "rgba(250, 247, 240, 1)")
    assert browser.style(".books", "display") == "grid"
    width, height = browser.image_size("#logo")
    assert width > 0
    assert height > 0
    for name in ("style.css", "logo.svg"):
        assert browser.resources()[address(server, f"/static/catalogue/{name}")] == 200
    assert browser.errors() == []


@pytest.mark.parametrize("runner", ["twistd", "manage"])
def test_shopkeeper_adds_a_book_and_its_cover(serve: Serve, shop: Path, browser: Browser, runner: str) -> None:
    """Log-in with CSRF protection, a styled admin, a new book, an upload, and its picture from /media/ all work."""
    server = serve("--static", "--media", cwd=shop, runner=runner)

    log_in(browser, server)
    assert browser.style("#header", "background-color") != TRANSPARENT
    assert browser.style("#header", "display") == "flex"
    assert set(browser.resources().values()) == {200}
    assert browser.errors() == []

    title = "Les Misérables, 悲惨世界"
    add_book(browser, server, title)
    assert title in browser.find("ul.messagelist .success").text
    assert browser.errors() == []

    browser.open(address(server, "/"))
    link = browser.driver.find_element(By.XPATH, f"//a[contains(., '{title}')]").get_attribute("href")
    assert link is not None
    primary_key = int(link.rstrip("/").rpartition("/")[2])

    picture = shop.parent / "couverture n° é.png"
    picture.write_bytes(png(800, 1200))
    browser.open(address(server, f"/upload/{primary_key}/"))
    browser.fill(cover=str(picture))
    browser.click("button[type=submit]", address(server, f"/books/{primary_key}/"))
    assert browser.find("h1").text == title
    assert browser.image_size("img.cover") == (800, 1200)
    source = browser.find("img.cover").get_attribute("src")
    assert source is not None
    assert source.startswith(address(server, "/media/covers/couverture_n"))
    assert browser.errors() == []

    reply = server.get(source.removeprefix(address(server, "")))
    assert reply.status == 200
    assert reply.body == picture.read_bytes()
    assert reply.headers["Content-Type"] == "image/png"
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert server.terminate() == 0


def log_in(browser: Browser, server: Server) -> None:
    """Log in to the admin through its form; without the CSRF cookie the form is refused."""
    form = address(server, "/admin/login/?next=/admin/")
    browser.open(address(server, "/admin/"))
    assert browser.driver.current_url == form
    browser.fill(username=USERNAME, password=PASSWORD)
    browser.driver.delete_cookie("csrftoken")
    browser.click("[type=submit]", form)
    assert "CSRF verification failed" in browser.text
    assert "403" in " ".join(entry["message"] for entry in browser.errors())

    browser.open(address(server, "/admin/"))
    browser.fill(username=USERNAME, password=PASSWORD)
    browser.click("[type=submit]", address(server, "/admin/"))
    assert USERNAME.upper() in browser.find("#user-tools").text.upper()


def add_book(browser: Browser, server: Server, title: str) -> None:
    """Add a book through the admin form, with the date picker that the admin's scripts put there."""
    browser.open(address(server, "/admin/catalogue/book/add/"))
    browser.fill(title=title, price="9.99")
    Select(browser.find("select[name=author]")).select_by_visible_text("Herman Melville")
    browser.find(".datetimeshortcuts a:first-of-type").click()
    assert browser.find("[name=published]").get_attribute("value")
    browser.click("[name=_save]", address(server, "/admin/catalogue/book/"))
