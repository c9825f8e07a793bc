"""What only counts or tells ends nothing."""

from __future__ import annotations

import pytest

from twistserve.logs.containment import contain


@pytest.mark.parametrize("error", [OSError, SystemExit, KeyboardInterrupt])
def test_what_is_raised_is_logged_once(caplog: pytest.LogCaptureFixture, error: type[BaseException]) -> None:
    """Whatever it is, even if it cannot be shown; what is raised elsewhere is logged again."""

    class Unshowable(error):  # type: ignore[valid-type, misc]
        def __repr__(self) -> str:
            raise ValueError

        __str__ = __repr__

    def fail(kind: type[BaseException]) -> None:
        raise kind("at one place")

    def fail_elsewhere(kind: type[BaseException]) -> None:
        raise kind("at another place")

    for function in (fail, fail, fail_elsewhere):
        contain(function, error)
    contain(fail, Unshowable)
    told = [record.exc_info and record.exc_info[0] for record in caplog.records]
    assert told == [error, error, Unshowable]


def test_what_raises_nothing_is_called() -> None:
    """With its arguments."""
    called: list[int] = []
    contain(called.append, 3)
    assert called == [3]
