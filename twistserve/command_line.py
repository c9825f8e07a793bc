"""The command line: what twistd's own parser, and argparse, make of the table of options."""

from __future__ import annotations

import argparse
import difflib
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

from twisted.python import usage

from twistserve import __version__
from twistserve.options import TABLE, Option
from twistserve.replaced import instead

PRINTING = {"print-options": "text", "print-options-json": "json"}
"""What can be typed to have the options printed, and in which form; not set elsewhere, where it would stop pods."""
_PRINTING_HELP = "print every option, its value in force and where that came from, as {}, and exit; nothing is served"

_OF_COMMANDS = ("noinput", "no-input")
"""Arguments of management commands that deployments give to most of them."""


def _words(option: Option) -> Iterator[tuple[str, object, str]]:
    """What can be typed for an option: the word, the raw value of a flag, the help text."""
    yield option.word, True, option.full_help
    if option.negatable:
        yield f"no-{option.word}", False, f"turn --{option.word} off"


def add_arguments(
    parser: argparse.ArgumentParser,
    *,
    but: Sequence[str] = (),
    in_words: Sequence[str] = (),
    table: Sequence[Option] = TABLE,
) -> None:
    """Give an argparse parser every option of the table except those named in `but`; `given` reads them back.

    Those named in `in_words` take several words at once, and have lists of them as their values.
    """
    groups: dict[str, argparse._ArgumentGroup] = {}
    for option in table:
        if option.name in but:
            continue
        group = groups.get(option.group) or parser.add_argument_group(option.group)
        groups[option.group] = group
        for word, constant, text in _words(option):
            keywords: dict[str, Any] = {"dest": option.name, "default": None, "help": text.replace("%", "%%")}
            if option.flag:
                group.add_argument(f"--{word}", action="store_const", const=constant, **keywords)
            else:
                action = "append" if option.repeatable else "store"
                keywords["metavar"] = option.kind.metavar
                if option.name in in_words:
                    keywords |= {"nargs": "+", "metavar": (option.kind.metavar, "ARG")}
                group.add_argument(f"--{word}", action=action, **keywords)


def add_printing(parser: argparse.ArgumentParser) -> None:
    """Give an argparse parser what has the options printed: `print_options` is the form then, else None."""
    for word, form in PRINTING.items():
        text = _PRINTING_HELP.format("a table" if form == "text" else "JSON")
        parser.add_argument(f"--{word}", action="store_const", const=form, dest="print_options", help=text)


def given(arguments: Mapping[str, object], table: Sequence[Option] = TABLE) -> dict[str, object]:
    """The raw values that were typed, out of what argparse made of the command line."""
    names = {option.name for option in table}
    return {name: value for name, value in arguments.items() if name in names and value is not None}


class HelpFormatter(argparse.HelpFormatter):
    """argparse's, which leaves words such as health-check and X-Forwarded-For in one piece."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(text, width, break_on_hyphens=False)


class CommandLine(usage.Options):
    """The options of ``twistd djangoserve`` and ``twist djangoserve``; `given` holds what was typed.

    `print_options` is the form in which they are to be printed, None if they are not.
    """

    longdesc = (
        "Each option can also be set by an environment variable, TWISTSERVE_PORT for --port, or in the Django"
        " setting TWISTSERVE = {'PORT': 8000}; the command line wins, then the environment."
    )

    def __init__(self) -> None:
        super().__init__()
        self.given: dict[str, Any] = {}
        self.print_options: str | None = None

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Parse; bad usage ends the process with status 1 and one line, where twistd would end with 0."""
        try:
            super().parseOptions(options)
        except usage.UsageError as error:
            raise SystemExit(f"twistserve: {error}{suggestion(str(error))}; see --help") from error

    def parseArgs(self, *args: str) -> None:
        """Refuse what is not an option. Raises `usage.UsageError`."""
        if args:
            hint = ": put a command and its arguments in quotes" if "command" in self.given else ""
            raise usage.UsageError(f"unexpected argument {args[0]!r}{hint}")

    def opt_version(self) -> None:
        """Print the version of twistserve and exit."""
        raise SystemExit(print(f"twistserve {__version__}"))  # noqa: T201

    def opt_print_options(self) -> None:
        """Print every option, its value in force and where that came from, and exit."""
        self.print_options = "text"

    def opt_print_options_json(self) -> None:
        """Print the same as JSON, and exit."""
        self.print_options = "json"

    def getUsage(self, width: int | None = None) -> str:
        """Show the options in the same groups as ``manage.py serve --help`` does."""
        parser = argparse.ArgumentParser(
            usage=argparse.SUPPRESS, description=self.longdesc, formatter_class=HelpFormatter
        )
        parser.add_argument("--version", action="store_true", help="show twistserve's version and exit")
        add_printing(parser)
        add_arguments(parser)
        return parser.format_help().lstrip("\n")


def suggestion(message: str, table: Sequence[Option] = TABLE) -> str:
    """What may have been meant, for getopt's and argparse's words about an unknown option."""
    unknown = re.match(r"(?:option |unrecognized arguments: )--([\w-]+)(?![\w-]| requires| must)", message)
    words = _all_words(table)
    if unknown and unknown[1] in _all_words(TABLE):
        return " (which is the server's alone)"
    if unknown and unknown[1] in _OF_COMMANDS:
        return ": put a command and its arguments in quotes, as in --command 'migrate --noinput'"
    if unknown and (remedy := instead(unknown[1])):
        return f": {remedy}"
    close = difflib.get_close_matches(unknown[1], words, 1) if unknown else []
    return f" (did you mean --{close[0]}?)" if close else ""


def _all_words(table: Sequence[Option]) -> list[str]:
    return [*PRINTING, *(word for option in table for word, _, _ in _words(option))]


def fail_in_one_line(parser: argparse.ArgumentParser, table: Sequence[Option] = TABLE) -> None:
    """Make a parser end with status 1 and one line where argparse would end with 2 and its usage."""

    def fail(message: str) -> NoReturn:
        raise SystemExit(f"twistserve: {message}{suggestion(message, table)}; see --help")

    parser.error = fail  # type: ignore[method-assign]


def _handler(option: Option, constant: object, text: str) -> Callable[..., None]:
    """A method ``opt_<word>`` in the form that `usage.Options` collects; Twisted reads its help for completion."""

    def flag(self: CommandLine) -> None:
        self.given[option.name] = constant

    def take(self: CommandLine, value: str) -> None:
        self.given[option.name] = [*self.given.get(option.name, ()), value] if option.repeatable else value

    handler = flag if option.flag else take
    handler.__doc__ = text
    return handler


for _row in TABLE:
    for _word, _constant, _help in _words(_row):
        setattr(CommandLine, f"opt_{_word.replace('-', '_')}", _handler(_row, _constant, _help))
