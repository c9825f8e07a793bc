"""``python -m tests.fuzz.run TARGET [OPTION OF LIBFUZZER...]``: one target under atheris, until told to stop."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["twistserve", "twisted.protocols.haproxy", "twisted.web", "wsproto", "h2"]):
    from tests.fuzz.targets import TARGETS


def main(name: str, options: list[str]) -> None:
    """Never returns: libFuzzer ends the process, with a status other than 0 after a failure."""
    atheris.Setup([name, *options], TARGETS[name].fuzz)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
