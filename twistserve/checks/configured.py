"""Checks of the options themselves, as the environment and the setting TWISTSERVE give them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from twistserve.checks.in_force import in_force, twistserve_setting
from twistserve.checks.messages import capitalized, check, refusal, warning
from twistserve.errors import StartError
from twistserve.resolution import unknown_keys, unknown_variables


@check("TWISTSERVE")
def keys_are_known() -> Iterator[Any]:
    """The setting TWISTSERVE has no key that is no option; the server's start refuses it."""
    setting = twistserve_setting()
    if isinstance(setting, Mapping):
        for key, remedy in unknown_keys(setting).items():
            fault = f"The setting TWISTSERVE has an unknown key {key!r}, with which the server does not start."
            yield warning(10, fault, capitalized(remedy))


@check("TWISTSERVE")
def variables_are_known() -> Iterator[Any]:
    """No TWISTSERVE_ variable is none of an option; the server's start says so itself."""
    if not in_force().by_server:
        for name, meant in unknown_variables(os.environ).items():
            remedy = f"Did you mean {meant}?" if meant else "Remove it, or see manage.py serve --help for the options."
            yield warning(11, f"The environment variable {name} is not a known option, and has no effect.", remedy)


@check("TWISTSERVE")
def options_are_valid() -> Iterator[Any]:
    """The options that environment and setting give can be in force together."""
    try:
        in_force()
    except StartError as error:
        yield refusal(12, error)
