"""The arithmetic: what two servers did in the same round is compared, then the median of the rounds is taken.

A machine changes its speed from minute to minute. Within a round it changes little, so a ratio within a round is
trustworthy where a ratio of two medians, whose rounds may lie minutes apart, is not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Paired:
    """The ratios of two servers, one a round."""

    ratios: tuple[float, ...]

    @property
    def median(self) -> float:
        return middle(self.ratios)

    @property
    def lowest(self) -> float:
        return min(self.ratios) if self._known else math.nan

    @property
    def highest(self) -> float:
        return max(self.ratios) if self._known else math.nan

    @property
    def _known(self) -> bool:
        return not any(math.isnan(ratio) for ratio in self.ratios)


def paired(ours: Sequence[float], theirs: Sequence[float]) -> Paired:
    """Divide ours by theirs round by round. Raises ValueError when the rounds do not pair up.

    No round is left out: a round in which they did nothing gives infinity, one in which neither did gives NaN,
    and a NaN makes the median NaN.
    """
    return Paired(tuple(_ratio(a, b) for a, b in zip(ours, theirs, strict=True)))


def middle(values: Sequence[float]) -> float:
    """The median; NaN if any value is NaN. Raises ValueError when there is none."""
    if not values:
        raise ValueError("no round was measured")
    return math.nan if any(math.isnan(value) for value in values) else median(values)


def _ratio(ours: float, theirs: float) -> float:
    if theirs:
        return ours / theirs
    return math.inf if ours > 0 else math.nan
