"""A project written for Django-Hurricane is served differently where docs/from-hurricane.md says so, and only there.

Each scenario is run with both. The table of differences in the document is read: one that it does not list fails, and
so does one that is not there any more.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from tests.support.functional import hurricane_http as http
from tests.support.functional import hurricane_lives as lives
from tests.support.functional.harness import ROOT
from tests.support.functional.hurricane import Side, environment, sides
from tests.support.functional.observations import Observations, differences, listed

DOCUMENT = ROOT / "docs" / "from-hurricane.md"
SCENARIOS: dict[str, Callable[[Side], Observations]] = {
    "probes": http.probes,
    "requests": http.requests,
    "webhooks": lives.webhooks,
    "failing starts": lives.failing_starts,
    "names": lives.names,
    "refused projects": lives.refused_projects,
    "ports in use": lives.ports_in_use,
    "signals": lives.signals,
    "recycling": lives.recycling,
    "migrations": lives.migrations,
}
AT_ONCE = 4
"""Servers that run at the same time: they wait more than they compute."""

Found = dict[str, dict[str, tuple[str, str]]]
"""By the scenario, where the two servers differ and what each does."""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    programs = environment()
    directory = tmp_path_factory.mktemp("from-hurricane")
    with ThreadPoolExecutor(AT_ONCE) as executor:
        running = {
            name: [executor.submit(scenario, side) for side in sides(programs, directory / name)]
            for name, scenario in SCENARIOS.items()
        }
        return {name: differences(*(future.result() for future in futures)) for name, futures in running.items()}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_difference_is_listed(found: Found, scenario: str) -> None:
    """Where the two differ, the document says what each does."""
    rows = listed(DOCUMENT)
    unlisted = {
        where: values for where, values in found[scenario].items() if not any(row.tells(where, *values) for row in rows)
    }
    assert unlisted == {}


def test_every_listed_difference_is_there(found: Found) -> None:
    """A row, and each place that it names, is of a difference that was seen."""
    seen = [(where, *values) for scenario in found.values() for where, values in scenario.items()]
    outdated = [
        f"{row.name}: {pattern}"
        for row in listed(DOCUMENT)
        for pattern in row.where
        if not any(replace(row, where=(pattern,)).tells(*each) for each in seen)
    ]
    assert outdated == []


def test_rows_are_numbered() -> None:
    """In the order of the document, so that a row can be referred to."""
    assert [row.name for row in listed(DOCUMENT)] == [f"D{number + 1}" for number in range(len(listed(DOCUMENT)))]
