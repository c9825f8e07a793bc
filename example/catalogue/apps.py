"""The catalogue's place in Django's registry of apps."""

from __future__ import annotations

import sys
from pathlib import Path

from django.apps import AppConfig
from django.core.checks import register


class CatalogueConfig(AppConfig):
    """The books on sale."""

    name = "catalogue"

    def ready(self) -> None:
        """Register the checks behind the probes, wherever they may be asked for.

        Most management commands run every registered check first and refuse to work on an error. There an
        empty catalogue would keep `loaddata` from filling it, so those commands do without.
        """
        if not runs_management_command(but=("check", "serve")):
            from catalogue.checks import catalogue_is_open, shop_is_alive

            register(catalogue_is_open, "readiness")
            register(shop_is_alive, "liveness")


def runs_management_command(but: tuple[str, ...]) -> bool:
    """Whether this process is `manage.py` with a command other than these."""
    program, *words = sys.argv
    return Path(program).name == "manage.py" and (not words or words[0] not in but)
