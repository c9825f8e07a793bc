"""Code blocks of a document, each with its language and its line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[3]

NESTING = {"note", "tip", "hint", "important", "warning", "caution", "attention", "seealso", "admonition", "dropdown"}
"""Directives of MyST whose content is Markdown again, code blocks among it."""
OTHER_DIRECTIVES = {"toctree", "include", "image", "figure"}

_NAMED = re.compile(r"^(?:#|//) (?P<path>[\w.-]+(?:/[\w.-]+)*\.\w+|[\w.-]+/[\w./-]+)(?::.*)?$")


@dataclass(frozen=True)
class Block:
    """A code block of a page; `line` is that of its first line of code."""

    page: str
    line: int
    language: str
    text: str

    @property
    def where(self) -> str:
        """Page and line, as editors and terminals follow them."""
        return f"{self.page}:{self.line}"

    @property
    def path(self) -> str | None:
        """The file that it is written to, if a comment in its first line names one."""
        found = _NAMED.match(self.text.partition("\n")[0])
        return found["path"] if found and ".." not in found["path"] else None

    def failed(self, what: str) -> str:
        """What a test says of it."""
        return f"{self.where}: {what}\n```{self.language}\n{self.text}```"


def pages() -> list[str]:
    """The documents, by their paths in the repository. A changelog shows nothing to be run."""
    found = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("deploy/**/README.md")]
    return sorted(str(path.relative_to(ROOT)) for path in found if path.name != "CHANGELOG.md")


@cache
def blocks(page: str) -> tuple[Block, ...]:
    """All blocks of a page; the language is "" where none is given, and "indented" of those without a fence."""
    return tuple(blocks_of(page, (ROOT / page).read_text()))


def blocks_of(page: str, text: str, before: int = 0) -> Iterator[Block]:
    """The blocks of a text whose first line comes after so many lines of the page."""
    for token in MarkdownIt("commonmark").parse(text):
        if token.type not in {"fence", "code_block"} or token.map is None:
            continue
        if token.type == "code_block":
            yield Block(page, before + token.map[0] + 1, "indented", token.content)
            continue
        language = token.info.strip()
        line = before + token.map[0] + 2
        directive = re.match(r"\{(.*?)\}", language)
        if directive and directive[1] in NESTING:
            yield from blocks_of(page, token.content, line - 1)
        elif not directive or directive[1] not in OTHER_DIRECTIVES:
            yield Block(page, line, language, token.content)


def of_languages(*languages: str) -> list[Block]:
    """The blocks of all pages in one of these languages."""
    return [block for page in pages() for block in blocks(page) if block.language in languages]
