from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import register


class BenchConfig(AppConfig):
    """Has a readiness check, for the servers that ask one."""

    name = "bench"

    def ready(self) -> None:
        from bench.health import readiness

        register("readiness", deploy=True)(readiness)
