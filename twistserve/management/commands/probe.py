"""``manage.py probe``: asks a probe of a running instance."""

from __future__ import annotations

import argparse
import os
from typing import Any

from twistserve.checks.in_force import read_settings
from twistserve.errors import StartError
from twistserve.management.base import TwistserveCommand
from twistserve.probes import client
from twistserve.project.application import load_settings


class Command(TwistserveCommand):
    """Exits with status 0 or 1, so that it can be an exec probe or a HEALTHCHECK."""

    help = client.DESCRIPTION

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the options that tell where the instance listens, and --timeout."""
        client.add_arguments(parser)

    def handle(self, *args: object, **arguments: Any) -> None:
        """Ask, and tell the answer."""
        # Django has heeded them, and they may not differ from the settings in force.
        arguments |= {"settings": None, "pythonpath": None}
        try:
            passing, text = client.ask(arguments, os.environ, load_settings, read_settings)
        except StartError as error:
            raise SystemExit(f"twistserve: {error}") from error
        self.stdout.write(text, ending="")
        if not passing:
            raise SystemExit(1)
