"""How a process has ended, in words."""

from __future__ import annotations

import signal

import pytest
from twisted.internet.error import ProcessDone, ProcessTerminated

from twistserve.process.exit_status import in_words, of


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (ProcessDone(0), "status 0"),
        (ProcessTerminated(exitCode=3), "status 3"),
        (ProcessTerminated(signal=signal.SIGKILL), "killed by SIGKILL"),
        (ProcessTerminated(signal=signal.SIGRTMIN + 3), f"killed by signal {signal.SIGRTMIN + 3}"),
    ],
)
def test_its_end_in_words(end: Exception, words: str) -> None:
    """By which signal, those without a name too, or with which status."""
    assert in_words(of(end)) == words
