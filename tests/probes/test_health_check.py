"""The checks of django-health-check: which are found, how they are called, and what they come to."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError
from typing import Any

import pytest
from django.conf import LazySettings

from tests.support.django_settings import unconfigured
from twistserve.errors import StartError
from twistserve.probes import health_check
from twistserve.probes.builtin_checks import ready_made
from twistserve.probes.checks import Status
from twistserve.probes.health_check import health_checks

DEADLINE = 5.0


@pytest.mark.parametrize("version", ["", "3.24.0"])
def test_without_django_health_check(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is missing, or too old, the start ends with what to install."""

    def found(name: str) -> str:
        if not version:
            raise PackageNotFoundError(name)
        return version

    monkeypatch.setattr(health_check, "version", found)
    with pytest.raises(StartError, match="pip install 'django-health-check>=4'") as raised:
        ready_made(["health-check"], DEADLINE)
    assert (version or "is not installed") in str(raised.value)


class Shelves:
    """A check of a project's own, as it is named by --check."""

    alias: Any = None
    error: Exception | None = None

    def run(self) -> None:
        if self.error is not None:
            raise self.error


class Slow:
    """A check that waits."""

    async def run(self) -> None:
        import asyncio

        await asyncio.Event().wait()


def several() -> list[Any]:
    """Makes two checks, of which one has a name."""
    named = Shelves()
    named.alias = "books"
    return [Shelves(), named]


def nothing_to_run() -> object:
    return object()


def broken() -> object:
    raise LookupError("a bug")


HERE = __name__


@pytest.fixture(autouse=True)
def settings() -> Iterator[LazySettings]:
    """Django without databases."""
    with unconfigured() as settings:
        settings.configure(DATABASES={})
        yield settings


@pytest.mark.parametrize(
    ("dotted", "names"),
    [
        ("Shelves", ["health-check:Shelves"]),
        ("several", ["health-check:Shelves", "health-check:Shelves:books"]),
    ],
)
def test_names_of_checks(dotted: str, names: list[str]) -> None:
    """By their classes, and the alias where there is one."""
    assert [name for name, _ in health_checks(f"{HERE}.{dotted}", DEADLINE)] == names


@pytest.mark.parametrize(
    ("dotted", "said"),
    [
        ("broken", "cannot be made: LookupError: a bug"),
        ("missing", "cannot be made: ImportError"),
        ("nothing_to_run", "which is no check of django-health-check"),
    ],
)
def test_checks_that_cannot_be_made(dotted: str, said: str) -> None:
    """The start fails, and the error names what --check has named."""
    with pytest.raises(StartError, match=f"--check: .*health-check={HERE}.{dotted}.*{said}"):
        list(health_checks(f"{HERE}.{dotted}", DEADLINE))


def result_of(monkeypatch: pytest.MonkeyPatch, error: Exception | None) -> Any:
    monkeypatch.setattr(Shelves, "error", error)
    [(_, run)] = health_checks(f"{HERE}.Shelves", DEADLINE)
    return run()


def test_what_a_check_comes_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """A warning warns, a failure fails; what they say may name hosts and is a detail."""
    from health_check.exceptions import ServiceUnavailable, ServiceWarning

    assert result_of(monkeypatch, None).status is Status.PASS
    warned = result_of(monkeypatch, ServiceWarning("host db is slow"))
    failed = result_of(monkeypatch, ServiceUnavailable("host db is gone"))
    assert (warned.status, failed.status) == (Status.WARN, Status.FAIL)
    for result in (warned, failed):
        assert "host db" not in str(result.output)
        assert "host db" in str(result.detail)
    with pytest.raises(LookupError):
        result_of(monkeypatch, LookupError("a bug"))


def test_a_check_that_waits_is_given_up() -> None:
    """At its deadline, which its thread would wait beyond."""
    [(_, run)] = health_checks(f"{HERE}.Slow", 0.01)
    with pytest.raises(TimeoutError):
        run()
