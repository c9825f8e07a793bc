"""Tables of the documents, read back: what they list is what there is."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[3] / "docs"


def rows(page: str, heading: str) -> list[dict[str, str]]:
    """The rows of the first table below a heading of a page, each by the names of the columns."""
    text = (DOCS / page).read_text()
    _, found, below = text.partition(f"\n{heading}\n")
    assert found, f"docs/{page} has no heading {heading!r}"
    match = re.search(r"(?:^\|.*\n)+", re.split(r"^#+ ", below, maxsplit=1, flags=re.MULTILINE)[0], re.MULTILINE)
    assert match, f"docs/{page} has no table below {heading!r}"
    header, _, *lines = [_cells(line) for line in match[0].splitlines()]
    return [dict(zip(header, line, strict=True)) for line in lines]


def _cells(line: str) -> list[str]:
    """The cells of a line; a bar in one is escaped."""
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1]]


def codes(cell: str) -> list[str]:
    """What a cell has between backticks."""
    return re.findall(r"`([^`]+)`", cell)


def code(cell: str) -> str:
    """The first of them."""
    return codes(cell)[0]
