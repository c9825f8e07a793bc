"""The process that consumes: its tree, its steps, and what its probes know."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from tests.support.amqp import configuration
from tests.support.composition import Composed, Log, Reactor, named
from twistserve.amqp import Handler
from twistserve.composition import consumer as module
from twistserve.errors import StartError
from twistserve.lifecycle import Lifecycle
from twistserve.load import Load
from twistserve.probes.checks import Status


class Orders(Handler):
    queue = "orders"

    def handle(self, message: Any) -> None: ...


class Process:
    """The process for some options, and what it was made of."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **given: Any) -> None:
        self.reactor = Reactor()
        self.lifecycle = Lifecycle(self.reactor)
        monkeypatch.setattr(module, "service_tree", Composed)
        monkeypatch.setattr(module, "outside_services", self.make_outside)
        monkeypatch.setattr(module, "StartupService", self.make_startup)
        monkeypatch.setattr(module, "blockingCallFromThread", lambda reactor, function, *a: self.calls.append(a))
        self.calls: list[Any] = []
        ending: Any = None
        log: Any = Log()
        tree: Any = module.consumer_process(configuration(**given), self.lifecycle, ending, log, self.reactor)
        self.tree: Composed = tree

    def make_outside(self, configuration: Any, results: Any, metrics: Any, report: Any, *rest: Any) -> Any:
        self.results, self.report = results, report
        return [named("probes")]

    def make_startup(self, steps: Any, *arguments: Any) -> Any:
        self.steps = steps
        return named("start-up")

    @property
    def step_names(self) -> list[str]:
        return [name for name, _ in self.steps]


def test_its_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    """No web port and no request threads; the consumer stops before the services, and those before the probes."""
    found = Process(monkeypatch)
    assert found.tree.order == [*("log", "reactor lag", "probes", "services", "consumers", "start-up", "recycling")]
    assert found.tree.names() == []
    assert set(found.tree.actions) == {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP}
    assert "reactor lag" not in Process(monkeypatch, no_metrics=True).tree.order


def test_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a process that serves, with the consumer in the place of the application."""
    found = Process(monkeypatch, command=["check"], check_migrations=True, service=["shop.restock"], debugger=True)
    assert found.step_names == [
        *("listening for a debugger", "setting Django up", "running the command 'check'", "waiting for migrations"),
        *("starting the services", "starting the consumer"),
    ]


def test_the_handler_is_loaded_and_the_consumer_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its routing keys are asked for in the thread of the start-up."""
    found = Process(monkeypatch, handler=f"{__name__}.Orders")
    found.steps[-1][1]()
    [(dotted, handler, plan, host)] = found.calls
    assert (dotted, type(handler), plan.queue) == (f"{__name__}.Orders", Orders, "orders")
    assert host is found.tree.services[found.tree.order.index("consumers")]
    with pytest.raises(StartError, match="there is no handler: give its dotted name"):
        Process(monkeypatch).steps[-1][1]()


def test_what_its_probes_know(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing at work before the consumer is made."""
    found = Process(monkeypatch)
    results: list[Any] = []
    found.results.liveness().addCallback(results.append)
    assert results[0]["threads"].status is Status.PASS
    described: list[Any] = []
    found.report.gather().addCallback(described.append)
    assert (described[0]["serves"], described[0]["workers"], described[0]["services"]) == (False, [], [])


def test_before_the_consumer_is_made(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """SIGQUIT logs the stacks all the same, and SIGHUP does nothing."""
    found = Process(monkeypatch)
    found.tree.actions[signal.SIGHUP]("SIGHUP")
    assert "a consumer has none" in caplog.text
    found.tree.actions[signal.SIGQUIT]("SIGQUIT")
    assert "SIGQUIT" in caplog.text
    consuming = module.Consuming(configuration(), found.lifecycle, found.reactor)
    assert (consuming.snapshot(), consuming.handled) == (Load(), 0)
