"""What the first process knows of the end, by a clock that the test sets; what it does is tested in a namespace."""

from __future__ import annotations

import math
import os

import pytest

from twistserve.process import first_process as init_process
from twistserve.process.first_process import HURRY, UNTOLD, Bound, FirstProcess, leave_first_process


class Clock:
    """A clock that stands still."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_it_waits_for_ever_until_a_signal() -> None:
    """The end begins with a signal; before the options are known it may take ten seconds."""
    bound = Bound(Clock())
    assert bound.left == math.inf
    bound.ask()
    assert bound.left == UNTOLD


def test_it_is_told_the_bound() -> None:
    """In whatever pieces that comes, and counts it from the first signal; the second leaves none."""
    clock = Clock()
    bound = Bound(clock)
    bound.told(b"bou")
    bound.told(b"nd 34.9")  # codespell:ignore nd
    bound.told(b"00\n")
    bound.ask()
    assert bound.left == pytest.approx(34.9)
    clock.now += 5
    bound.ask()
    assert bound.left == pytest.approx(HURRY)


def test_it_is_told_of_an_end_that_begins_by_itself() -> None:
    """A failed start or recycling, which a signal does not put off."""
    bound = Bound(Clock())
    bound.told(b"bound 34.900\nend 9.900\n")
    assert bound.left == pytest.approx(9.9)
    bound.ask()
    assert bound.left == pytest.approx(9.9)


def test_the_server_tells() -> None:
    """Over a pipe, and nothing where there is no first process or it is gone."""
    reading, writing = os.pipe()
    first = FirstProcess(writing)
    first.tell_bound(34.9)
    first.tell_end(9.9)
    bound = Bound(Clock())
    bound.told(os.read(reading, 100))
    assert bound.left == pytest.approx(9.9)
    os.close(reading)
    first.tell_end(1)
    os.close(writing)
    FirstProcess().tell_bound(1)


def test_there_is_none_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is forked unless this is the first process."""
    monkeypatch.setattr("os.fork", lambda: pytest.fail("forked"))
    assert leave_first_process().pipe == -1


def test_one_that_was_started_anew_has_its_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Named in the environment, from which it is taken; it is not for its own children."""
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    monkeypatch.setenv(init_process._PIPE, str(writing))
    assert leave_first_process().pipe == writing
    assert init_process._PIPE not in os.environ
    assert not os.get_inheritable(writing)
    for each in (reading, writing):
        os.close(each)
    monkeypatch.setenv(init_process._PIPE, "nonsense")
    assert leave_first_process().pipe == -1
