"""CPU, memory and room for files follow from the options."""

from __future__ import annotations

import pytest

from tests.support.options import error, resolved
from twistserve.errors import StartError
from twistserve.kubernetes.chosen import Chosen
from twistserve.kubernetes.resources import MIB, busy, memory, resources, temporary_files
from twistserve.kubernetes.yaml import Remark


@pytest.mark.parametrize(
    ("words", "size"),
    [
        ((), 256),
        (("--workers", "2"), 512),
        (("--workers", "4"), 896),
        (("--max-memory", "100"), 256),
        (("--max-memory", "400"), 512),
        (("--workers", "2", "--max-memory", "400"), 1536),
    ],
)
def test_memory(words: tuple[str, ...], size: int) -> None:
    """Each process has some, and a quarter more than --max-memory, which is to come before the kernel."""
    assert memory(resolved(*words), Chosen()) == size * MIB


def test_memory_that_is_set() -> None:
    """It is both requested and the limit; with --max-memory below it."""
    chosen = Chosen(memory=300 * MIB)
    assert memory(resolved("--workers", "4"), chosen) == 300 * MIB
    assert memory(resolved("--max-memory", "299"), chosen) == 300 * MIB
    with pytest.raises(StartError, match="--max-memory: 300 MB from the command line are not less than the 300 MB"):
        memory(resolved("--max-memory", "300"), chosen)
    with pytest.raises(StartError, match="times 2 workers"):
        memory(resolved("--max-memory", "150", "--workers", "2"), chosen)
    assert "--max-memory" in error("--max-memory", "x")


def test_what_is_not_set_is_marked() -> None:
    """The measured defaults are to be replaced; a CPU has no limit."""
    found = resources(resolved("--workers", "3"), Chosen())
    assert isinstance(found["requests"], Remark)
    assert found["requests"].value == {"cpu": "1500m", "memory": "704Mi"}
    assert found["limits"] == {"memory": "704Mi"}
    set_by_hand = resources(resolved(), Chosen(cpu=2000, memory=10**9))
    assert set_by_hand == {"requests": {"cpu": 2, "memory": "1000000000"}, "limits": {"memory": "1000000000"}}


@pytest.mark.parametrize(
    ("workers", "cpu", "target"), [("1", None, 70), ("1", 1000, 70), ("1", 2000, 35), ("4", 2000, 70), ("1", 999000, 1)]
)
def test_the_load_at_which_pods_are_added_can_be_reached(workers: str, cpu: int | None, target: int) -> None:
    """A process computes on one CPU: 70 % of two are never used."""
    assert busy(resolved("--workers", workers), Chosen(cpu=cpu)) == target


@pytest.mark.parametrize(
    ("words", "size"),
    [
        ((), 1616),
        (("--max-body-size", "1K"), 17),
        (("--max-body-size", "10M", "--threads", "2"), 56),
        (("--max-body-size", "10M", "--threads", "2", "--workers", "3"), 139),
    ],
)
def test_temporary_files(words: tuple[str, ...], size: int) -> None:
    """Two bodies for each thread, and the metrics of workers."""
    assert temporary_files(resolved(*words)) == size
