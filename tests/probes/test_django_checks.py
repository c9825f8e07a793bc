"""Which checks a probe has; Django's registry holds those that a test registers."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.checks import Error
from django.core.checks.registry import CheckRegistry
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from twistserve.probes import django_checks as project
from twistserve.probes.checks import PASSED, Result, Status
from twistserve.probes.django_checks import DjangoChecks
from twistserve.probes.responses import Results


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> CheckRegistry:
    """An empty registry, and no databases; a check is run where it is asked."""
    registry = CheckRegistry()
    monkeypatch.setattr("django.core.checks.registry.registry", registry)
    monkeypatch.setattr(project, "databases", list)
    monkeypatch.setattr(project, "CheckThread", lambda name: lambda function: function())
    monkeypatch.setattr(project, "_run_django_check", lambda check: Result(Status.FAIL) if check() else PASSED)
    monkeypatch.setattr(project, "_debug", lambda: False)
    return registry


class Reactor(Clock):
    """A Clock whose other threads come in the next turn."""

    def callFromThread(self, function: Any, *args: Any) -> None:
        self.callLater(0, function, *args)


def found(checks: DjangoChecks, probe: str, clock: Clock) -> list[Status]:
    results: list[Results] = []
    asked: Deferred[Results] = checks.ask(probe)
    asked.addCallback(results.append)
    clock.advance(0)
    return [result.status for result in results[0].values()]


def check_that_says(messages: list[Error]) -> Any:
    """Checks that are made here are all called alike."""

    def check(**keywords: object) -> list[Error]:
        return messages

    return check


def weather(**keywords: object) -> list[Error]:
    return []


def test_the_tag_of_django_hurricane_is_told(registry: CheckRegistry, caplog: pytest.LogCaptureFixture) -> None:
    """In one line; not of those that are asked by their other tag, and not if there are none."""
    DjangoChecks((), 5.0, Reactor()).tell()
    registry.register(check_that_says([]), "readiness")
    registry.register(check_that_says([]), "hurricane", "readiness")
    DjangoChecks((), 5.0, Reactor()).tell()
    assert caplog.messages == []
    registry.register(weather, "hurricane", deploy=True)
    registry.register(check_that_says([]), "hurricane", "liveness")
    DjangoChecks((), 5.0, Reactor()).tell()
    [message] = caplog.messages
    names = f"{__name__}.check_that_says.<locals>.check, {__name__}.weather"
    assert message.startswith("checks tagged hurricane are asked by the readiness probe, where Django-Hurricane")
    assert f": {names}; tag them readiness" in message


def test_each_function_is_a_check_of_its_own(registry: CheckRegistry) -> None:
    """Those that are called alike too: liveness and readiness have theirs, whichever is asked first."""
    registry.register(check_that_says([]), "liveness")
    registry.register(check_that_says([Error("broken")]), "readiness")
    registry.register(check_that_says([]), "readiness")
    clock = Reactor()
    checks = DjangoChecks((), 5.0, clock)
    assert found(checks, "liveness", clock) == [Status.PASS]
    assert sorted(status.value for status in found(checks, "readiness", clock)) == ["fail", "pass"]
    assert found(checks, "liveness", clock) == [Status.PASS]
