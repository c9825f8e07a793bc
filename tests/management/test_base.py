"""What the management commands share: their version, their help, and how they refuse what they do not know."""

from __future__ import annotations

import argparse

import pytest

from twistserve import __version__
from twistserve.management.base import TwistserveCommand


class Command(TwistserveCommand):
    """A command with one option."""

    help = "Has an option."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--port", metavar="PORT", help="the " + "health-check " * 20)

    def handle(self, *args: object, **options: object) -> None:
        pass


def parser() -> argparse.ArgumentParser:
    return Command().create_parser("manage.py", "serve")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--prot", "80"], "twistserve: unrecognized arguments: --prot 80 (did you mean --port?); see --help"),
        (
            ["--noinput"],
            "twistserve: unrecognized arguments: --noinput: put a command and its arguments in quotes, as in --command"
            " 'migrate --noinput'; see --help",
        ),
        (["--port"], "twistserve: argument --port: expected one argument; see --help"),
    ],
)
def test_bad_usage_ends_with_one_line(words: list[str], told: str) -> None:
    """Status 1, as twistd's command has, where Django would show the usage and end with 2."""
    with pytest.raises(SystemExit) as raised:
        parser().parse_args(words)
    assert raised.value.code == told


def test_the_version_is_twistserves(capsys: pytest.CaptureFixture[str]) -> None:
    """Django would show its own."""
    with pytest.raises(SystemExit) as raised:
        parser().parse_args(["--version"])
    assert not raised.value.code
    assert capsys.readouterr().out == f"twistserve {__version__}\n"


def test_help_tells_its_own_options_before_djangos_and_breaks_no_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """At 80 columns, so that words with a hyphen can be copied."""
    monkeypatch.setenv("COLUMNS", "80")
    lines = parser().format_help().splitlines()
    assert max(map(len, lines)) <= 80
    assert not [line for line in lines if line.endswith("-")]
    text = "\n".join(lines[lines.index("options:") :])
    assert text.index("--port PORT") < text.index("--settings SETTINGS")


def test_no_checks_run_before_the_command() -> None:
    """A database that is gone must not keep a probe from being asked, nor the service from telling that it starts."""
    assert list(Command().requires_system_checks) == []
