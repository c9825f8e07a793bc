"""Where threads stand, for a log line or a page."""

from __future__ import annotations

import os
import sys
import threading
import traceback
from collections.abc import Mapping

_INNERMOST = 12


def stack_of(thread: int) -> str:
    """The stack of a thread now, as a traceback shows it; empty if it has ended. Callable from any thread."""
    frame = sys._current_frames().get(thread)
    return "" if frame is None else "".join(traceback.format_stack(frame)).rstrip()


def where(thread: int) -> str:
    """The same in one line, innermost call first: `file:line function < file:line function`."""
    frame = sys._current_frames().get(thread)
    if frame is None:
        return "its thread has ended"
    calls = [
        f"{os.path.basename(call.filename)}:{call.lineno} {call.name}"
        for call in reversed(traceback.extract_stack(frame))
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
