"""What is written is what PyYAML, and so kubectl, reads."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as some

from twistserve.kubernetes.yaml import Remark, comment, document

KEYS = some.text(max_size=20)
VALUES = some.recursive(
    some.text() | some.integers() | some.booleans() | some.none(),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, database=None, derandomize=True)
@given(some.dictionaries(KEYS, VALUES, max_size=3).filter(bool))
def test_what_is_written_is_read_back(value: dict[str, Any]) -> None:
    """Whatever the text: words and numbers that YAML takes for something else, quotes, line ends, other alphabets."""
    assert yaml.safe_load(document(value)) == value


@pytest.mark.parametrize(
    "text",
    ["yes", "No", "null", "~", "1", "1e3", "-1", "0x1f", "1_000", "12:30:45", "2026-01-01", "-", "---", "", " a"],
)
def test_what_yaml_does_not_take_for_text_is_quoted(text: str) -> None:
    """Of versions 1.1 and 1.2: kubectl reads the former."""
    assert document({"key": text}) == f'key: "{text}"\n'


@pytest.mark.parametrize(
    "text", ["twistd", "-n", "--pidfile=", "/ready", "registry:5000/shop:1", "500m", "256Mi", "25%"]
)
def test_what_people_would_not_quote_is_not(text: str) -> None:
    """Words, paths, images and quantities."""
    assert document({"key": text}) == f"key: {text}\n"
    assert yaml.safe_load(document({"key": text})) == {"key": text}


def test_the_form() -> None:
    """Blocks, with lists below their key, and each remark above what it is about."""
    value = {"spec": {"ports": [{"name": "http", "port": Remark("Above 1023.", 8000)}, "x"], "none": {}, "on": True}}
    assert document(value) == (
        'spec:\n  ports:\n    - name: http\n      # Above 1023.\n      port: 8000\n    - x\n  none: {}\n  "on": true\n'
    )
    assert document({"list": [Remark("The first.", "a")]}) == "list:\n  # The first.\n  - a\n"


def test_long_comments_have_several_lines() -> None:
    """And none of its words is broken."""
    lines = comment("word-and-word " * 20)
    assert len(lines) == 3
    assert {word for line in lines for word in line.split()} == {"#", "word-and-word"}


def test_what_is_not_unicode() -> None:
    """Bytes of the command line that are not UTF-8 cannot be said in YAML."""
    with pytest.raises(UnicodeEncodeError):
        document({"key": "\udcff"})
