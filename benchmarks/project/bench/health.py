"""What tells whether the project can work: asked by probes, or by the view that takes their place."""

from __future__ import annotations

import time
from typing import Any

from django.conf import settings
from django.db import connection

HUNG = 30.0
"""Seconds a check takes while the file `hang` is in the data directory: a network that swallows packets."""


def ask_the_database() -> None:
    """Ask it something."""
    if (settings.DATA / "hang").exists():
        time.sleep(HUNG)
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def readiness(**_: Any) -> list[Any]:
    """The same as a Django check."""
    ask_the_database()
    return []
