"""The style of the documents, by the checks of proselint that .proselintrc.json leaves on.

`make lint` runs it as a program. It reads prose alone: proselint knows no Markdown.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

from markdown_it import MarkdownIt
from proselint.checks import __register__
from proselint.config import Config, load_from
from proselint.registry import CheckRegistry
from proselint.tools import LintFile

from tests.support.documents.blocks import ROOT, pages


def prose(text: str) -> str:
    """The text with everything else made blank, so that lines stay: code, comments, targets of links.

    A heading ends like a sentence, since it is none with what follows.
    """
    lines = text.splitlines()
    for token in MarkdownIt("commonmark").parse(text):
        if token.map is None:
            continue
        first, end = token.map
        if token.type in {"fence", "code_block", "html_block"}:
            lines[first:end] = [""] * (end - first)
        elif token.type == "heading_open":
            lines[end - 1] += "."
    text = "\n".join(lines)
    text = re.sub(r"(`+)(?!`).+?(?<!`)\1(?!`)", _blank, text, flags=re.DOTALL)
    return re.sub(r"(?<=\])\([^)\s]*\)|<https?://[^>]*>", _blank, text)


def findings(page: str, text: str, config: Config) -> Iterator[str]:
    """What proselint says of a page's prose, a line each."""
    registry = CheckRegistry()
    if not registry.checks:
        registry.register_many(__register__)
    file = LintFile(page, prose(text))
    for found in file.lint(config):
        result = found.check_result
        start, end = result.span
        # It finds "for ever" in "for every" now and then, and "10 10" in "9110 10".
        if any(file.content[place - 1 : place + 1].isalnum() for place in (start, end)):
            continue
        # It puts a line end before the text.
        line = file.content.count("\n", 0, start)
        yield f"{page}:{line}: {result.check_path}: {result.message}"


def main() -> int:
    """The exit status: 1 if there is something to mend."""
    config = load_from(ROOT / ".proselintrc.json")
    found = [each for page in [*pages(), "CHANGELOG.md"] for each in findings(page, (ROOT / page).read_text(), config)]
    for each in found:
        sys.stdout.write(f"{each}\n")
    return int(bool(found))


def _blank(found: re.Match[str]) -> str:
    # No word, so that code beside code is none twice.
    return re.sub(r"[^\n]", "`", found[0])


if __name__ == "__main__":
    sys.exit(main())
