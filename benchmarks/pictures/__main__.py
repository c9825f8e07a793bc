"""Draw the pictures that are named, or all."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial

from benchmarks.environments import ROOT
from benchmarks.pictures import day, drain, process

DOCS = ROOT / "docs"


def main(argv: Sequence[str]) -> None:
    """Draw, and say how long each took."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pictures", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="some of process, drain, day (default: all)")
    parser.add_argument("--short", action="store_true", help="a day of one minute, to try the script")
    arguments = parser.parse_args(argv)
    pictures: dict[str, Callable[[], None]] = {
        "process": partial(process.draw, DOCS / process.NAME),
        "drain": partial(drain.draw, DOCS / drain.NAME),
        "day": partial(day.draw, DOCS, short=arguments.short),
    }
    if unknown := set(arguments.names) - set(pictures):
        parser.error(f"there is no picture {', '.join(sorted(unknown))}")
    for name in arguments.names or pictures:
        began = time.monotonic()
        pictures[name]()
        sys.stderr.write(f"{name}: {time.monotonic() - began:.0f} s\n")


if __name__ == "__main__":
    main(sys.argv[1:])
