"""What is said of Django-Hurricane's options."""

from __future__ import annotations

import pytest

from twistserve.options import TABLE
from twistserve.replaced import _INSTEAD, instead


@pytest.mark.parametrize("word", ["pycharm-host", "PYCHARM_PORT", "pycharm_port"])
def test_each_spelling_is_known(word: str) -> None:
    """That of the command line, and those of the environment and the setting."""
    assert "--debugger" in (instead(word) or "")


def test_other_words_are_not() -> None:
    """There is nothing to say of them."""
    assert instead("pycharm") is None


def test_what_is_replaced_is_no_option() -> None:
    """It appears neither in --help nor in the README."""
    assert not {option.word for option in TABLE} & set(_INSTEAD)
