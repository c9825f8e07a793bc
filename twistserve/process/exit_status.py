"""How a process has ended."""

from __future__ import annotations

import signal
from typing import Any


def of(end: Any) -> int:
    """The status that Twisted's reason of an end tells (twisted.internet.error), negative for a signal."""
    number = getattr(end, "signal", None)
    return -number if number is not None else getattr(end, "exitCode", None) or 0


def in_words(status: int) -> str:
    """By which signal, or with which status."""
    if status >= 0:
        return f"status {status}"
    # Those for real time have no names.
    names = {each.value: each.name for each in signal.Signals}
    return f"killed by {names.get(-status, f'signal {-status}')}"
