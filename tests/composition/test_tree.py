"""The order in which services start and stop."""

from __future__ import annotations

import pytest
from twisted.application.service import Service
from twisted.internet.defer import Deferred

from tests.support.lifecycle import Reactor
from twistserve.composition.tree import ServiceTree
from twistserve.errors import StartError
from twistserve.lifecycle import Lifecycle, State


class Part(Service):
    """A service that tells what happens to it, and stops when it is told."""

    def __init__(self, name: str, told: list[str], error: Exception | None = None) -> None:
        self.name = name
        self.told = told
        self.error = error
        self.stopped: Deferred[None] = Deferred()

    def startService(self) -> None:
        if self.error is not None:
            raise self.error
        super().startService()
        self.told.append(f"start {self.name}")

    def stopService(self) -> Deferred[None]:
        self.told.append(f"stop {self.name}")
        return self.stopped


def tree_of(told: list[str], *errors: Exception | None) -> tuple[ServiceTree, Lifecycle, list[Part]]:
    reactor = Reactor()
    lifecycle = Lifecycle(reactor)
    tree = ServiceTree(lifecycle)
    parts = [Part(str(number), told, error) for number, error in enumerate(errors)]
    for part in parts:
        part.setServiceParent(tree)
    return tree, lifecycle, parts


def test_children_start_in_order_and_stop_one_after_another_in_reverse() -> None:
    """The next child is told to stop only when the one after it has stopped."""
    told: list[str] = []
    tree, lifecycle, parts = tree_of(told, None, None)
    tree.startService()
    stopped = tree.stopService()
    assert told == ["start 0", "start 1", "stop 1"]
    assert lifecycle.state is State.DRAINING
    parts[1].stopped.callback(None)
    assert told[-1] == "stop 0"
    assert not stopped.called
    parts[0].stopped.callback(None)
    assert stopped.called
    assert lifecycle.state is State.STOPPED


def test_a_child_that_fails_to_stop_does_not_keep_the_others_from_it(caplog: pytest.LogCaptureFixture) -> None:
    """Its error is logged and the rest is stopped."""
    told: list[str] = []
    tree, _, parts = tree_of(told, None, None)
    tree.startService()
    tree.stopService()
    parts[1].stopped.errback(RuntimeError("stuck"))
    assert told[-1] == "stop 0"
    assert "1 did not stop cleanly" in caplog.text


def test_a_failed_start_is_one_line_and_stops_the_reactor(capfd: pytest.CaptureFixture[str]) -> None:
    """What comes after the child that failed is not started; the reactor stops as soon as it runs."""
    told: list[str] = []
    tree, lifecycle, _ = tree_of(told, None, StartError("the port\nis in use"), None)
    tree.startService()
    assert told == ["start 0"]
    assert capfd.readouterr().err == "twistserve: the port is in use\n"
    assert lifecycle.failure == "the port is in use"
    reactor = lifecycle._reactor
    reactor.advance(0)
    assert reactor.stops == 1
    lifecycle.fail("another")
    assert lifecycle.failure == "the port is in use"


def test_the_child_that_holds_the_end_up_is_named() -> None:
    """By the name that it has at the moment: one that stops others names those."""
    tree, _, parts = tree_of([], None, None)
    tree.startService()
    assert tree.stopping == ""
    tree.stopService()
    assert tree.stopping == parts[1].name
    parts[1].name = "a part of it"
    assert tree.stopping == "a part of it"
    for part in reversed(parts):
        part.stopped.callback(None)
    assert tree.stopping == ""


@pytest.mark.usefixtures("capfd")
def test_only_what_has_started_is_stopped() -> None:
    """After a start that failed half-way."""
    told: list[str] = []
    tree, _, _ = tree_of(told, None, StartError("the port is in use"), None)
    tree.startService()
    tree.stopService()
    assert told == ["start 0", "stop 0"]
