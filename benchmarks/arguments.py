"""Types of arguments that several command lines have."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from benchmarks.layouts import LAYOUTS, Layout
from benchmarks.servers import Server, twistserve


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return number


def numbers(text: str) -> tuple[int, ...]:
    """Several, with commas between."""
    return tuple(map(positive, text.split(",")))


def chosen(text: str, known: Sequence[str]) -> tuple[str, ...]:
    """Those of the known names that are listed, each by its name or by the part before a hyphen."""
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
    """A twistserve that is installed already, `[NAME=]BIN[,OPTION...]`: options are those of its command line."""
    place, *options = re.split(",(?=--)", text)
    name, separator, directory = place.rpartition("=")
    bin_directory = Path(directory).absolute()
    if not (bin_directory / "twistd").exists():
        raise argparse.ArgumentTypeError(f"there is no twistd in {bin_directory}: give the bin directory")
    return Server(name if separator else "twistserve", twistserve, bin_directory, options=tuple(options))
