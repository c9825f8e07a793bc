"""The container's arguments and environment variables: the options that are not in the image, each as it was given."""

from __future__ import annotations

import os
from decimal import Decimal
from typing import Any, NamedTuple

from twistserve import redaction
from twistserve.options import Configuration, Option
from twistserve.resolution import COMMAND_LINE, ENVIRONMENT_PREFIX, SETTINGS_MODULE

COMMAND = ["twistd", "-n", "--pidfile=", "djangoserve"]


class Words(NamedTuple):
    """The arguments and environment variables of the container."""

    arguments: list[str]
    environment: dict[str, str]
    """Values by name, without those from a Secret."""
    secrets: list[str]
    """Names of environment variables whose values come from a Secret."""


def words(configuration: Configuration) -> Words:
    """Options from the command line as arguments, those from the environment as variables.

    Options from the settings are in the image. Secrets are always variables.
    """
    found = Words([], {}, [])
    if configuration.settings is not None:
        found.environment[SETTINGS_MODULE] = configuration.settings
    for option in configuration.table[1:]:
        value, source = getattr(configuration, option.name), configuration.sources.get(option.name, "")
        variable = ENVIRONMENT_PREFIX + option.key
        typed = source == COMMAND_LINE
        if not typed and not source.startswith("the environment variable "):
            continue
        if is_secret(option, value):
            found.secrets.append(variable)
        elif typed and (value or not option.flag or option.negatable):
            found.arguments.extend(_arguments(option, value))
        else:
            found.environment[variable] = _text(option, value)
    return found


def is_secret(option: Option, value: object) -> bool:
    """Whether a value belongs in a Secret: a secret, a webhook's URL, which often holds a key, or any password."""
    text = _text(option, value)
    return (
        option.kind.shown is redaction.hidden or option.name == "webhook_url" or redaction.redacted(text) != text
    ) and bool(text)


def relative(directory: str) -> str:
    """A directory as it is in the image: relative if it is below the working directory here."""
    path = os.path.relpath(directory)
    return os.path.abspath(directory) if path.startswith(os.pardir) else path


def _arguments(option: Option, value: Any) -> list[str]:
    if option.flag:
        return [f"--{option.word}" if value else f"--no-{option.word}"]
    return [f"--{option.word}={_one(option, each)}" for each in (value if option.repeatable else [value])]


def _text(option: Option, value: Any) -> str:
    """The value of an environment variable."""
    return "\n".join(_one(option, each) for each in value) if option.repeatable else _one(option, value)


def _one(option: Option, value: Any) -> str:
    """One value, in the form that its option parses."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        # Options of seconds do not parse 1e+09.
        return f"{Decimal(repr(value)):f}".removesuffix(".0")
    if isinstance(value, tuple):
        return ",".join(value)
    if option.name == "pythonpath":
        return relative(value)
    return redaction.short_size(value) if option.kind.metavar == "SIZE" else str(value)
