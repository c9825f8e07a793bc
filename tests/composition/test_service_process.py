"""The process of a service: Django is set up, the one service started, and its parent told."""

from __future__ import annotations

import signal
from typing import Any

import pytest
import twisted.internet

from tests.support.composition import Composed, End, Log, Parent, Reactor, configuration, named
from twistserve.composition import child
from twistserve.composition import service_process as module
from twistserve.errors import StartError
from twistserve.lifecycle import State
from twistserve.workers.protocol import Descriptors


class Process:
    """The process for some options, and what it was made of."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: StartError | None = None) -> None:
        self.reactor, self.parent, self.error = Reactor(), Parent(), error
        monkeypatch.setattr(twisted.internet, "reactor", self.reactor, raising=False)
        monkeypatch.setattr(child, "LogService", Log)
        monkeypatch.setattr(child, "Ending", End)
        monkeypatch.setattr(child, "service_tree", self.make_tree)
        monkeypatch.setattr(module, "StartupService", self.make_startup)
        monkeypatch.setattr(module, "load_settings", self.load_settings)
        values = configuration(workers="2", service=["prices.Feed", "stock.restock"]).values()
        parent: Any = self.parent
        self.side = module.service_process(values, "service-restock", Descriptors.started(0), parent)

    def load_settings(self, *arguments: Any) -> None:
        if self.error is not None:
            raise self.error

    def make_tree(self, *arguments: Any, **options: Any) -> Composed:
        self.tree = Composed(*arguments, **options)
        return self.tree

    def make_startup(self, steps: Any, *arguments: Any) -> Any:
        self.steps = steps
        return named("start-up")


def test_it_runs_its_service_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """No port and no request thread; readiness is the service's alone."""
    found = Process(monkeypatch)
    assert found.tree.order == ["log", "services", "start-up"]
    assert [name for name, _ in found.steps] == ["setting Django up", "starting the services"]
    results: list[Any] = []
    found.side.checks.ask("readiness").addCallback(results.append)
    assert results == [{}]
    assert found.side.serving is None
    assert found.side.services is found.tree.services[1]


def test_its_own_service_is_the_only_one_that_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others may do something when they are."""
    with pytest.raises(StartError, match=r"the service restock \(stock.restock\): there is no module 'stock'"):
        Process(monkeypatch).steps[-1][1]()


def test_settings_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parent is told, and the process ends."""
    found = Process(monkeypatch, StartError("the settings are gone"))
    assert found.parent.told == ["the settings are gone"]
    assert found.tree.order == []
    assert found.side.lifecycle.state is State.DRAINING


def test_sigquit_logs_the_stacks(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Though there is no request."""
    Process(monkeypatch).tree.actions[signal.SIGQUIT]("SIGQUIT")
    assert "SIGQUIT" in caplog.text
