"""`manage.py prepare`: stands for whatever a project does before it serves."""

from __future__ import annotations

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser


class Command(BaseCommand):
    """A pre-start command that takes as long as it is told, and fails on demand."""

    help = "Prepare the shop: take some time, then succeed or fail."

    def add_arguments(self, parser: CommandParser) -> None:
        """How long, and with which outcome."""
        parser.add_argument("--seconds", type=float, default=0, help="how long to take (default: 0)")
        parser.add_argument("--fail", action="store_true", help="fail in the end")

    def handle(self, *args: Any, seconds: float, fail: bool, **options: Any) -> None:
        """Say so, sleep, and say how it went."""
        self.stdout.write("preparing")
        self.stdout.flush()
        time.sleep(seconds)
        if fail:
            raise CommandError("the shelves are broken")
        self.stdout.write("prepared")
