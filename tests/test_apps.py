"""The application's configuration."""

from __future__ import annotations

import pytest

import twistserve
from twistserve.apps import TwistserveConfig


def test_the_label_is_that_of_the_package() -> None:
    """Projects name it in INSTALLED_APPS; it says which keys models would have, so that Django need not ask."""
    config = TwistserveConfig("twistserve", twistserve)
    assert (config.name, config.label) == ("twistserve", "twistserve")
    assert config.default_auto_field == "django.db.models.BigAutoField"


def test_it_registers_the_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """As soon as Django is set up."""
    calls: list[str] = []
    monkeypatch.setattr("twistserve.checks.registration.register_checks", lambda: calls.append("registered"))
    TwistserveConfig("twistserve", twistserve).ready()
    assert calls == ["registered"]
