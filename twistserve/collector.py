"""Imported first where a service starts: Python's garbage collector rests while modules are imported.

What they are made of stays. The collector would look through all of it again and again while they are imported: a
sixth of the CPU time that a start takes with the example project, and as much with Wagtail's start project.
"""

from __future__ import annotations

import gc

SELDOM = 50_000
"""Objects between two collections while the project is imported; 700 is Python's default, 2,000 from Python 3.13 on."""

_collecting = gc.isenabled()
_threshold = gc.get_threshold()
gc.disable()


def resume() -> None:
    """Our modules are there: never look at them again, and seldom at the project's, which come now."""
    # What was left over meanwhile would stay with them.
    gc.collect()
    gc.freeze()
    if _collecting:
        gc.set_threshold(SELDOM, *_threshold[1:])
        gc.enable()


def settle() -> None:
    """The project's modules are there too: never look at them again, and collect as ever from now on."""
    gc.freeze()
    # A project may have a threshold of its own.
    if gc.get_threshold()[0] == SELDOM:
        gc.set_threshold(*_threshold)
