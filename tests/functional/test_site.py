"""The documentation as a site: it builds without a warning, needs no other host, and can be searched."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.support.functional.browser import Browser
from tests.support.functional.harness import ROOT, wait_for

PHONE = 390
"""Pixels of a phone's width."""
HIDDEN = """
const [pages, width, done] = arguments;
const found = {};
async function look(page) {
  const frame = document.createElement("iframe");
  frame.style = `width: ${width}px; height: 800px`;
  frame.sandbox = "allow-same-origin";
  frame.src = page;
  await new Promise(loaded => { frame.onload = loaded; document.body.append(frame); });
  const hidden = [...frame.contentDocument.querySelectorAll("html, body, .content")].map(
    element => element.scrollWidth - element.clientWidth
  );
  found[page] = Math.max(...hidden);
  frame.remove();
}
async function lookAtEach(rest) {
  for (const page of rest) await look(page);
}
const rest = pages.values();
Promise.all([1, 2, 3, 4].map(() => lookAtEach(rest))).then(() => done(found));
"""
"""How many pixels of each page are out of sight in a frame of this width. With Furo two elements scroll or hide them:
the page and, on a phone, its content. Frames, four at a time, are much faster than one page after another."""
CONTRASTS = """
const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
const linear = part => part <= 10 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4;
const luminance = ([red, green, blue]) => 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
function ground(element) {
  for (; element; element = element.parentElement) {
    const colour = numbers(getComputedStyle(element).backgroundColor);
    if (colour.length == 3 || colour[3] == 1) return colour;
  }
  return [255, 255, 255];
}
function contrast(element) {
  const style = getComputedStyle(element);
  const colour = numbers(element instanceof SVGElement ? style.fill : style.color);
  const [dark, light] = [luminance(colour), luminance(ground(element))].sort((a, b) => a - b);
  return (light + 0.05) / (dark + 0.05);
}
return Object.fromEntries(arguments[0].map(
  selector => [selector, [...document.querySelectorAll(selector)].map(contrast)]
));
"""
"""The contrast of the text of all elements that each selector means with what is behind it, as WCAG 2 defines it."""
TEXTS = (
    *(
        "article p",
        "article a",
        "article th",
        "code.literal",
        "pre span[class]:not(.w)",
        ".sidebar-tree a",
        ".toc-tree a",
    ),
    "svg.picture text.title",
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` does: a link or an anchor that leads nowhere fails it."""
    directory = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "sphinx", "-q", "--nitpicky", "--fail-on-warning", "--keep-going"]
    done = subprocess.run([*build, ROOT / "docs", directory], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return directory


def test_every_document_is_in_the_contents(site: Path) -> None:
    """Nobody finds a page that no list names."""
    index = (site / "index.html").read_text()
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")} - {"index"}
    assert {page for page in pages if f'href="{page}.html"' not in index} == set()


def test_it_loads_nothing_from_elsewhere(site: Path) -> None:
    """Scripts, styles, fonts and pictures are its own."""
    for page in site.glob("*.html"):
        tags = re.findall(r"<(?:script|img|source|link)\b[^>]*>", page.read_text())
        assert [tag for tag in tags if re.search(r'(src|href)="(https?:)?//', tag)] == []
    for style in site.glob("_static/**/*.css"):
        assert re.findall(r"""url\(["']?(?:https?:)?//[^)]*|@import[^;]*""", style.read_text()) == []


def test_it_is_searched_in_the_browser(site: Path, browser: Browser) -> None:
    """From files, without a server; summaries of what was found need one."""
    browser.open(f"{site.as_uri()}/search.html?q=graceful-timeout")
    wait_for(lambda: "From start to stop" in browser.text, lambda: browser.text)


@contextmanager
def served(directory: Path) -> Iterator[str]:
    """The address of an HTTP server with these files: a frame of a file may not be looked into."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(directory))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_no_page_scrolls_sideways_on_a_phone(site: Path, browser: Browser) -> None:
    """Tables, code and drawings that are too wide scroll by themselves."""
    pages = [f"/{page.name}" for page in sorted(site.glob("*.html"))]
    with served(site) as address:
        browser.open(f"{address}/_static/site.css")
        hidden = browser.driver.execute_async_script(HIDDEN, pages, PHONE)
    assert hidden.keys() == set(pages)
    assert {page: pixels for page, pixels in hidden.items() if pixels} == {}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_can_be_read(site: Path, browser: Browser, theme: str) -> None:
    """Its contrast is at least 4.5, as WCAG 2 wants it; drawings follow the page's switch, not the system's."""
    browser.open((site / "drain.html").as_uri())
    browser.driver.execute_script("document.body.dataset.theme = arguments[0]", theme)
    found = browser.driver.execute_script(CONTRASTS, TEXTS)
    assert all(found.values()), found
    assert {selector: min(contrasts) for selector, contrasts in found.items() if min(contrasts) < 4.5} == {}


def test_drawings_are_part_of_the_page(site: Path) -> None:
    """They follow the page's switch of colours, their words can be selected, and screen readers have a description."""
    page = (site / "process.html").read_text()
    [drawing] = re.findall(r'<svg class="picture".*?</svg>', page, re.DOTALL)
    assert "<title>The threads of one process</title>" in drawing
    assert "<desc>" in drawing
    assert "request threads" in drawing


def test_dark_pages_have_dark_pictures(site: Path) -> None:
    """Where a picture has one of the same name with `-dark`, Furo shows the one that fits."""
    page = (site / "status-page.html").read_text()
    shown = re.findall(r'<img [^>]*class="(only-\w+)"[^>]*src="_images/([^"]+)"', page)
    assert shown == [("only-light", "status-page.png"), ("only-dark", "status-page-dark.png")]
    assert all((site / "_images" / name).exists() for _, name in shown)
