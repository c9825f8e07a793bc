"""The checks of the project, by probe: Django's by their tags, its databases, and the ready-made ones it has chosen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, gatherResults

from twistserve.logs import get_logger
from twistserve.probes.checks import PASSED, Check, CheckThread, Result, Status
from twistserve.probes.databases import databases, own_connections, ping
from twistserve.project.startup import Step

logger = get_logger(__name__)


class DjangoChecks:
    """The checks of the project, for a process in which Django is set up; `chosen` holds the values of --check."""

    def __init__(self, chosen: Sequence[str], seconds: float, reactor: Any) -> None:
        self._chosen = chosen
        self._seconds = seconds
        self._reactor = reactor
        self._checks: dict[str, Check] = {}
        self._names: dict[Any, str] = {}
        """Of the functions that are registered with Django."""
        self._ready_made: dict[str, Callable[[], Result]] = {}

    def steps(self) -> list[Step]:
        """What is to be done before the checks are asked, once the application is loaded."""
        return [("preparing the checks of --check", self._prepare)] if self._chosen else []

    def tell(self) -> None:
        """Log which checks readiness asks for their tag `hurricane` alone, once Django is set up. Any thread."""
        names = [_name_of(function) for function in _registered("hurricane") if "readiness" not in _tags(function)]
        if names:
            logger.warning(
                "checks tagged hurricane are asked by the readiness probe, where Django-Hurricane has asked them for no"
                " probe since 1.2: %s; tag them readiness, or with another name if no probe is to ask them",
                ", ".join(sorted(names)),
            )

    def ask(self, probe: str) -> Deferred[dict[str, Result]]:
        """The results of the readiness or the liveness probe's checks, which run side by side. Reactor thread."""
        checks = self._of(probe)
        return gatherResults([check.run() for check in checks.values()]).addCallback(
            lambda results: dict(zip(checks, results, strict=True))
        )

    def _of(self, probe: str) -> dict[str, Check]:
        if probe == "liveness":
            return self._tagged("liveness")
        pings = {f"database:{alias}": partial(_ping, alias) for alias in databases()}
        return {**self._kept(pings), **self._tagged("readiness", "hurricane"), **self._kept(self._ready_made)}

    def _tagged(self, *tags: str) -> dict[str, Check]:
        found: dict[str, Callable[[], Result]] = {}
        for function in _registered(*tags):
            found[self._named(function)] = partial(_run_django_check, function)
        return self._kept(dict(sorted(found.items())))

    def _named(self, function: Any) -> str:
        """A name of its own for each function, whatever its tags: some are made by the same code, and called alike."""
        name = self._names.get(function)
        if name is None:
            name = _name_of(function)
            while name in self._names.values():
                name += "'"
            self._names[function] = name
        return name

    def _kept(self, functions: Mapping[str, Callable[[], Result]]) -> dict[str, Check]:
        """The checks of these names, which know whether they still run; made when they are asked first."""
        for name, function in functions.items():
            if name not in self._checks:
                thread = CheckThread(f"check {name}")
                self._checks[name] = Check(name, function, self._seconds, self._reactor, _debug, thread)
        return {name: self._checks[name] for name in functions}

    def _prepare(self) -> None:
        from twistserve.probes.builtin_checks import ready_made

        self._ready_made = ready_made(self._chosen, self._seconds)


def _registered(*tags: str) -> Iterator[Any]:
    """The functions that are registered with Django under any of these tags."""
    from django.core.checks.registry import registry

    for function in registry.get_checks(include_deployment_checks=True):
        if not _tags(function).isdisjoint(tags):
            yield function


def _tags(function: Any) -> set[str]:
    return set(getattr(function, "tags", ()))


def _debug() -> bool:
    from django.conf import settings

    return bool(settings.DEBUG)


def _name_of(function: Any) -> str:
    function = getattr(function, "func", function)
    kind = type(function)
    module = getattr(function, "__module__", kind.__module__)
    return f"{module}.{getattr(function, '__qualname__', kind.__qualname__)}"


def _ping(alias: str) -> Result:
    ping(alias)
    return PASSED


def _run_django_check(function: Any) -> Result:
    from django.core.checks import CheckMessage
    from django.db import connections

    with own_connections():
        returned = function(app_configs=None, databases=list(connections))
        if not isinstance(returned, Iterable) or isinstance(returned, (str, bytes)):
            return Result(Status.FAIL, output=f"returned {type(returned).__name__} instead of a list of messages")
        # Some make their messages while they are looked through.
        messages = list(returned)
    stranger = next((each for each in messages if not isinstance(each, CheckMessage)), None)
    if stranger is not None:
        return Result(Status.FAIL, output=f"returned {type(stranger).__name__} among its messages")
    return _judge([message for message in messages if not message.is_silenced()])


def _judge(messages: Sequence[Any]) -> Result:
    """The result that Django's messages come to."""
    from django.core.checks import ERROR, WARNING

    for level, status in ((ERROR, Status.FAIL), (WARNING, Status.WARN)):
        serious = [message for message in messages if message.is_serious(level)]
        if serious:
            texts = [f"({message.id}) {message.msg}" if message.id else str(message.msg) for message in serious]
            # Hints are for developers, and may name files.
            hints = [f" (hint: {message.hint})" if message.hint else "" for message in serious]
            return Result(
                status, output="; ".join(texts), detail="; ".join(map("".join, zip(texts, hints, strict=True)))
            )
    return PASSED
