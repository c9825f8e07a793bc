"""The application that INSTALLED_APPS names: the management commands, and the system checks."""

from __future__ import annotations

from django.apps import AppConfig


class TwistserveConfig(AppConfig):
    """Registers the checks, which `manage.py check` and other commands then run too."""

    name = "twistserve"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the checks."""
        from twistserve.checks.registration import register_checks

        register_checks()
