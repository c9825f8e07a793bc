"""What is to run once before an instance serves, by the options."""

from __future__ import annotations

from typing import Any

import pytest

from twistserve.checks.in_force import in_force
from twistserve.project.preparing import is_asked_for, preparing_steps
from twistserve.resolution import resolve

CHECKS, COMMAND = "running the system checks", "running the command 'seed'"
WAITING, APPLYING = "waiting for migrations", "applying migrations"


@pytest.mark.parametrize(
    ("given", "steps"),
    [
        ({}, []),
        ({"system_checks": True}, [CHECKS]),
        ({"command": ["seed"]}, [COMMAND]),
        ({"check_migrations": True}, [WAITING]),
        ({"check_migrations": True, "command": ["seed"], "system_checks": True}, [CHECKS, COMMAND, WAITING]),
        ({"check_migrations_apply": True, "command": ["seed"]}, [APPLYING, COMMAND]),
        ({"check_migrations_apply": True, "check_migrations": True, "system_checks": True}, [CHECKS, APPLYING]),
    ],
)
def test_the_steps(given: dict[str, Any], steps: list[str]) -> None:
    """Commands run when the tables are there, and before others are waited for who may wait for the commands."""
    configuration = resolve(given, {}, lambda *_: {})
    progress: Any = None
    assert [name for name, _ in preparing_steps(configuration, progress)] == steps
    assert is_asked_for(configuration) is bool(steps)


@pytest.mark.parametrize(
    ("given", "module"),
    [({"system_checks": True}, "system_checks.run_system_checks"), ({"command": ["check"]}, "startup.run_command")],
)
def test_checks_judge_by_the_options(given: dict[str, Any], module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the server, in a command too."""
    told: list[object] = []
    monkeypatch.setattr(f"twistserve.project.{module}", lambda *arguments: told.append(in_force().configuration))
    configuration = resolve(given, {}, lambda *_: {})
    progress: Any = None
    [(_, step)] = preparing_steps(configuration, progress)
    step()
    assert told == [configuration]


@pytest.mark.parametrize("option", ["check_migrations", "check_migrations_apply"])
def test_migrations_can_say_how_they_get_on(option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are given the progress of the start-up."""
    told: list[object] = []
    for name in ("apply_migrations", "wait_for_migrations"):
        monkeypatch.setattr(f"twistserve.project.migrations.{name}", told.append)
    progress: Any = object()
    [(_, step)] = preparing_steps(resolve({option: True}, {}, lambda *_: {}), progress)
    step()
    assert told == [progress]
