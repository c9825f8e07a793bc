"""What a dotted name of an option stands for: something in a module of the project, or what that has."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from twistserve.errors import StartError, describe
from twistserve.project.application import missing_module


def find(dotted: str) -> Any:
    """What a dotted name means: something in a module, or what that has. Blocks. Raises `StartError`."""
    names = dotted.split(".")
    try:
        module, rest = _imported(names)
    except StartError:
        raise
    except (Exception, SystemExit) as error:
        raise StartError(f"the module cannot be imported: {describe(error)}") from error
    found: Any = module
    for place, name in enumerate(rest):
        try:
            found = getattr(found, name)
        except AttributeError:
            owner = ".".join(names[: len(names) - len(rest) + place])
            raise StartError(f"{owner!r} has no {name!r}: correct the dotted name") from None
    return found


def _imported(names: Sequence[str]) -> tuple[Any, Sequence[str]]:
    """The longest beginning of a dotted name that is a module, and the rest, which is not empty."""
    for end in range(len(names) - 1, 0, -1):
        name = ".".join(names[:end])
        if missing_module(name) is None:
            return import_module(name), names[end:]
    raise StartError(f"there is no module {names[0]!r}: correct the dotted name, or give --pythonpath")
