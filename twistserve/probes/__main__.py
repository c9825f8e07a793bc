"""``python -m twistserve.probes``: the same as ``manage.py probe``, without loading the project's apps."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping

from twistserve.checks.in_force import read_settings
from twistserve.command_line import fail_in_one_line
from twistserve.errors import StartError
from twistserve.probes.client import DESCRIPTION, add_arguments, ask
from twistserve.project.application import load_settings
from twistserve.resolution import is_service_link

VARIABLES = ("TWISTSERVE_PORT", "TWISTSERVE_PROBE_PORT", "HURRICANE_PORT", "HURRICANE_PROBE_PORT")
"""Those that say where to ask."""


def main() -> None:
    """Ask, tell, and exit."""
    parser = argparse.ArgumentParser(prog="python -m twistserve.probes", description=DESCRIPTION)
    fail_in_one_line(parser)
    add_arguments(parser, "settings", "pythonpath")
    arguments = vars(parser.parse_args())
    given = {name: os.environ.get(name, "") for name in VARIABLES}
    told = any(arguments[name] for name in ("port", "probe_port")) or any(
        value and not is_service_link(name, value) for name, value in given.items()
    )
    try:
        load = _load_settings_if_there if told else _load_settings
        passing, text = ask(arguments, os.environ, load, read_settings)
    except StartError as error:
        raise SystemExit(f"twistserve: {error}") from error
    sys.stdout.write(text)
    raise SystemExit(0 if passing else 1)


def _load_settings(settings: str | None, origin: str | None, pythonpath: str | None) -> Mapping[str, object]:
    """The setting TWISTSERVE, if there are settings: options and environment may say enough."""
    if settings is None and not os.environ.get("DJANGO_SETTINGS_MODULE"):
        return {}
    return load_settings(settings, origin, pythonpath)


def _load_settings_if_there(settings: str | None, origin: str | None, pythonpath: str | None) -> Mapping[str, object]:
    """The same where the port is told: settings of the environment that cannot be imported say nothing of the server.

    It runs all the same, and a liveness probe that failed for them would end it.
    """
    try:
        return _load_settings(settings, origin, pythonpath)
    except StartError as error:
        if settings is not None:
            raise
        sys.stderr.write(f"twistserve: asking without the setting TWISTSERVE: {error}\n")
        return {}


if __name__ == "__main__":
    main()
