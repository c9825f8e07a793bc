"""How our checks say what they find, and what becomes of those that cannot look."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from twistserve.errors import StartError, describe
from twistserve.redaction import redacted

Look = Callable[[], Iterable[Any]]
"""What finds faults: it gives messages of `django.core.checks`."""

# The option, the fault, the remedy; a value that is not valid may hold anything.
_REFUSAL = re.compile(r"(--[\w-]+: .* is not valid|(?:--[\w-]+: )?.*?): (.*)")


def warning(number: int, fault: str, remedy: str) -> Any:
    """The message with the id ``twistserve.W<number>``.

    All are warnings: an error would end each management command, and what makes serving impossible ends the start.
    """
    from django.core.checks import Warning as DjangoWarning

    return DjangoWarning(redacted(fault), hint=redacted(remedy), id=f"twistserve.W{number:03}")


def refusal(number: int, error: StartError) -> Any:
    """The same of what ends a start, whose text has the remedy after the fault and a colon."""
    parts = _REFUSAL.fullmatch(str(error))
    fault, remedy = parts.groups() if parts else (str(error), "correct it")
    return warning(number, f"{capitalized(fault)}.", f"{capitalized(remedy)}.")


def capitalized(text: str) -> str:
    """A text with its first letter as that of a sentence."""
    return f"{text[:1].upper()}{text[1:]}"


def check(*settings: str) -> Callable[[Look], Callable[..., list[Any]]]:
    """Make a check for Django of what looks for faults in settings: one that never raises, whatever they hold."""

    def made(look: Look) -> Callable[..., list[Any]]:
        @functools.wraps(look)
        def looked(app_configs: object = None, **keywords: object) -> list[Any]:
            return list(_found(look, settings))

        # Django looks for **kwargs, and would look at what is wrapped.
        del looked.__wrapped__
        return looked

    return made


def _found(look: Look, settings: Sequence[str]) -> Iterator[Any]:
    try:
        yield from look()
    except StartError:
        # Options that are not valid are a fault that `options_are_valid` tells of, once.
        return
    except Exception as error:
        yield warning(
            13,
            f"The check {look.__name__} of twistserve could not be made: {describe(error)}.",
            f"See whether the setting {' or '.join(settings)} has the form that Django wants.",
        )
