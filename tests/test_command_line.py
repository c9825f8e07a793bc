"""The command line, as twistd and argparse read it."""

from __future__ import annotations

import argparse

import pytest

from twistserve.command_line import CommandLine, add_printing


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--prot", "8"], "did you mean --port"),
        (["--port"], "requires argument"),
        (["serve"], "unexpected argument 'serve'"),
        (
            ["--command", "loaddata", "books"],
            "unexpected argument 'books': put a command and its arguments in quotes; ",
        ),
        (["--command", "migrate", "--noinput"], "not recognized: put a command and its arguments in quotes, as in "),
        (["--sta"], "not a unique prefix"),
        (["--pycharm-host", "me"], "not recognized: use --debugger"),
        (["--pycharm-port=9000"], "not recognized: use --debugger"),
    ],
)
def test_bad_usage_ends_with_one_line(words: list[str], said: str) -> None:
    """twistd would print its help and end with status 0; ours is one line, which SystemExit turns into status 1."""
    with pytest.raises(SystemExit) as raised:
        CommandLine().parseOptions(words)
    assert isinstance(raised.value.code, str)
    assert said in raised.value.code
    assert "\n" not in raised.value.code


@pytest.mark.parametrize("words", [["--check-timeout"], ["--no-metrics=1"]])
def test_what_is_typed_right_is_not_suggested(words: list[str]) -> None:
    """An option that lacks a value, or has one too many, is known."""
    with pytest.raises(SystemExit) as raised:
        CommandLine().parseOptions(words)
    assert "did you mean" not in str(raised.value.code)


def test_help_can_be_copied_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """At 80 columns no line is longer, and no word with a hyphen is broken in two."""
    monkeypatch.setenv("COLUMNS", "80")
    lines = CommandLine().getUsage().splitlines()
    assert max(map(len, lines)) <= 80
    assert not [line for line in lines if line.endswith("-")]


@pytest.mark.parametrize(("word", "form"), [("--print-options", "text"), ("--print-options-json", "json")])
def test_printing_is_typed(word: str, form: str) -> None:
    """It is no option of the table, so that nothing but the command line can have it."""
    assert CommandLine().print_options is None
    line = CommandLine()
    line.parseOptions([word, "--port", "9000"])
    assert (line.print_options, line.given) == (form, {"port": "9000"})
    parser = argparse.ArgumentParser()
    add_printing(parser)
    assert parser.parse_args([word]).print_options == form
    assert parser.parse_args([]).print_options is None
    assert f"  {word} " in line.getUsage()


def test_printing_is_suggested() -> None:
    """Like the options."""
    with pytest.raises(SystemExit, match=r"did you mean --print-options\?"):
        CommandLine().parseOptions(["--print-option-s"])
