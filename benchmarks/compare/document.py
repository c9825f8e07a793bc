"""The tables as Markdown, and their place in a document."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from benchmarks.compare.group import Column, Found
from benchmarks.compare.groups import GROUPS
from benchmarks.compare.results import Results
from benchmarks.report import between

BEGIN = "<!-- measured: begin -->"
END = "<!-- measured: end -->"
WIDTH = 120


def measured(results: Results) -> str:
    """All tables, footnotes and facts."""
    tried = [group for group in GROUPS if group.name in results.found]
    parts = [overview(results)]
    for group in tried:
        found = results.found[group.name]
        heading = f"### {group.title}\n\nHow it was tried: [^{group.name}]"
        parts += [heading, own_table(results, group.columns, found), *details(results, found)]
    parts += ["### Versions, machine, command lines", circumstances(results), commands(results)]
    parts += [filled(f"[^{group.name}]: {' '.join(group.how.split())}", indent="    ") for group in tried]
    return "\n\n".join(parts) + "\n"


def overview(results: Results) -> str:
    """A row for each thing that an operator needs, a column for each server."""
    rows = []
    for group in GROUPS:
        found = results.found.get(group.name, {})
        for number, column in enumerate(group.columns):
            if column.need and found:
                cells = (found[name].cells[number] if name in found else "-" for name in results.servers)
                rows.append((f"{column.need} [^{group.name}]", *cells))
    return table(("", *(server.title for server in results.servers.values())), rows)


def own_table(results: Results, columns: Sequence[Column], found: dict[str, Found]) -> str:
    """A row for each server, narrow enough for a phone."""
    rows = [(server.title, *found[name].cells) for name, server in results.servers.items() if name in found]
    return table(("", *(column.heading for column in columns)), rows)


def details(results: Results, found: dict[str, Found]) -> list[str]:
    """What the cells have no room for, as one list, if there is any."""
    lines = [
        filled(f"- {results.servers[name].title}: {detail.replace('<', '&lt;')}", indent="  ")
        for name, one in found.items()
        for detail in one.details
    ]
    return ["\n".join(lines)] if lines else []


def circumstances(results: Results) -> str:
    """The machine, the dates and the versions."""
    dates = sorted(set(results.dates.values()))
    versions = ", ".join(f"{server.title} {server.version}" for server in results.servers.values())
    facts = {"measured": ", ".join(dates), **results.facts, "servers": versions}
    return "\n".join(filled(f"- {word}: {fact}", indent="  ") for word, fact in facts.items())


def commands(results: Results) -> str:
    """How each server is started."""
    return "\n".join(f"- `{server.command}`" for server in results.servers.values())


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table without a line end after it."""
    rule = ["---"] * len(heading)
    return "\n".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in (heading, rule, *rows)
    )


def filled(text: str, *, indent: str) -> str:
    """In lines of the document's width."""
    return textwrap.fill(text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def replaced(document: str, text: str) -> str:
    """The document with this text between the markers. Raises ValueError if it has not got them."""
    return between(document, BEGIN, END, f"\n\n{text}\n")
