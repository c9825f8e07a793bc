"""What is composed, with fakes for what would touch the machine: ports, the log, and what serves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, ClassVar

from twisted.application.service import Service

from tests.support import lifecycle
from twistserve.options import Configuration
from twistserve.resolution import resolve


def configuration(**given: Any) -> Configuration:
    """The configuration of a project without settings of ours, for these words of the command line."""
    return resolve(given, {}, lambda *_: {})


class Reactor(lifecycle.Reactor):
    """Keeps what it is to do at its end and what other threads ask of it, for the test to look at."""

    def __init__(self) -> None:
        super().__init__()
        self.triggers: list[tuple[str, str, Any]] = []
        self.from_threads: list[Callable[[], object]] = []

    def addSystemEventTrigger(self, phase: str, event: str, function: Any, *arguments: Any) -> None:
        self.triggers.append((phase, event, function))

    def callFromThread(self, function: Any, *arguments: Any) -> None:
        self.from_threads.append(lambda: function(*arguments))


class Log(Service):
    """In place of the log's service."""

    name = "log"
    lines = None

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        self.lock = -1

    def share_output(self) -> int:
        return -1

    def use_lock(self, descriptor: int) -> None:
        self.lock = descriptor

    def take_streams(self) -> None:
        pass


class Port:
    """In place of a TCP port: notes where it is and whether it is reserved."""

    def __init__(
        self, reactor: Any, host: str | None, port: int, option: str, backlog: int = 0, *, host_option: str = "--host"
    ) -> None:
        self.where = host, port
        self.options = option, host_option
        self.bound = False
        self.descriptors: list[int] = []
        self.names: list[Any] = []
        self.sockets = [SimpleNamespace(getsockname=lambda: self.where)]

    def bind(self) -> None:
        self.bound = True

    def take(self, descriptors: Sequence[int]) -> None:
        self.descriptors = list(descriptors)


class Serving:
    """In place of what serves; its only step is Django's set-up."""

    def __init__(
        self,
        configuration: Configuration,
        listeners: Sequence[Any],
        lifecycle: Any,
        log: Any,
        reactor: Any,
        tells: bool = True,
    ) -> None:
        self.configuration, self.listeners, self.tells = configuration, listeners, tells
        self.observers = [named("observer")]
        self.pool, self.web = named("pool"), Web()
        self.site = SimpleNamespace(responses=0)
        self.between: list[str] = []
        self.stacks: list[str] = []
        self.probes: list[tuple[Any, Any]] = []

    def steps(
        self, between: Sequence[Any], set_up: Callable[[], None], prepared: Callable[[], None] = lambda: None
    ) -> list[Any]:
        self.between = [name for name, _ in between]
        self.prepared = prepared
        return [("setting Django up", set_up)]

    def put_probes_first(self, probes: Any, early: Any) -> None:
        self.probes.append((probes, early))

    def flush_metrics(self) -> None:
        pass

    def renew_static(self, replace: Callable[[], None], storage: Any) -> None:
        pass

    def log_stacks(self, signal_name: str) -> None:
        self.stacks.append(signal_name)


class Web(Service):
    """In place of the web port's service."""

    name = "web"

    def open(self) -> None:
        pass


def named(name: str) -> Service:
    service = Service()
    service.name = name
    return service


class Composed:
    """In place of `service_tree`: what the tree was to have."""

    def __init__(
        self,
        services: Sequence[Service],
        lifecycle: Any,
        ending: Any,
        names: Callable[[], Sequence[Any]],
        reactor: Any,
        actions: dict[int, Callable[[str], None]],
        **options: Any,
    ) -> None:
        self.services, self.names, self.actions, self.options = services, names, actions, options
        self.started = 0

    @property
    def order(self) -> list[str | None]:
        """The services' names in the order in which they start."""
        return [service.name for service in self.services]

    def startService(self) -> None:
        self.started += 1

    def stopService(self) -> None:
        pass


class Parent:
    """In place of the connection to the parent: notes what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def follow(self, lifecycle: Any) -> None:
        lifecycle.on_failure = self.told.append

    def run_once(self, names: Sequence[str]) -> None:
        self.told.append(("once", names))

    def prepared(self) -> None:
        self.told.append("prepared")

    def ask_for_replacement(self, cause: str, reason: str) -> None:
        self.told.append((cause, reason))


class End:
    """In place of the process's end, which would be watched over."""

    made: ClassVar[list[End]] = []

    def __init__(self, **options: Any) -> None:
        self.replaced: dict[int, Any] = {}
        self.made.append(self)

    def grant(self, seconds: float) -> None:
        pass

    def follow(self, lifecycle: Any, reactor: Any) -> None:
        pass
