"""Where threads stand, for a log line or a page."""

from __future__ import annotations

import os
import sys
import threading
import traceback
from collections.abc import Mapping

from twistserve.logs import get_logger

logger = get_logger(__name__)

_INNERMOST = 12
_PASSING_ON = ("django/core/handlers/exception.py", "django/utils/deprecation.py")
"""Between any two middlewares, and of no use in the search for a view."""


def stack_of(thread: int) -> str:
    """The stack of a thread now, as a traceback shows it; empty if it has ended. Callable from any thread."""
    frame = sys._current_frames().get(thread)
    return "" if frame is None else "".join(traceback.format_stack(frame)).rstrip()


def where(thread: int) -> str:
    """The same in one line, innermost call first: `file:line function < file:line function`; reads no file."""
    frame = sys._current_frames().get(thread)
    if frame is None:
        return "its thread has ended"
    calls = [
        f"{os.path.basename(call.f_code.co_filename)}:{line} {call.f_code.co_name}"
        for call, line in traceback.walk_stack(frame)
        if not call.f_code.co_filename.endswith(_PASSING_ON)
    ]
    return " < ".join(calls[:_INNERMOST] + ["..."] * (len(calls) > _INNERMOST))


def all_stacks(serving: Mapping[int, str]) -> str:
    """Every thread's name, the request it serves by `serving`, and its stack."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    parts: list[str] = []
    for ident, frame in sys._current_frames().items():
        request = f", serving {serving[ident]}" if ident in serving else ""
        stack = "".join(traceback.format_stack(frame)).rstrip()
        parts.append(f"thread {names.get(ident, ident)}{request}\n{stack}")
    return "\n".join(parts)


def log_all_stacks(signal_name: str, serving: Mapping[int, str]) -> None:
    """Log where every thread stands."""
    logger.warning("received %s; every thread's stack:\n%s", signal_name, all_stacks(serving))
