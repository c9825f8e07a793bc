"""``manage.py kubernetes``: prints manifests for the options in force."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import redirect_stdout
from typing import Any

from twistserve import command_line
from twistserve.checks.in_force import read_settings
from twistserve.errors import StartError
from twistserve.kubernetes import consumer, manifests, scaling
from twistserve.kubernetes.chosen import KEYS, chosen
from twistserve.kubernetes.sense import notices, refuse
from twistserve.kubernetes.words import words
from twistserve.management.base import TwistserveCommand
from twistserve.project.application import load_settings
from twistserve.resolution import resolve, resolve_consumer, unknown_variables

INSIDE = {"KUBERNETES_SERVICE_HOST": "kubernetes.default.svc"}
"""The environment variable by which the server knows that it runs in a pod; some defaults depend on it."""


class Command(TwistserveCommand):
    """Prints YAML on standard output, and warnings on standard error."""

    help = (
        "Prints Kubernetes manifests for this project, for kubectl apply -f - or kustomize, generated from the server's"
        " options as they are in force inside a pod. Takes the options of manage.py serve. Options from the command"
        " line and TWISTSERVE_* environment variables are written into the manifests; those from the setting TWISTSERVE"
        " are not, since the image has them."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the options of the manifests, and those of serve."""
        group = parser.add_argument_group("Manifests")
        group.add_argument("--image", metavar="IMAGE", help="the image, with its tag (default: the project's name)")
        group.add_argument(
            "--set",
            metavar="KEY=VALUE",
            action="append",
            default=[],
            dest="chosen",
            help=f"one of {', '.join(KEYS)}; repeat the option for more",
        )
        group.add_argument(
            "--pod-monitor",
            action="store_true",
            help="print a PodMonitor too, for clusters with the Prometheus operator",
        )
        group.add_argument(
            "--scale-by",
            choices=scaling.WAYS,
            help="what the autoscaler follows: cpu, as metrics-server knows it; or threads, the requests that run or"
            " wait for each request thread, by prometheus-adapter with deploy/prometheus/adapter.yaml"
            f" (default: {scaling.CPU})",
        )
        command_line.add_arguments(parser, but=("settings", "pythonpath"), in_words=("command",))
        consumer.add_arguments(parser)
        parser.add_argument(
            "--skip-checks",
            action="store_true",
            help="start without Django's system checks, as without --system-checks",
        )

    def handle(self, *args: object, **arguments: Any) -> None:
        """Print the manifests and the warnings."""
        # Settings that print must not print into the manifests.
        with redirect_stdout(sys.stderr):
            try:
                text, said = self._render(arguments)
            except StartError as error:
                raise SystemExit(f"twistserve: {error}") from error
        for each in said:
            self.stderr.write(f"twistserve: {each}", self.style.WARNING)
        try:
            self.stdout.write(text, ending="")
            self.stdout.flush()
        except OSError as error:
            raise SystemExit(f"twistserve: the manifests cannot be printed: {error.strerror or error}") from error

    def _render(self, arguments: dict[str, Any]) -> tuple[str, list[str]]:
        """The manifests and the warnings. Raises `StartError`."""
        if arguments["consumer"] is not None:
            return _render_consumer(arguments)
        consumer.refuse_without(arguments)
        given = command_line.given(arguments)
        # Django has applied --settings; --pythonpath is for the server too.
        given.pop("settings", None)
        if arguments["skip_checks"]:
            given["system_checks"] = False
        configuration = resolve(given, {**os.environ, **INSIDE}, load_settings, read_settings=read_settings)
        selected = chosen(arguments["image"], arguments["chosen"], configuration.settings)
        wanted = arguments["pod_monitor"], arguments["scale_by"] or scaling.CPU
        refuse(configuration, *wanted, selected.replicas)
        started_with = words(configuration)
        text = manifests.text(configuration, selected, started_with, *wanted)
        unknown = [
            f"the environment variable {name} is not a known option, and has no effect"
            + (f" (did you mean {meant}?)" if meant else "")
            for name, meant in unknown_variables(os.environ).items()
        ]
        return text, [*_of_settings(configuration.settings), *unknown, *notices(configuration, selected, started_with)]


def _render_consumer(arguments: dict[str, Any]) -> tuple[str, list[str]]:
    """The same of a consumer."""
    given = consumer.given(arguments)
    given.pop("settings", None)
    if arguments["skip_checks"]:
        given["system_checks"] = False
    configuration = resolve_consumer(given, {**os.environ, **INSIDE}, load_settings, read_settings=read_settings)
    selected = chosen(arguments["image"], arguments["chosen"], configuration.settings)
    selected = consumer.named(selected, arguments["chosen"])
    started_with = words(configuration)
    text = consumer.text(configuration, selected, started_with, arguments["queue_length"], arguments["pod_monitor"])
    said = consumer.notices(configuration, selected, started_with)
    return text, [*_of_settings(configuration.settings), *said]


def _of_settings(module: str | None) -> list[str]:
    if not read_settings(("DEBUG",)).get("DEBUG"):
        return []
    return [
        f"the settings {module} have DEBUG = True, and the pods get them too: name those of production with --settings"
    ]
