"""How checks say what they find."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.checks import told
from twistserve.checks.messages import capitalized, check, refusal, warning
from twistserve.errors import StartError


def test_a_warning_has_an_id_and_a_remedy_but_no_secret() -> None:
    """It is silenced by the id."""
    message = warning(7, "odd: password=t0p", "mend it")
    assert told([message]) == ["(twistserve.W007) odd: password=… HINT: mend it"]
    assert not message.is_serious()


@pytest.mark.parametrize(
    ("error", "sentences"),
    [
        ("--threads: 0 from x is not valid: give a number", "--threads: 0 from x is not valid. HINT: Give a number."),
        ("--port: {'a': 1} is not valid: give one", "--port: {'a': 1} is not valid. HINT: Give one."),
        ("the setting is a list: give {'A': 1}", "The setting is a list. HINT: Give {'A': 1}."),
        ("--media: it is full: set a path", "--media: it is full. HINT: Set a path."),
        ("nothing works", "Nothing works. HINT: Correct it."),
    ],
)
def test_what_ends_a_start_is_told_in_two_sentences(error: str, sentences: str) -> None:
    """What comes after the fault is the remedy."""
    assert told([refusal(12, StartError(error))]) == [f"(twistserve.W012) {sentences}"]
    assert capitalized("") == ""


def test_a_check_is_a_list_of_what_was_found() -> None:
    """Django calls it with keywords, and may have more of them one day."""

    @check("STATIC_URL", "STATIC_ROOT")
    def look() -> Iterator[Any]:
        """What holds."""
        yield warning(1, "odd", "mend it")

    assert len(look(app_configs=None, databases=None, more=1)) == 1
    assert (look.__name__, look.__doc__) == ("look", "What holds.")


def test_options_that_are_not_valid_are_told_once() -> None:
    """By the check of the options, so not by others that need them."""

    @check("STATIC_URL", "STATIC_ROOT")
    def look() -> Iterator[Any]:
        raise StartError("bad")
        yield

    assert look() == []


def test_a_check_does_not_raise() -> None:
    """A setting of a type that nobody thought of becomes a warning; what was found before stays."""

    @check("STATIC_URL", "STATIC_ROOT")
    def look() -> Iterator[Any]:
        yield warning(1, "odd", "mend it")
        raise TypeError("no text")

    first, second = told(look())
    assert first.startswith("(twistserve.W001)")
    assert second.startswith("(twistserve.W013) The check look of twistserve could not be made: TypeError: no text")
    assert second.endswith("HINT: See whether the setting STATIC_URL or STATIC_ROOT has the form that Django wants.")
