"""The chart knows what the code has; `python -m tests.kubernetes.test_chart` writes it anew."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from tests.support.chart import facts, schema
from tests.support.chart.readme import documented
from tests.support.chart.written import CHART, written
from twistserve import __version__
from twistserve.kubernetes.words import is_secret
from twistserve.options import TABLE, Option

NUMBERS = (-1, 0, 0.5, 1, 16, 65535, 65536, 1_000_000_000, 1_000_000_001)
TEXTS = (
    "",
    "a",
    "/a/b",
    "a.b",
    "a.b:c",
    "1K",
    "0",
    "0M",
    "010M",
    "text",
    "auto",
    "json",
    "INFO",
    "tcp:80",
    "caches",
    "a b",
    "::1",
    " ",
)
"""Values of which each kind of option takes some."""
ARBITRARY = {
    "amqp_url",
    "command",
    "forwarded_allow_ips",
    "webhook_url",
    "pythonpath",
    "autoreload_watch",
    "static_watch",
}
"""Options whose text a pattern cannot judge as a whole: the server has the last word."""


@pytest.mark.parametrize("path", written(), ids=lambda path: path.name)
def test_what_is_written_is_current(path: Path) -> None:
    """The options, the constants, the alerts and the dashboard."""
    assert path.read_text() == written()[path], "write it anew: python -m tests.kubernetes.test_chart"


def test_its_version_is_that_of_the_package() -> None:
    """They are released together."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)


@pytest.mark.parametrize("option", schema.both(), ids=lambda option: option.word)
def test_the_schema_takes_what_the_server_takes(option: Option) -> None:
    """Of values in the form that Helm has them; it does not take numbers and flags as text, as the environment does."""
    validator = Draft7Validator(schema.of_option(option))
    for value in (*NUMBERS, *TEXTS, True):
        given = [value] if option.repeatable else value
        taken = validator.is_valid(given) and _matches(option, value)
        if taken:
            assert _parses(option, value) or option.name in ARBITRARY, value
        elif _of_its_type(option, value) and option.name not in ARBITRARY:
            assert not _parses(option, value) or _in_other_words(option, value), value


def _matches(option: Option, value: object) -> bool:
    pattern = schema.pattern(option)
    return pattern is None or not isinstance(value, str) or re.search(pattern, value) is not None


def _parses(option: Option, value: object) -> bool:
    try:
        option.kind.parse(str(value))
    except ValueError:
        return False
    return True


def _of_its_type(option: Option, value: object) -> bool:
    if option.flag:
        return isinstance(value, bool)
    if option.kind.metavar == "SIZE":
        return not isinstance(value, bool)
    if isinstance(option.default, int | float) or option.kind.metavar == "N":
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, str)


def _in_other_words(option: Option, value: object) -> bool:
    """Whether the server reads a value that can be written in one way only in the chart: /a for a path a."""
    return str(option.kind.parse(str(value))) != str(value)


@pytest.mark.parametrize(
    "text",
    [
        *("amqp://me:hunter2@queue", "https://hooks.example.com/a", "redis://:hunter2", "amqp://queue:5672", "seed"),
        *("createadmin --password hunter2", "token=x", "API-Key: y", "password", "disk=/tmp:1M", "tcp:80", "a@b"),
    ],
)
def test_a_password_is_known_as_one(text: str) -> None:
    """As `manage.py kubernetes` knows it."""
    option = next(option for option in TABLE if option.name == "app_version")
    assert bool(re.search(facts.PASSWORD, text)) == is_secret(option, text)


def test_every_value_has_its_schema_and_its_default_is_valid() -> None:
    """No key of values.yaml is unknown to the schema, and the other way round."""
    whole = json.loads((CHART / "values.schema.json").read_text())
    Draft7Validator.check_schema(whole)
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    assert list(Draft7Validator(whole).iter_errors(defaults)) == []
    assert list(_missing(defaults, whole)) == []


def _missing(values: dict[str, Any], schema: dict[str, Any]) -> Iterator[str]:
    """Keys that only one of them has; what is below an empty mapping is for users to fill."""
    properties = schema["properties"]
    yield from (properties.keys() - {"global"}) ^ values.keys()
    for key, inner in values.items():
        if "properties" in properties.get(key, {}):
            yield from _missing(inner, properties[key])


def test_the_table_of_values() -> None:
    """helm-docs' comments: a description above each value, or above what it is below; a default in words."""
    text = "# -- (int) First,\n# of two lines.\n# @default -- none\na: null\nb:\n  # -- Second.\n  c: [1]\n"
    first, second = documented(text)
    assert (first.key, first.type, first.description, first.shown) == ("a", "int", "First, of two lines.", "none")
    assert (second.key, second.type, second.default, second.shown) == ("b.c", "list", [1], None)
    with pytest.raises(ValueError, match=r"b\.c has no comment"):
        list(documented("b:\n  c: 1\n"))


if __name__ == "__main__":
    for path, text in written().items():
        path.write_text(text)
