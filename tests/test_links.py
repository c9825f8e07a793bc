"""Links of documents that are no pages of the site lead somewhere; the strict build sees to those of the pages."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token
from myst_parser.slugs import github_slugify

from tests.support.documents.blocks import ROOT, pages

OUTSIDE = [page for page in pages() if not page.startswith("docs/")]


def tokens(path: Path) -> list[Token]:
    """What a document consists of, tables among it."""
    return MarkdownIt("commonmark").enable("table").parse(path.read_text())


def links(path: Path) -> Iterator[str]:
    """The targets of links and pictures within the repository."""
    for token in tokens(path):
        for child in token.children or []:
            target = child.attrGet("href") or child.attrGet("src")
            if target and "://" not in str(target) and not str(target).startswith("mailto:"):
                yield str(target)


def anchors(path: Path) -> set[str]:
    """Those of headings, as GitHub and the site make them."""
    found: set[str] = set()
    parsed = tokens(path)
    for heading, inline in pairwise(parsed):
        if heading.type == "heading_open":
            text = "".join(child.content for child in inline.children or [] if child.type in {"text", "code_inline"})
            found.add(github_slugify(text))
    return found


@pytest.mark.parametrize("page", OUTSIDE)
def test_links_lead_to_files_and_headings(page: str) -> None:
    """Of the README and its like, which GitHub and PyPI show."""
    lost = []
    for link in links(ROOT / page):
        target, _, anchor = unquote(link).partition("#")
        path = (ROOT / page).parent / target if target else ROOT / page
        if not path.exists() or (anchor and anchor not in anchors(path)):
            lost.append(link)
    assert not lost, f"{page} links to what is not there: {', '.join(lost)}"
