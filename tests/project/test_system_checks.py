"""Django's system checks before serving; its registry holds those that a test registers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.core import checks as django_checks
from django.core.checks import Error, Info
from django.core.checks.registry import CheckRegistry

from tests.support.django_settings import unconfigured
from twistserve.errors import StartError
from twistserve.project import system_checks
from twistserve.project.system_checks import run_system_checks


class Checks:
    """An empty registry, and what was done around the checks."""

    def __init__(self) -> None:
        self.registry = CheckRegistry()
        self.done: list[str] = []

    def add(self, *messages: Any, tags: tuple[str, ...] = (), deploy: bool = False) -> None:
        def check(**keywords: Any) -> list[Any]:
            assert keywords == {"app_configs": None, "databases": None}
            self.done.append("check")
            return list(messages)

        self.registry.register(check, *tags, deploy=deploy)


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> Iterator[Checks]:
    checks = Checks()
    monkeypatch.setattr("django.core.checks.registry.registry", checks.registry)
    monkeypatch.setattr("django.db.connections.close_all", lambda: checks.done.append("close connections"))
    monkeypatch.setattr(system_checks, "load_urlconf", lambda: checks.done.append("URLconf"))
    with unconfigured() as settings:
        settings.configure(SILENCED_SYSTEM_CHECKS=["shop.W009"], ALLOWED_HOSTS=["*"])
        yield checks


def test_a_project_without_issues(checks: Checks, caplog: pytest.LogCaptureFixture) -> None:
    """One line says so; the URLconf is imported before, and database connections are closed after the checks."""
    checks.add()
    with caplog.at_level("INFO"):
        run_system_checks()
    assert caplog.messages == ["System check identified no issues (0 silenced)."]
    assert checks.done == ["URLconf", "check", "close connections"]


def test_ours_are_among_them(checks: Checks, caplog: pytest.LogCaptureFixture) -> None:
    """No application has registered them; they judge by what is in force, and can be silenced."""
    settings.ALLOWED_HOSTS = []
    run_system_checks()
    [message] = caplog.messages
    assert message.startswith("system check: ?: (twistserve.W005) ALLOWED_HOSTS is empty")
    settings.SILENCED_SYSTEM_CHECKS = ["twistserve.W005"]
    run_system_checks()
    assert caplog.messages == [message]


def test_what_is_not_serious_is_logged(checks: Checks, caplog: pytest.LogCaptureFixture) -> None:
    """Each in a line of its level, the worst first, without secrets; what is silenced is only counted."""
    checks.add(
        Info("by the way", id="shop.I001"),
        django_checks.Warning("password=t0p\nis short", hint="choose", id="shop.W001"),
        django_checks.Warning("quiet", id="shop.W009"),
    )
    with caplog.at_level("INFO"):
        run_system_checks()
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "system check: ?: (shop.W001) password=… is short HINT: choose"),
        ("INFO", "system check: ?: (shop.I001) by the way"),
        ("INFO", "System check identified 2 issues (1 silenced)."),
    ]


def test_errors_end_the_start(checks: Checks, caplog: pytest.LogCaptureFixture) -> None:
    """All of them in one line; warnings are logged before."""
    checks.add(Error("broken --token t0p", id="shop.E001"), django_checks.Warning("odd", id="shop.W001"))
    checks.add(Error("worse", id="shop.E002"))
    with pytest.raises(StartError) as raised:
        run_system_checks()
    said = str(raised.value)
    assert said.startswith("SystemCheckError: System check identified some issues: ERRORS: ?: (shop.E001) broken")
    assert said.endswith("?: (shop.E002) worse System check identified 3 issues (0 silenced).")
    assert "t0p" not in said
    assert caplog.messages == ["system check: ?: (shop.W001) odd"]


@pytest.mark.parametrize("tag", ["readiness", "liveness", "hurricane"])
def test_checks_of_probes_end_no_start(checks: Checks, tag: str) -> None:
    """They are for the probes to run, for as long as what they look at is missing; neither do those for deployment."""
    checks.add(Error("no database"), tags=("database_of_shop", tag))
    checks.add(Error("DEBUG"), deploy=True)
    run_system_checks()
    assert "check" not in checks.done


def test_connections_are_closed_when_a_check_raises(checks: Checks) -> None:
    """What it raises ends the start as any other error of a step."""

    def broken(**keywords: object) -> list[Any]:
        raise LookupError("a bug")

    checks.registry.register(broken)
    with pytest.raises(LookupError):
        run_system_checks()
    assert checks.done[-1] == "close connections"
