"""Which text of a document `make lint` checks for its style, and what it tells."""

from __future__ import annotations

from textwrap import dedent

from proselint.config import load_from

from tests.support.documents.blocks import ROOT
from tests.support.documents.prose import findings, prose

PAGE = dedent(
    """\
    # Probes

    Probes are `very very` quick, see [the page](the-the-page.md) and <https://example.com/the/the>.

    ```sh
    the the
    ```

    <!-- the the -->

    This is the the end.
    """
)


def test_code_comments_and_links_are_no_prose() -> None:
    """Lines stay where they are, and a heading ends before the text begins."""
    lines = prose(PAGE).splitlines()
    assert len(lines) == len(PAGE.splitlines())
    assert lines[0] == "# Probes."
    assert "very" not in lines[2]
    assert "[the page]" in lines[2]
    assert [number for number, line in enumerate(lines, 1) if "the the" in line] == [11]


def test_what_is_found_has_its_line() -> None:
    """And the name of the check."""
    [found] = findings("page.md", PAGE, load_from(ROOT / ".proselintrc.json"))
    assert found.startswith("page.md:11: lexical_illusions")
