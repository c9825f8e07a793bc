"""A group of things that are tried together, and what came of them: a table of the document."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from benchmarks.compare.contenders import Contender
from benchmarks.serving import RefusedError, Stage

NONE = "no"
"""The cell of a server that has no such thing."""

logger = logging.getLogger("benchmarks")


@dataclass(frozen=True)
class Found:
    """What was found about a server: a cell for each column, and what is to be told besides."""

    cells: tuple[str, ...]
    details: tuple[str, ...] = ()


Measure = Callable[[Stage, Contender], Found]


@dataclass(frozen=True)
class Column:
    """A column of the group's table; `need` is its row in the overview, if it has one."""

    heading: str
    need: str = ""


@dataclass(frozen=True)
class Group:
    """What is tried, and how."""

    name: str
    title: str
    how: str
    """For the footnote: how it is tried, and how to read the cells."""
    columns: tuple[Column, ...]
    measure: Measure
    together: bool = False
    """Whether all servers are tried at the same time, since they mostly wait."""

    def run(self, stage: Stage, contenders: Sequence[Contender]) -> dict[str, Found]:
        """Try it with all of these; what fails is told in the cells."""
        with ThreadPoolExecutor(len(contenders) if self.together else 1) as pool:
            all_found = pool.map(lambda contender: self._tried(stage, contender), contenders)
            return {contender.name: found for contender, found in zip(contenders, all_found, strict=True)}

    def _tried(self, stage: Stage, contender: Contender) -> Found:
        try:
            found = self.measure(stage, contender)
        except (RefusedError, OSError, EOFError, ValueError) as error:
            logger.exception("%s, %s", self.name, contender.name)
            return Found(("failed", *[""] * (len(self.columns) - 1)), (f"{type(error).__name__}: {error}",))
        logger.info("%s, %s: %s", self.name, contender.name, " | ".join((*found.cells, *found.details)))
        return found
