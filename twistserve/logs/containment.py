"""Whatever raises in counting and telling ends there: connections are released and states change all the same.

So it is in one round of a periodic job: the next comes all the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twistserve.logs.loggers import get_logger

logger = get_logger(__name__)

_told: set[object] = set()


def contain(function: Callable[..., Any], *arguments: object) -> None:
    """Call a function that only counts or tells, or will be called again. What it raises is logged, SystemExit too."""
    try:
        function(*arguments)
    except BaseException as error:
        tell(error)


def tell(error: BaseException) -> None:
    """Log an error that is contained, and the same kind at the same place once."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    place = (traceback.tb_frame.f_code, traceback.tb_lineno) if traceback is not None else None
    what = (type(error), place)
    if what not in _told:
        _told.add(what)
        logger.error("metrics, the access log or a periodic job failed; serving goes on", exc_info=error)
