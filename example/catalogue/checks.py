"""What the probes ask of the catalogue; files beside `manage.py` close, wedge or dust the shop by hand."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core import checks

from catalogue.models import Book


def catalogue_is_open(**kwargs: Any) -> list[checks.CheckMessage]:
    """Customers may come in: there are books, and nobody has closed the shop."""
    found: list[checks.CheckMessage] = []
    if not Book.objects.exists():
        found.append(
            checks.Error(
                "The catalogue is empty.",
                hint="Run `manage.py seed` to fill it with a few classics.",
                id="catalogue.E001",
            )
        )
    closed = settings.BASE_DIR / "closed"
    if closed.exists():
        found.append(
            checks.Error(
                f"The shop is closed: {closed.read_text().strip()}",
                hint=f"Remove {closed} to open it again.",
                id="catalogue.E002",
            )
        )
    dusty = settings.BASE_DIR / "dusty"
    if dusty.exists():
        found.append(
            checks.Warning(
                "The shelves are dusty.",
                hint=f"Remove {dusty} when they are clean.",
                id="catalogue.W001",
            )
        )
    return found


def shop_is_alive(**kwargs: Any) -> list[checks.CheckMessage]:
    """Only a restart helps a wedged shop; this asks no database, whose outage a restart would not mend."""
    wedged = settings.BASE_DIR / "wedged"
    if wedged.exists():
        return [checks.Error("The shop is wedged.", hint=f"Remove {wedged}.", id="catalogue.E003")]
    return []
