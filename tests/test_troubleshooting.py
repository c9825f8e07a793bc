"""What docs/troubleshooting.md quotes of the server's own words is what the server says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import twistserve
from tests.support.documents.tables import rows

SOURCES = "\n".join(path.read_text() for path in Path(twistserve.__file__).parent.rglob("*.py"))


def is_said(text: str) -> bool:
    """Whether the source has the words between what is different each time."""
    return all(part in SOURCES for part in re.split(r"\s?\.\.\.\s?", text) if part)


@pytest.mark.parametrize(
    ("heading", "column"),
    [("## A status that Django did not send", "by the server, when"), ("## A WebSocket does not connect", "response")],
)
def test_texts_of_responses(heading: str, column: str) -> None:
    """Those in quotes; of the others the words are ours."""
    quoted = [text for row in rows("troubleshooting.md", heading) for text in re.findall('"([^"]+)"', row[column])]
    assert len(quoted) > 1
    assert [text for text in quoted if not is_said(text)] == []


def test_steps_of_a_start() -> None:
    """As /startup names them: the step, and how it gets on."""
    steps = [
        name for row in rows("troubleshooting.md", "## It does not become ready") for name in row["step"].split(", ")
    ]
    assert len(steps) > 3
    # Names of databases, and of what is left, differ.
    parts = [part for step in steps for part in re.split(r": |\'\w+\'|\'\.\.\.\'|\.\.\.", step)]
    assert [part for part in map(str.strip, parts) if part and part not in SOURCES] == []
