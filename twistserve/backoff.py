"""How long to wait before something that has failed is tried again."""

from __future__ import annotations

from collections.abc import Callable

_DOUBLINGS = 100
"""More would be more than a float holds, one day."""


def backoff(first: float, longest: float) -> Callable[[int], float]:
    """The seconds of a pause by the number of pauses before it: `first`, then twice the last, at most `longest`.

    Without the jitter of Twisted's policy, so that the pauses are those of the documentation.
    """
    return lambda pauses: min(first * 2.0 ** min(pauses, _DOUBLINGS), longest)
