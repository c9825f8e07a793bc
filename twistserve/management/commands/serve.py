"""``manage.py serve``: the service of ``twistd djangoserve``, with the same options, in this process."""

from __future__ import annotations

from twistserve import collector

# isort: split
import twistserve.net.late_tls

# isort: split
import twistserve.metrics.single_process  # noqa: F401

# isort: split
import argparse
from typing import Any

from twisted.application.service import IService

from twistserve import command_line
from twistserve.logs.observer import observe_twisted
from twistserve.logs.standard_streams import open_closed_streams
from twistserve.management.base import TwistserveCommand
from twistserve.net.other_reactors import install_in_place_of_others
from twistserve.process.ending import Ending
from twistserve.process.first_process import leave_first_process
from twistserve.service import compose, print_options

collector.resume()

DEFAULTS = {"system_checks": True}
"""What differs from the table of options."""


class Command(TwistserveCommand):
    """Serves the project until SIGTERM or SIGINT; the exit status is twistserve's."""

    help = (
        "Serves this project, its static files, Kubernetes probes and Prometheus metrics. Each option can also be"
        " set by an environment variable, TWISTSERVE_PORT for --port, or in the setting"
        " TWISTSERVE = {'PORT': 8000}; the command line wins, then the environment."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add every option but --settings and --pythonpath, which manage.py has."""
        command_line.add_printing(parser)
        command_line.add_arguments(parser, but=("settings", "pythonpath"), in_words=("command",))
        parser.add_argument("--skip-checks", action="store_true", help="start without Django's system checks")

    def handle(self, *args: object, **arguments: Any) -> None:
        """Run the reactor until the service has stopped."""
        open_closed_streams()
        given = command_line.given(arguments)
        given.pop("settings", None)
        given.pop("pythonpath", None)
        if arguments["skip_checks"]:
            given["system_checks"] = False
        if arguments["print_options"] is not None:
            print_options(given, arguments["print_options"], DEFAULTS)
        ending = Ending(leave_first_process())
        ending.take_early_signals()
        install_in_place_of_others()
        from twisted.internet import reactor

        tree = compose(given, ending, defaults=DEFAULTS)
        observe_twisted()
        service = IService(tree)
        service.privilegedStartService()
        service.startService()
        reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
        reactor.run()
