"""Figures as cells show them."""

from __future__ import annotations

import math
from collections.abc import Sequence


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that is not exceeded by this share of the values. Raises IndexError if there is none."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def duration(seconds: float) -> str:
    """With two digits or so, as a reader compares it."""
    if math.isnan(seconds):
        return "-"
    if seconds < 0.0995:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.2f} s" if seconds < 0.995 else f"{seconds:.1f} s"


def share(good: int, of: int) -> str:
    """All, none, or so many of so many."""
    return f"{good} of {of}"
