"""``manage.py serve``: the service of ``twistd djangoserve``, with the same options, in this process."""

from __future__ import annotations

import argparse
import os
from typing import Any, NoReturn

from django.core.management.base import BaseCommand, CommandParser
from twisted.application.service import IService

from twistserve import __version__, options
from twistserve.application import load_settings
from twistserve.errors import StartError
from twistserve.logs import observe_twisted
from twistserve.service import compose
from twistserve.web.reactor import install_unless_chosen


class Command(BaseCommand):
    """Serves the project until SIGTERM or SIGINT; the exit status is twistserve's."""

    help = (
        "Serves this project, its static files, Kubernetes probes and Prometheus metrics. Each option can also be"
        " set by an environment variable, TWISTSERVE_PORT for --port, or in the setting"
        " TWISTSERVE = {'PORT': 8000}; the command line wins, then the environment."
    )
    # The probes run the checks; the server starts without them, as twistd does.
    requires_system_checks = ()

    def get_version(self) -> str:
        """The version that --version shows."""
        return f"twistserve {__version__}"

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Django's parser, ending with status 1 and one line where argparse would end with 2 and its usage."""
        parser = super().create_parser(prog_name, subcommand, **kwargs)

        def fail(message: str) -> NoReturn:
            raise SystemExit(f"twistserve: {message}{options.suggestion(message)}; see --help")

        parser.error = fail  # type: ignore[method-assign]
        return parser

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add every option but --settings and --pythonpath, which manage.py has."""
        options.add_arguments(parser, but=("settings", "pythonpath"))

    def handle(self, *args: object, **arguments: Any) -> None:
        """Run the reactor until the service has stopped."""
        install_unless_chosen()
        from twisted.internet import reactor

        given = options.given(arguments)
        given.pop("settings", None)
        given.pop("pythonpath", None)
        try:
            tree = compose(options.resolve(given, os.environ, load_settings))
        except StartError as error:
            raise SystemExit(f"twistserve: {error}") from error
        observe_twisted()
        service = IService(tree)
        service.privilegedStartService()
        service.startService()
        reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
        reactor.run()
