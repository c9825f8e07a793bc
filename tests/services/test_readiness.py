"""The services' readiness beside the project's checks."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed

from twistserve.probes.checks import PASSED
from twistserve.services.readiness import WithServices


class Checks:
    """Checks that pass, and note which probe asks."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def ask(self, probe: str) -> Deferred[Any]:
        self.asked.append(probe)
        return succeed({"database": PASSED})


def test_readiness_has_both_and_liveness_the_checks_alone() -> None:
    """A restart would not mend what a service waits for."""
    checks, results = Checks(), list[Any]()
    both = WithServices(checks, lambda: succeed({"service:feed": PASSED}))
    both.ask("readiness").addCallback(results.append)
    both.ask("liveness").addCallback(results.append)
    assert results == [{"database": PASSED, "service:feed": PASSED}, {"database": PASSED}]
    assert checks.asked == ["readiness", "liveness"]
