"""From the words of --service to services: `load` imports what they name, `make` makes the service of it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from twisted.application.service import IService

from twistserve.errors import StartError, describe
from twistserve.options import Configuration
from twistserve.project.dotted import find
from twistserve.values import parsed_service

EACH_WORKER = "each_worker"
"""The attribute by which what --service names asks to run in each worker, instead of once."""


class Declared(NamedTuple):
    """A service as --service declares it."""

    name: str
    dotted: str

    def __str__(self) -> str:
        return f"the service {self.name} ({self.dotted})"


class Loaded(NamedTuple):
    """A service that is declared, and what its dotted name stands for."""

    declared: Declared
    target: Any

    @property
    def in_each_worker(self) -> bool:
        """Whether each worker runs it. Otherwise it runs once, in a process of its own."""
        return bool(getattr(self.target, EACH_WORKER, False))


def declared(configuration: Configuration) -> list[Declared]:
    """The services of --service, in their order."""
    return [Declared(*parsed_service(word)) for word in configuration.service]


def load(services: Sequence[Declared]) -> list[Loaded]:
    """Import what the services are made of. Blocks; main thread, once Django is set up. Raises `StartError`."""
    return [Loaded(each, import_dotted(str(each), each.dotted)) for each in services]


def import_dotted(what: str, dotted: str) -> Any:
    """Import what a dotted name stands for; `what` names it for people. Blocks. Raises `StartError`."""
    try:
        return find(dotted)
    except StartError as error:
        raise StartError(f"{what}: {error}") from error


def make(loaded: Loaded, offered: Mapping[str, object]) -> Any:
    """The service itself. A callable is called, with those of the `offered` that it takes by name.

    Reactor thread. Raises `StartError`.
    """
    service, target = loaded
    if not isinstance(target, type) and IService.providedBy(target):
        return target
    if not callable(target):
        raise StartError(
            f"{service} is of {type(target).__name__}: name a Twisted IService, or a class or function that makes one"
        )
    arguments = _arguments(service, target, offered)
    try:
        made = target(**arguments)
    except StartError as error:
        raise StartError(f"{service} cannot be made: {error}") from error
    except (Exception, SystemExit) as error:
        raise StartError(f"{service} cannot be made: {describe(error)}") from error
    if not IService.providedBy(made):
        raise StartError(
            f"{service} cannot be made: what was called has returned {type(made).__name__}, which is no Twisted"
            " IService"
        )
    return made


def _arguments(service: Declared, target: Any, offered: Mapping[str, object]) -> dict[str, object]:
    try:
        parameters = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):
        # Of C code.
        return {}
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    any_number = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    for each in parameters:
        if each.default is not inspect.Parameter.empty or each.kind in any_number:
            continue
        if each.name not in offered:
            raise StartError(
                f"{service} cannot be made: it takes {each.name!r}, and there is only {' and '.join(offered)} to give"
            )
        if each.kind not in by_name:
            raise StartError(f"{service} cannot be made: it takes {each.name!r} by position: have it take it by name")
    wanted = {each.name for each in parameters if each.kind in by_name}
    return {name: value for name, value in offered.items() if name in wanted}
