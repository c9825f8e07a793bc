"""What only counts or tells ends nothing."""

from __future__ import annotations

import pytest

from twistserve.logs.containment import contain


@pytest.mark.parametrize("error", [OSError, SystemExit, KeyboardInterrupt])
def test_what_is_raised_is_logged_once(caplog: pytest.LogCaptureFixture, error: type[BaseException]) -> None:
    """Whatever it is; another time something else is logged again."""

    def fail(text: str) -> None:
        raise error(text)

    for text in ("one", "one", "two"):
        contain(fail, f"{error.__name__} {text}")
    assert [str(record.exc_info and record.exc_info[1]) for record in caplog.records] == [
        f"{error.__name__} one",
        f"{error.__name__} two",
    ]


def test_what_raises_nothing_is_called() -> None:
    """With its arguments."""
    called: list[int] = []
    contain(called.append, 3)
    assert called == [3]
