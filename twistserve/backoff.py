"""How long to wait before something that has failed is tried again."""

from __future__ import annotations

from collections.abc import Callable

from twisted.application.internet import backoffPolicy


def backoff(first: float, longest: float) -> Callable[[int], float]:
    """The seconds of a pause by the number of pauses before it: `first`, then twice the last, at most `longest`.

    Twisted's policy without its jitter, so that the pauses are those of the documentation.
    """
    return backoffPolicy(first, longest, factor=2.0, jitter=lambda: 0.0)
