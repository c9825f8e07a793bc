"""How Django gets to know our checks."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from django.core.checks.registry import CheckRegistry

from twistserve.checks import registration
from twistserve.checks.registration import TAG, register_checks
from twistserve.project.system_checks import OF_PROBES

ROOT = Path(__file__).resolve().parents[2]
CHECKS = ROOT / "twistserve" / "checks"


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> CheckRegistry:
    registry = CheckRegistry()
    monkeypatch.setattr("django.core.checks.registry.registry", registry)
    return registry


def test_each_is_there_once(registry: CheckRegistry) -> None:
    """Also where the application is installed and the server registers them again."""
    register_checks()
    before = registry.get_checks(include_deployment_checks=True)
    register_checks()
    assert registry.get_checks(include_deployment_checks=True) == before
    assert len(before) == len(registration._CHECKS) + len(registration._DEPLOYMENT_CHECKS)


def test_their_tags(registry: CheckRegistry) -> None:
    """Ours is on all; none has one that only migrate runs, or the probes."""
    register_checks()
    for check in registry.get_checks(include_deployment_checks=True):
        tags = set(getattr(check, "tags", ()))
        assert TAG in tags
        assert tags.isdisjoint({"database", *OF_PROBES})


def test_every_check_is_registered() -> None:
    """What is made a check in one of the modules is in the list."""
    made = sum(path.read_text().count("\n@check(") for path in CHECKS.glob("*.py"))
    assert made == len(registration._CHECKS) + len(registration._DEPLOYMENT_CHECKS)


def test_the_document_has_every_id() -> None:
    """With a row of the table for each, in order."""
    numbers = sorted(
        {
            int(number)
            for path in CHECKS.glob("*.py")
            for number in re.findall(r"(?:warning|refusal)\(\s*(\d+),", path.read_text())
        }
    )
    rows = re.findall(r"^\| `twistserve\.W(\d{3})` \|", (ROOT / "docs" / "checks.md").read_text(), re.MULTILINE)
    assert numbers == list(range(1, len(numbers) + 1))
    assert list(map(int, rows)) == numbers
    assert Counter(rows).most_common(1)[0][1] == 1
