"""The documentation as a site: it builds without a warning, needs no other host, and can be searched."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.functional.browser import Browser
from tests.support.functional.harness import ROOT, wait_for


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
