"""The seeds of the fuzzer, and what it has found before, go through its targets; `make fuzz` goes on from there."""

from __future__ import annotations

import random

import pytest

from tests.fuzz.pieces import arrivals
from tests.fuzz.targets import FOUND, TARGETS

MUTATIONS = 100
"""Of the seeds of each target."""


@pytest.mark.parametrize("name", TARGETS)
def test_seeds(name: str) -> None:
    """Each is well formed or refused, however it arrives."""
    target = TARGETS[name]
    for data in target.seeds.values():
        target.fuzz(data)


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_with_changes(name: str) -> None:
    """So is what a byte in another place makes of them: the targets stand what is wrong."""
    target, chosen = TARGETS[name], random.Random(name)
    for data in chosen.choices(list(target.seeds.values()), k=MUTATIONS):
        changed = bytearray(data or b"x")
        changed[chosen.randrange(len(changed))] = chosen.randrange(256)
        target.fuzz(bytes(changed))


@pytest.mark.parametrize("path", sorted(FOUND.glob("*/*")), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_was_found(path: object) -> None:
    """It was mended, and stays so."""
    TARGETS[path.parent.name].fuzz(path.read_bytes())  # type: ignore[attr-defined]


def test_everything_found_is_of_a_target() -> None:
    assert {path.name for path in FOUND.iterdir()} <= set(TARGETS)


def test_arrivals() -> None:
    """All of them have all the bytes, in order, and are the same each time."""
    data = bytes(range(50))
    found = list(arrivals(data))
    assert [b"".join(pieces) for pieces in found] == [data] * 3
    assert [len(found[0]), len(found[1])] == [1, 50]
    assert found == list(arrivals(data))
    assert [b"".join(pieces) for pieces in arrivals(b"")] == [b""] * 3
