"""Whatever raises in counting and telling ends there: connections are released and states change all the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twistserve.logs.loggers import get_logger

logger = get_logger(__name__)

_told: set[str] = set()
_MOST_TOLD = 100


def contain(function: Callable[..., Any], *arguments: object) -> None:
    """Call a function that only counts or tells. What it raises is logged, the same once; SystemExit too."""
    try:
        function(*arguments)
    except BaseException as error:
        what = repr(error)
        if what not in _told and len(_told) < _MOST_TOLD:
            _told.add(what)
            logger.exception("something could not be counted, logged or told; what it was about goes on")
