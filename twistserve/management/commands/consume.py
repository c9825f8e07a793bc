"""``manage.py consume``: handles messages of an AMQP broker, with the lifecycle, probes and metrics of ``serve``."""

from __future__ import annotations

from twistserve import collector

# isort: split
import twistserve.net.late_tls

# isort: split
import twistserve.metrics.single_process  # noqa: F401

# isort: split
import argparse
from importlib.util import find_spec
from typing import Any

from twisted.application.service import IService

from twistserve import command_line
from twistserve.consumer_options import CONSUMER_TABLE
from twistserve.logs.observer import observe_twisted
from twistserve.logs.standard_streams import open_closed_streams
from twistserve.management.base import TwistserveCommand
from twistserve.net.other_reactors import install_in_place_of_others
from twistserve.process.ending import Ending
from twistserve.process.first_process import leave_first_process
from twistserve.resolution import resolve_consumer
from twistserve.service import compose_consumer, print_options

collector.resume()

DEFAULTS = {"system_checks": True}
"""What differs from the table of options."""


class Command(TwistserveCommand):
    """Consumes until SIGTERM or SIGINT; the exit status is twistserve's."""

    table = CONSUMER_TABLE
    help = (
        "Consumes a queue of an AMQP 0-9-1 broker such as RabbitMQ: a class of this project handles the messages."
        " Kubernetes probes and Prometheus metrics are on a port of their own. Each option can also be set by an"
        " environment variable, TWISTSERVE_QUEUE for --queue, or in the setting TWISTSERVE = {'QUEUE': 'orders'}; the"
        " command line wins, then the environment, then the setting. AMQP_HOST, _PORT, _VHOST, _USER and _PASSWORD"
        " come after these, as Django settings or in the environment."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add every option but --settings and --pythonpath, which manage.py has."""
        parser.add_argument(
            "handler_argument",
            metavar="HANDLER",
            nargs="?",
            help="dotted name of the handler's class, such as shop.consumers.Orders",
        )
        command_line.add_printing(parser)
        command_line.add_arguments(parser, but=("settings", "pythonpath"), in_words=("command",), table=CONSUMER_TABLE)
        parser.add_argument("--skip-checks", action="store_true", help="start without Django's system checks")

    def handle(self, *args: object, **arguments: Any) -> None:
        """Run the reactor until the consumer has stopped."""
        open_closed_streams()
        given = command_line.given(arguments, CONSUMER_TABLE)
        given.pop("settings", None)
        given.pop("pythonpath", None)
        if arguments["handler_argument"] is not None:
            if "handler" in given:
                raise SystemExit("twistserve: --handler is the argument without a name: give one of them")
            given["handler"] = arguments["handler_argument"]
        if arguments["skip_checks"]:
            given["system_checks"] = False
        if arguments["print_options"] is not None:
            print_options(given, arguments["print_options"], DEFAULTS, resolve_consumer)
        if find_spec("pika") is None:
            raise SystemExit("twistserve: a consumer needs pika: install twistserve[amqp]")
        ending = Ending(leave_first_process())
        ending.take_early_signals()
        install_in_place_of_others()
        from twisted.internet import reactor

        tree = compose_consumer(given, ending, DEFAULTS)
        observe_twisted()
        service = IService(tree)
        service.privilegedStartService()
        service.startService()
        reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
        reactor.run()
