"""What one process, the parent of several, and workers have in common: recycling, the tree, signals, shared sockets."""

from __future__ import annotations

import signal
from typing import Any

import pytest
from prometheus_client import REGISTRY
from twisted.internet.defer import Deferred

from tests.support.composition import Port, Reactor, Serving, configuration, named
from twistserve.composition import parts
from twistserve.lifecycle import Lifecycle, State
from twistserve.net.main_thread import main_thread
from twistserve.process.ending import Ending


def test_the_metrics_tell_the_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one it is in has 1, the others 0."""
    lifecycle = Lifecycle(Reactor())
    parts.tell_states(lifecycle)
    for state in (State.STARTING, State.READY, State.DRAINING):
        lifecycle.enter(state, "a test")
        values = {
            each: REGISTRY.get_sample_value("twistserve_lifecycle_state", {"state": each.value}) for each in State
        }
        assert values == {each: float(each is state) for each in State}


# Recycling


@pytest.mark.parametrize(
    ("given", "answered", "cause"),
    [
        ({"max_memory": "1"}, 0, "memory"),
        ({"max_memory": "10000"}, 10**9, None),
        ({"max_lifetime": "1000"}, 1101, "lifetime"),
        ({"max_lifetime": "1000"}, 999, None),
        ({"max_age": "0.5"}, 0, "age"),
        ({"max_age": "3600"}, 10**9, None),
    ],
)
def test_recycling(given: Any, answered: int, cause: str | None) -> None:
    """--max-memory counts megabytes (a process has more than one), --max-lifetime requests, --max-age seconds."""
    reactor = Reactor()
    lifecycle = Lifecycle(reactor)
    lifecycle.enter(State.READY, "a test")
    serving: Any = Serving(configuration(), (), lifecycle, None, reactor)
    serving.site.responses = answered
    causes: list[str] = []
    [service] = parts.recycling_service(
        configuration(**given), serving, lifecycle, lambda cause, reason: causes.append(cause), reactor
    )
    service.startService()
    reactor.advance(1)
    service.stopService()
    # Asked for anew at each look, until it ends.
    assert set(causes) == ({cause} if cause is not None else set())


def test_without_its_options_nothing_is_recycled() -> None:
    """All default to never."""
    anything: Any = None
    assert list(parts.recycling_service(configuration(), anything, anything, anything, anything)) == []


# The tree


class Tree:
    """A tree of one service that takes its time to stop, with an action for SIGHUP."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
        monkeypatch.setattr(main_thread, "after_step", main_thread.after_step)
        self.reactor = Reactor()
        self.lifecycle = Lifecycle(self.reactor)
        self.ending = Ending()
        self.stopped: Deferred[None] = Deferred()
        self.received: list[str] = []
        self.handled: list[int] = []
        service: Any = named("slow")
        service.stopService = lambda: self.stopped
        service.running = True
        self.ending.replaced = {signal.SIGTERM: lambda number, frame: self.handled.append(number)}
        actions: dict[int, Any] = {signal.SIGHUP: self.received.append}
        self.tree = parts.service_tree([service], self.lifecycle, self.ending, list, self.reactor, actions, **options)


@pytest.fixture
def tree(monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda **options: Tree(monkeypatch, **options)


def test_the_end_knows_what_it_waits_for(tree: Any) -> None:
    """The line about an end that was cut off names the service that is being stopped."""
    made = tree()
    assert made.ending.stopping() == ""
    made.tree.stopService()
    assert made.ending.stopping() == "slow"
    made.stopped.callback(None)
    assert made.ending.stopping() == ""


def test_a_signal_is_acted_on_from_the_start_of_the_services_on(tree: Any) -> None:
    """By its name, and by the reactor."""
    made = tree()
    made.ending.on_signal(signal.SIGHUP)
    made.tree.startService()
    before = len(made.reactor.from_threads)
    made.ending.on_signal(signal.SIGHUP)
    assert made.received == []
    for call in made.reactor.from_threads[before:]:
        call()
    assert made.received == ["SIGHUP"]


@pytest.mark.parametrize(("at_drain", "handled"), [((signal.SIGTERM,), [signal.SIGTERM]), ((), [])])
def test_the_applications_handler_is_called_when_the_drain_begins(tree: Any, at_drain: Any, handled: Any) -> None:
    """In a worker, whose parent has the signal; elsewhere it is called when the signal comes."""
    made = tree(at_drain=at_drain)
    made.tree.startService()
    made.lifecycle.enter(State.READY, "a test")
    assert made.handled == []
    made.lifecycle.enter(State.DRAINING, "a test")
    assert made.handled == handled


# Sockets that processes share


@pytest.fixture
def ports(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Those that are made."""
    made: list[Port] = []

    def make(*arguments: Any, **keywords: Any) -> Port:
        made.append(Port(*arguments, **keywords))
        return made[-1]

    monkeypatch.setattr(parts, "Port", make)
    return made


def test_the_sockets_that_are_shared(ports: list[Port], monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of --port, or those of --endpoint in its place."""
    sockets = parts.shared_sockets(configuration(host="127.0.0.1", port="8123"), None)
    [port] = ports
    assert (port.where, port.bound) == (("127.0.0.1", 8123), True)
    assert sockets == port.sockets
    monkeypatch.setattr(parts, "bind_endpoints", lambda reactor, descriptions: list(descriptions))
    assert list(map(str, parts.shared_sockets(configuration(endpoint=["tcp:1", "tcp:2"]), None))) == ["tcp:1", "tcp:2"]


def test_where_they_are_listened_on(ports: list[Any]) -> None:
    """Nothing is bound for it."""
    assert parts.shared_listeners(configuration(port="8123"), [5, 6], None) == ports
    [port] = ports
    assert (port.bound, port.descriptors) == (False, [5, 6])
    listeners = parts.shared_listeners(configuration(endpoint=["tcp:1", "tcp:2"]), [5, 6], None)
    assert [str(each) for each in listeners] == ["tcp:1", "tcp:2"]
