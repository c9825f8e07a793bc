"""The parent of workers: what they share, and what signals and scrapes have it ask of them."""

from __future__ import annotations

import signal
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.application.service import Service
from twisted.internet.defer import succeed

from tests.support.composition import Composed, Log, Port, Reactor, configuration, named
from twistserve.composition import parent as module
from twistserve.composition import parts
from twistserve.errors import StartError
from twistserve.lifecycle import Lifecycle, State
from twistserve.process.ending import END, WORKER_END, Ending
from twistserve.workers.protocol import FlushMetrics


class Workers(Service):
    """In place of the workers: notes what is asked of them."""

    name = "workers"

    def __init__(self, configuration: Any, sockets: Any, *arguments: Any) -> None:
        self.sockets, self.preloaded = sockets, arguments[-1]
        self.told: list[Any] = []
        self.metrics_directory = ""
        self.supervisor = SimpleNamespace(
            resize=lambda step: self.told.append(("resize", step)),
            ask_all=self.ask_all,
        )

    def ask_all(self, command: Any, seconds: float) -> Any:
        self.told.append((command, seconds))
        return succeed([])

    def check_ready(self) -> None:
        self.told.append("check ready")

    def reload(self) -> None:
        self.told.append("reload")

    def kill(self) -> None:
        self.told.append("kill")

    def log_stacks(self) -> None:
        self.told.append("stacks")


class Parent:
    """The tree for some options, and what it was made of."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, stays: bool = True, **given: Any) -> None:
        self.reactor = Reactor()
        self.lifecycle = Lifecycle(self.reactor)
        self.ending = Ending()
        self.ports: list[Port] = []
        monkeypatch.setattr(parts, "Port", self.make_port)
        monkeypatch.setattr(module, "WorkerService", self.make_workers)
        monkeypatch.setattr(module, "Metrics", self.make_metrics)
        monkeypatch.setattr(module, "outside_services", self.make_outside)
        monkeypatch.setattr(module, "service_tree", Composed)
        log: Any = Log()
        options = configuration(workers="2", **given)
        tree: Any = module.parent(options, self.lifecycle, self.ending, log, self.reactor, stays)
        self.tree: Composed = tree

    def make_port(self, *arguments: Any, **keywords: Any) -> Port:
        self.ports.append(Port(*arguments, **keywords))
        return self.ports[-1]

    def make_workers(self, *arguments: Any) -> Workers:
        self.workers = Workers(*arguments)
        return self.workers

    def make_metrics(self, flush: Any, *arguments: Any) -> None:
        self.flush = flush

    def make_outside(self, *arguments: Any) -> Any:
        yield named("probes")


@pytest.fixture
def parent(monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda **given: Parent(monkeypatch, **given)


def test_probes_are_answered_before_the_workers_start_and_after_they_have_ended(parent: Any) -> None:
    """The log is the first that starts and the last that stops."""
    assert parent().tree.order == ["log", "probes", "workers"]


def test_with_debug_its_reactor_is_watched(parent: Any) -> None:
    """The workers watch their own."""
    assert parent(debug=True).tree.order == ["log", "slow callbacks", "probes", "workers"]


def test_the_workers_share_what_the_parent_has_bound(parent: Any) -> None:
    """A conflict is told by the parent, before there is a worker; children that are forked have none of it."""
    found = parent(host="127.0.0.1", port="8123")
    [port] = found.ports
    assert port.bound
    assert found.workers.sockets == port.sockets
    assert found.tree.names() == [("127.0.0.1", 8123)]


def test_endpoints_are_bound_in_place_of_the_port(parent: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them, and nothing on --port."""
    asked: list[Any] = []
    bound = [SimpleNamespace(getsockname=lambda: "/run/shop")]

    def bind_endpoints(reactor: Any, descriptions: Any) -> Any:
        asked.append(descriptions)
        return bound

    monkeypatch.setattr(parts, "bind_endpoints", bind_endpoints)
    found = parent(endpoint=["tcp:8123", "unix:/run/shop"])
    assert found.ports == []
    assert asked == [("tcp:8123", "unix:/run/shop")]
    assert (found.workers.sockets, found.tree.names()) == (bound, ["/run/shop"])


def test_settings_that_cannot_work_are_told_before_anything_is_bound(
    parent: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of the workers would tell it again."""

    def refuse(configuration: Any) -> None:
        raise StartError("the setting STATIC_URL is empty")

    bound: list[bool] = []
    monkeypatch.setattr(module, "file_indexes", refuse)
    monkeypatch.setattr(Port, "bind", lambda port: bound.append(True))
    with pytest.raises(StartError, match="STATIC_URL"):
        parent()
    assert bound == []


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (signal.SIGHUP, "reload"),
        (signal.SIGTTIN, ("resize", 1)),
        (signal.SIGTTOU, ("resize", -1)),
        (signal.SIGQUIT, "stacks"),
    ],
)
def test_signals_for_the_workers(parent: Any, number: signal.Signals, told: Any) -> None:
    """They replace the workers, change their number, or show where each stands; the parent goes on."""
    found = parent()
    found.tree.actions[number](number.name)
    assert found.workers.told == [told]
    assert found.lifecycle.state is State.STARTING


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_signals_that_end_it(parent: Any, number: signal.Signals) -> None:
    """It drains, and the reactor stops, with which the workers' service does."""
    found = parent()
    found.tree.actions[number](number.name)
    assert found.lifecycle.state is State.DRAINING
    assert found.reactor.stops == 1


def test_no_worker_outlives_it(parent: Any) -> None:
    """They are killed when its time is up; after a failed start, the worker has had its part of that time."""
    found = parent()
    found.ending.at_cut()
    assert found.workers.told == ["kill"]
    assert found.ending.after_failure == END - WORKER_END


def test_a_scrape_has_the_workers_bring_their_metrics_up_to_date(parent: Any) -> None:
    """And does not wait for one that hangs."""
    found = parent()
    found.flush()
    assert found.workers.told == [(FlushMetrics, module.FLUSH_TIMEOUT)]


@pytest.mark.parametrize(("preload", "stays", "forked"), [(True, True, 1), (True, False, 0), (False, True, 0)])
def test_the_process_with_the_application_is_forked_early(
    parent: Any, monkeypatch: pytest.MonkeyPatch, preload: bool, stays: bool, forked: int
) -> None:
    """Before there is a port that it could keep open; not from a process that is to become another one."""
    made: list[Any] = []

    def fork_from(*arguments: Any) -> str:
        made.append(arguments)
        return "a process"

    monkeypatch.setattr("twistserve.composition.preloaded.fork_from", fork_from)
    found = parent(preload=preload, stays=stays)
    assert len(made) == forked
    assert found.workers.preloaded == ("a process" if forked else None)


def test_no_process_to_have_the_application(parent: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The start fails, with the option's name, before anything is bound."""

    def fork_from(*arguments: Any) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("twistserve.composition.preloaded.fork_from", fork_from)
    with pytest.raises(StartError, match="--preload: its process cannot be forked: Resource temporarily unavailable"):
        parent(preload=True)
