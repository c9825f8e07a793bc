"""The catalogue's place in Django's registry of apps."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import register


class CatalogueConfig(AppConfig):
    """The books on sale."""

    name = "catalogue"

    def ready(self) -> None:
        """Register the checks behind the probes.

        They are deployment checks, which management commands do not run: an empty catalogue must not keep
        `loaddata` from filling it.
        """
        from catalogue.checks import catalogue_is_open, shop_is_alive

        register(catalogue_is_open, "readiness", deploy=True)
        register(shop_is_alive, "liveness", deploy=True)
