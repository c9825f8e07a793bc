"""Standard streams that were closed when the process began (`>&-`)."""

from __future__ import annotations

import os
import sys
from typing import Any, ClassVar, TextIO


class _Closed:
    """The names of the streams that were closed; filled once, at the start."""

    names: ClassVar[set[str]] = set()


def open_closed_streams() -> None:
    """Put /dev/null where standard input, output or error is closed.

    Otherwise the next file or socket gets its number, and whatever is printed; Python's streams are None then.
    """
    names = ("stdin", "stdout", "stderr")
    # All of them before any file is opened for a stream: it would take the number of the next.
    for number in range(len(names)):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)
    for name in names:
        if getattr(sys, f"__{name}__") is None:
            _Closed.names.add(name)
            stream: Any = open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8")  # noqa: SIM115
            for attribute in (name, f"__{name}__"):
                if getattr(sys, attribute) is None:
                    setattr(sys, attribute, stream)


def standard_output() -> TextIO | None:
    """The process's own standard output, None if it was closed."""
    return None if "stdout" in _Closed.names else sys.__stdout__
