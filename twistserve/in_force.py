"""The options in force, as people and programs may see them: where each value came from, and no secret."""

from __future__ import annotations

import json
from itertools import groupby
from typing import Any

from twistserve.options import Configuration

WIDEST = 32
"""Characters of a value that its column has room for; what is longer moves the rest of its line."""


def options_in_force(configuration: Configuration) -> list[dict[str, str]]:
    """Every option with its value, as it may be shown, and where that came from."""
    return [
        {
            "option": f"--{option.word}",
            "group": option.group,
            "value": option.show(getattr(configuration, option.name)),
            "source": configuration.source(option.name),
        }
        for option in configuration.table
    ]


def is_default(described: dict[str, str]) -> bool:
    """Whether the option is at its default."""
    return described["source"].startswith("default")


def as_text(configuration: Configuration) -> str:
    """A table for people, in the groups of --help."""
    options = options_in_force(configuration)
    option_width = max(len(option["option"]) for option in options)
    value_width = max(len(option["value"]) for option in options if len(option["value"]) <= WIDEST)
    lines: list[str] = []
    for group, members in groupby(options, lambda option: option["group"]):
        lines += [""] * bool(lines) + [f"{group}:"]
        lines += [
            f"  {each['option']:{option_width}}  {each['value']:{value_width}}  {each['source']}" for each in members
        ]
    return "".join(f"{line}\n" for line in lines)


def as_json(configuration: Configuration) -> str:
    """An object for programs, as docs/options.md describes it; keys are those of the setting TWISTSERVE."""
    found: dict[str, dict[str, Any]] = {
        option.key: {
            "option": f"--{option.word}",
            "group": option.group,
            "value": option.export(getattr(configuration, option.name)),
            "source": configuration.source(option.name),
        }
        for option in configuration.table
    }
    return json.dumps(found, indent=2) + "\n"


FORMS = {"text": as_text, "json": as_json}
"""The forms that they can be printed in."""
