"""A handler written for Django-Hurricane's consumer fares as there, but for what docs/from-hurricane.md lists.

The observations are those of Django-Hurricane's own tests that start its command, and more.
"""

from __future__ import annotations

import pytest

from tests.support.functional.harness import ROOT
from tests.support.functional.hurricane import environment, sides
from tests.support.functional.hurricane_consumers import observed
from tests.support.functional.observations import Observations, differences, listed
from tests.support.functional.rabbitmq import temporary_broker

DOCUMENT = ROOT / "docs" / "from-hurricane.md"


@pytest.fixture(scope="module")
def observations(tmp_path_factory: pytest.TempPathFactory) -> list[Observations]:
    """Of Django-Hurricane, and of ours."""
    programs = environment()
    with temporary_broker() as broker:
        # One after the other: all connections of the broker are closed.
        return [observed(side, broker) for side in sides(programs, tmp_path_factory.mktemp("consumers") / "sides")]


def test_every_difference_is_listed_and_there(observations: list[Observations]) -> None:
    """And nothing else differs."""
    rows = listed(DOCUMENT, "A")
    assert [row.name for row in rows] == [f"A{number + 1}" for number in range(len(rows))]
    told = {pattern: (row.hurricane, row.twistserve) for row in rows for pattern in row.where}
    assert told == differences(*observations)


def test_what_is_the_same(observations: list[Observations]) -> None:
    """Messages are routed by the keys that the handler binds, and acknowledged; the process ends as there."""
    [theirs, ours] = observations
    assert theirs.keys() == ours.keys()
    assert ours["consume, another routing key"] == "not routed"
    assert ours["consume, a message in hand at SIGTERM"] == "acknowledged"
    assert ours["consume, SIGTERM: status"] == "0"
