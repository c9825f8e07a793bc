"""The table of the chart's values, from the comments of values.yaml in the form of helm-docs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

_TYPES = {bool: "bool", dict: "object", int: "int", list: "list", str: "string"}


class Value(NamedTuple):
    """A value with a comment `# -- ...` above it."""

    key: str
    type: str
    """That of the default, unless the comment begins with `# -- (type)`."""
    default: Any
    description: str
    shown: str | None
    """What `# @default -- ...` says in place of the default."""


def value_rows(path: Path) -> list[str]:
    """The rows, in the order of the file."""
    rows = ["| Key | Type | Default | Description |", "|-----|------|---------|-------------|"]
    for value in documented(path.read_text()):
        default = value.shown or f"`{json.dumps(value.default)}`"
        rows.append(f"| {value.key} | {value.type} | {default} | {value.description} |")
    return rows


def documented(text: str) -> Iterator[Value]:
    """The values that have a comment; each has one of its own, or of what it is below."""
    lines = text.splitlines()
    yield from _below(yaml.compose(text), yaml.safe_load(text), lines, "")


def _below(node: Any, value: Any, lines: list[str], prefix: str) -> Iterator[Value]:
    for key, inner in node.value:
        name, found = f"{prefix}{key.value}", value[key.value]
        above = _comment(lines, key.start_mark.line)
        if match := re.fullmatch(r"-- (?:\((\w+)\) )?(.*?)(?: @default -- (.*))?", above):
            yield Value(name, match[1] or _TYPES[type(found)], found, match[2], match[3])
        elif isinstance(found, dict) and found:
            yield from _below(inner, found, lines, f"{name}.")
        else:
            raise ValueError(f"{name} has no comment that begins with -- above it")


def _comment(lines: list[str], end: int) -> str:
    """The text of the comment lines above a line."""
    begin = end
    while begin and lines[begin - 1].lstrip().startswith("#"):
        begin -= 1
    return " ".join(line.lstrip(" #") for line in lines[begin:end])
