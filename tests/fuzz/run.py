"""``python -m tests.fuzz.run TARGET [OPTION OF LIBFUZZER...]``: one target under atheris, until told to stop."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from types import FrameType

import atheris

with atheris.instrument_imports(include=["twistserve", "twisted.protocols.haproxy", "twisted.web", "wsproto", "h2"]):
    from tests.fuzz.targets import TARGETS

SLOWEST = 5.0
"""Seconds of CPU time that one input may take."""


def bounded(fuzz: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """The target, raising TimeoutError where an input takes too long: libFuzzer's own alarm does not reach Python."""

    def too_slow(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"more than {SLOWEST:g} s")

    def run(data: bytes) -> None:
        signal.setitimer(signal.ITIMER_VIRTUAL, SLOWEST)
        try:
            fuzz(data)
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)

    signal.signal(signal.SIGVTALRM, too_slow)
    return run


def main(name: str, options: list[str]) -> None:
    """Never returns: libFuzzer ends the process, with a status other than 0 after a failure."""
    atheris.Setup([name, *options], bounded(TARGETS[name].fuzz))
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
