"""Options that several command lines share, and the types of their values."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from benchmarks.environments import ROOT
from benchmarks.layouts import LAYOUTS, ONE_CORE, Layout
from benchmarks.servers import Server, twistserve
from benchmarks.workloads import WORKLOADS


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return number


def file(text: str) -> Path:
    """A file to write to; where it cannot be, that is told before the run and not after it."""
    path = Path(text)
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is no file in a directory that exists")
    return path


def numbers(text: str) -> tuple[int, ...]:
    """Numbers separated by commas."""
    return tuple(map(positive, text.split(",")))


def chosen(text: str, known: Sequence[str]) -> tuple[str, ...]:
    """The known names that a list with commas selects, each by the whole name or by the part before a hyphen."""
    found: list[str] = []
    for word in filter(None, (part.strip() for part in text.split(","))):
        names = [name for name in known if name == word or name.startswith(f"{word}-")]
        if not names:
            raise argparse.ArgumentTypeError(f"{word!r} is not one of {', '.join(known)}")
        found += (name for name in names if name not in found)
    return tuple(found)


def layout(text: str) -> Layout:
    if text not in LAYOUTS:
        raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(LAYOUTS)}")
    return LAYOUTS[text]


def existing(text: str) -> Server:
    """An installed twistserve, `[NAME=]BIN[,OPTION...]`, with options of its command line."""
    place, *options = re.split(",(?=--)", text)
    name, separator, directory = place.rpartition("=")
    bin_directory = Path(directory).absolute()
    if not (bin_directory / "twistd").exists():
        raise argparse.ArgumentTypeError(f"there is no twistd in {bin_directory}: give the bin directory")
    return Server(name if separator else "twistserve", twistserve, bin_directory, options=tuple(options))


def add_measures(made: argparse.ArgumentParser, *, workloads: Sequence[str]) -> None:
    """Add the options that say what to measure, for how long and how often; `workloads` are the default."""
    names = tuple(workload.name for workload in WORKLOADS)
    made.add_argument("--rounds", type=positive, default=5, metavar="N", help="interleaved rounds (default: 5)")
    made.add_argument(
        "--seconds", type=positive, default=3, metavar="S", help="seconds a server is driven in each round (default: 3)"
    )
    made.add_argument(
        "--workloads",
        type=lambda text: chosen(text, names),
        default=tuple(workloads),
        metavar="A,B",
        help=f"some of {', '.join(names)} (default: {'all' if tuple(workloads) == names else ','.join(workloads)})",
    )
    made.add_argument(
        "--layout",
        type=layout,
        default=ONE_CORE,
        metavar="LAYOUT",
        help=f"which cores and how many workers: {', '.join(LAYOUTS)} (default: {ONE_CORE.name})",
    )
    made.add_argument("--connections", type=positive, default=32, metavar="N", help="of wrk (default: 32)")
    add_twistserve(made)
    made.add_argument(
        "--cache",
        type=Path,
        default=ROOT / "build" / "benchmarks",
        metavar="DIR",
        help="environments and data, used again; delete it for newer releases (default: build/benchmarks)",
    )


def add_twistserve(made: argparse.ArgumentParser) -> None:
    """Add the option that says which twistserve to measure."""
    made.add_argument(
        "--twistserve",
        type=existing,
        action="append",
        default=[],
        metavar="[NAME=]BIN[,OPTION...]",
        help="the bin directory of an environment with twistserve (default: a new one with this checkout), and options"
        " of its command line, as in NAME=BIN,--threads=4; repeat it, with names, to compare several: ratios are those"
        " of the last",
    )
