"""Writes the YAML of manifests: mappings, lists, strings, integers and booleans, with comments.

PyYAML cannot write comments, and would be one more package in images that do not need it.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

_PLAIN = re.compile(r"-{0,2}[A-Za-z_/][\w./=@+%~-]*(:[\w./=@+%~-]+)*|\d+(%|m|[KMGT]i)", re.ASCII)
"""Text or a quantity that needs no quotes: nothing that matches is a number, a date or YAML syntax."""
_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}
"""Words that YAML 1.1 or 1.2 does not read as text, whatever their case."""
_WIDTH = 100


class Remark(NamedTuple):
    """A value with a comment above it."""

    text: str
    value: Any


def document(value: Mapping[str, Any]) -> str:
    """One document, without a separator line. Raises ValueError for text that is not Unicode."""
    return "".join(f"{line}\n" for line in _lines(value))


def comment(text: str) -> list[str]:
    """The lines of a comment."""
    return [f"# {line}" for line in textwrap.wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False)]


def _lines(value: Mapping[str, Any] | Sequence[Any]) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, found in value.items():
            remark, inner = found if isinstance(found, Remark) else ("", found)
            yield from comment(remark)
            if isinstance(inner, (dict, list)) and inner:
                yield f"{_scalar(key)}:"
                yield from (f"  {line}" for line in _lines(inner))
            else:
                yield f"{_scalar(key)}: {_scalar(inner)}"
        return
    for found in value:
        remark, inner = found if isinstance(found, Remark) else ("", found)
        yield from comment(remark)
        first, *rest = _lines(inner) if isinstance(inner, (dict, list)) and inner else [_scalar(inner)]
        yield f"- {first}"
        yield from (f"  {line}" for line in rest)


def _scalar(value: object) -> str:
    if not isinstance(value, str):
        # Empty mappings and lists too.
        return json.dumps(value)
    value.encode()
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    # JSON writes a character beyond 16 bits as two escapes, which YAML reads as two characters.
    return "".join(
        each if " " <= each <= "~" else _escaped(ord(each)) for each in json.dumps(value, ensure_ascii=False)
    )


def _escaped(number: int) -> str:
    return f"\\u{number:04x}" if number < 1 << 16 else f"\\U{number:08x}"
