"""The YAML of manifests: mappings, lists, text, whole numbers and flags, with comments.

Not PyYAML's: that writes no comments, and would be one more package in an image that never needs it.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

_PLAIN = re.compile(r"-{0,2}[A-Za-z_/][\w./=@+%~-]*(:[\w./=@+%~-]+)*|\d+(%|m|[KMGT]i)", re.ASCII)
"""Text that needs no quotes, or a quantity: nothing of this form is a number, a date or a mark of YAML's."""
_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}
"""What YAML 1.1 or 1.2 does not take for text, in any case."""
_WIDTH = 100


class Remark(NamedTuple):
    """A value with a comment above it."""

    text: str
    value: Any


def document(value: Mapping[str, Any]) -> str:
    """One document, without the line that separates it from others. Raises ValueError for text that is not Unicode."""
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
    # JSON would have a character beyond 16 bits in two escapes, which are two characters here.
    return "".join(
        each if " " <= each <= "~" else _escaped(ord(each)) for each in json.dumps(value, ensure_ascii=False)
    )


def _escaped(number: int) -> str:
    return f"\\u{number:04x}" if number < 1 << 16 else f"\\U{number:08x}"
