"""The table of options."""

from __future__ import annotations

import argparse
import dataclasses

import pytest

from twistserve import command_line, options
from twistserve.command_line import CommandLine
from twistserve.errors import StartError
from twistserve.options import TABLE, Configuration
from twistserve.resolution import resolve


def test_every_option_has_every_source() -> None:
    """Each row of the table can be typed, put into the environment, and, but for two, into the setting."""
    parser = argparse.ArgumentParser()
    command_line.add_arguments(parser)
    typed = set(parser.parse_args([]).__dict__)
    fields = {field.name for field in dataclasses.fields(Configuration)} - {"sources", "defaults", "notices"}
    assert typed == fields == {option.name for option in options.TABLE}
    for option in options.TABLE:
        assert hasattr(CommandLine, f"opt_{option.name}")
        assert option.full_help in str(CommandLine()).replace("\n", " ") or option.help


@pytest.mark.parametrize(
    "url",
    ["amqp://shop:t0p", "amqp://shop:1t0p/x@host", "amqp://shop:1/t0p@host", "amqp://shop:a t0p@host", "x://:t0p@host"],
)
def test_a_wrong_url_keeps_its_password(url: str) -> None:
    """The error that ends a start shows no password, wherever a wrong URL has it."""
    with pytest.raises(StartError) as raised:
        resolve({"check": [f"broker={url}"]}, {}, lambda *_: {})
    assert "--check" in str(raised.value)
    assert "broker=" in str(raised.value)
    assert "t0p" not in str(raised.value)
    assert "%2F" in str(raised.value)


def test_check_shows_no_argument() -> None:
    """Who looks at the options in force sees neither paths nor hosts."""
    (option,) = (option for option in TABLE if option.name == "check")
    chosen = ("caches", "disk=/var/lib:500M", "broker=amqp://shop:t0p@host")
    assert option.show(chosen) == "caches, disk=…, broker=…"
