"""What the processes of a parent have in common is tested with workers; here is what is the same for any."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from tests.support.composition import Composed, End, Log, Parent, Reactor, configuration, named
from twistserve.composition import child as module
from twistserve.workers.protocol import LOG_LOCK, Descriptors


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(module, "LogService", Log)
    monkeypatch.setattr(module, "Ending", End)
    monkeypatch.setattr(module, "service_tree", Composed)
    parent: Any = Parent()
    return module.Child(configuration(), Descriptors.started(0), parent, Reactor())


def test_it_writes_where_all_write(child: Any) -> None:
    """Lines of several processes do not mix."""
    assert child.log.lock == LOG_LOCK


def test_its_services_run_until_the_reactor_stops(child: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With actions of its own beside those for signals that are the parent's."""
    trees: list[Composed] = []

    def make(*arguments: Any, **options: Any) -> Composed:
        trees.append(Composed(*arguments, **options))
        return trees[-1]

    monkeypatch.setattr(module, "service_tree", make)
    asked: list[str] = []
    child.start([named("feed")], ["a name"], {signal.SIGQUIT: asked.append})
    [tree] = trees
    assert (tree.order, tree.names(), tree.started) == (["feed"], ["a name"], 1)
    assert [(phase, event) for phase, event, _ in child._reactor.triggers] == [("before", "shutdown")]
    tree.actions[signal.SIGQUIT]("SIGQUIT")
    tree.actions[signal.SIGTERM]("SIGTERM")
    tree.actions[signal.SIGHUP]("SIGHUP")
    assert asked == ["SIGQUIT"]
    assert child._parent.told == [("signal", "received SIGTERM")]
