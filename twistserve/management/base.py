"""What the management commands share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from django.core.management.base import BaseCommand, CommandParser, DjangoHelpFormatter

from twistserve import __version__
from twistserve.command_line import HelpFormatter, fail_in_one_line
from twistserve.options import TABLE, Option


class CommandHelpFormatter(HelpFormatter, DjangoHelpFormatter):
    """Django's order of the options, and our lines."""


class TwistserveCommand(BaseCommand):
    """A command with options of the table's, which says in one line what is wrong with them."""

    table: ClassVar[Sequence[Option]] = TABLE

    # `serve` runs them as a step of its start, `probe` needs none.
    requires_system_checks = ()

    def get_version(self) -> str:
        """The version that --version shows."""
        return f"twistserve {__version__}"

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Django's parser, with our way to end."""
        parser = super().create_parser(prog_name, subcommand, formatter_class=CommandHelpFormatter, **kwargs)
        fail_in_one_line(parser, self.table)
        return parser
