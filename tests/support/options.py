"""The values in force for a command line, an environment and a setting."""

from __future__ import annotations

from typing import Any

import pytest

from twistserve.command_line import CommandLine
from twistserve.errors import StartError
from twistserve.options import Configuration
from twistserve.resolution import resolve


def resolved(*words: str, environ: dict[str, str] | None = None, setting: Any = None) -> Configuration:
    """What is in force for a command line, an environment and the setting TWISTSERVE."""
    line = CommandLine()
    line.parseOptions(list(words))
    return resolve(line.given, environ or {}, lambda *_: {} if setting is None else setting)


def error(*words: str, environ: dict[str, str] | None = None, setting: Any = None) -> str:
    with pytest.raises(StartError) as raised:
        resolved(*words, environ=environ, setting=setting)
    return str(raised.value)
