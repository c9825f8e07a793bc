"""A worker: what it has of its parent, what is its own, and a start that fails."""

from __future__ import annotations

import signal
import sys
from typing import Any

import pytest
import twisted.internet

from tests.support.composition import Composed, End, Log, Parent, Port, Reactor, Serving, configuration, named
from twistserve.composition import child, parts
from twistserve.composition import worker as module
from twistserve.errors import StartError
from twistserve.lifecycle import State
from twistserve.probes.django_checks import DjangoChecks
from twistserve.workers.protocol import FIRST_SOCKET, LOG_LOCK, Descriptors


class Worker:
    """A worker for some options, and what it was made of."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        name: str = "worker-1",
        prepares: bool = False,
        preloaded: Any = None,
        **given: Any,
    ) -> None:
        End.made.clear()
        self.reactor = Reactor()
        self.parent = Parent()
        self.ports: list[Port] = []
        self.serving: Any = None
        self.steps: list[Any] = []
        monkeypatch.setattr(twisted.internet, "reactor", self.reactor, raising=False)
        monkeypatch.setattr(parts, "Port", self.make_port)
        monkeypatch.setattr(child, "LogService", self.make_log)
        monkeypatch.setattr(child, "Ending", End)
        monkeypatch.setattr(module, "Serving", self.make_serving)
        monkeypatch.setattr(module, "StartupService", self.make_startup)
        monkeypatch.setattr(child, "service_tree", self.make_tree)
        monkeypatch.setattr(module, "name_of", lambda descriptor: f"descriptor {descriptor}")
        monkeypatch.setattr(module, "load_settings", self.load_settings)
        self.error: StartError | None = given.pop("error", None)
        values = configuration(workers="2", **given).values()
        parent: Any = self.parent
        self.side = module.worker(values, name, Descriptors.started(2), prepares, parent, preloaded)

    def load_settings(self, *arguments: Any) -> None:
        if self.error is not None:
            raise self.error

    def make_log(self, *arguments: Any) -> Log:
        self.log = Log()
        return self.log

    def make_port(self, *arguments: Any, **keywords: Any) -> Port:
        self.ports.append(Port(*arguments, **keywords))
        return self.ports[-1]

    def make_serving(self, *arguments: Any) -> Serving:
        serving = Serving(*arguments)
        self.serving = serving
        return serving

    def make_startup(self, steps: Any, *arguments: Any) -> Any:
        self.steps = steps
        return named("start-up")

    def make_tree(self, *arguments: Any, **options: Any) -> Composed:
        self.tree = Composed(*arguments, **options)
        return self.tree


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    return lambda **given: Worker(monkeypatch, **given)


def test_it_starts_what_serves_and_nothing_else(worker: Any) -> None:
    """Probes, webhooks and metrics are the parent's; the end of the reactor stops the services."""
    found = worker(max_memory="100", webhook_url="http://127.0.0.1/events")
    assert found.tree.order == ["log", "observer", "pool", "web", "start-up", "recycling"]
    assert found.tree.started == 1
    assert [(phase, event) for phase, event, _ in found.reactor.triggers] == [("before", "shutdown")]


def test_with_debug_it_is_watched(worker: Any) -> None:
    """Its reactor as long as it runs, and its imports until it is ready."""
    before = list(sys.meta_path)
    found = worker(debug=True)
    assert found.tree.order[:2] == ["log", "slow callbacks"]
    assert len(sys.meta_path) == len(before) + 1
    found.side.lifecycle.enter(State.READY, "a test")
    assert sys.meta_path == before


def test_it_listens_at_what_it_inherits(worker: Any) -> None:
    """It binds nothing, and lets none of it go to children that are forked."""
    found = worker()
    [port] = found.ports
    assert (port.bound, port.descriptors) == (False, [FIRST_SOCKET, FIRST_SOCKET + 1])
    assert found.tree.names() == [f"descriptor {FIRST_SOCKET}", f"descriptor {FIRST_SOCKET + 1}"]


def test_its_lines_do_not_mix_with_those_of_others(worker: Any) -> None:
    """It writes under the lock that all of them have."""
    assert worker().log.lock == LOG_LOCK


def test_the_delay_of_the_drain_is_the_parents(worker: Any) -> None:
    """The parent lets it pass before a worker is asked to drain."""
    assert worker(drain_delay="5").serving.configuration.drain_delay == 0


@pytest.mark.parametrize(("name", "tells"), [("worker-1", True), ("worker-2", False)])
def test_one_of_them_says_what_holds_for_all(worker: Any, name: str, tells: bool) -> None:
    """A warning about the settings is not repeated by each."""
    assert worker(name=name).serving.tells is tells


@pytest.mark.parametrize(("name", "no_probe"), [("worker-1", False), ("worker-1", True), ("worker-2", False)])
def test_one_of_them_says_what_checks_have_to_tell(
    worker: Any, monkeypatch: pytest.MonkeyPatch, name: str, no_probe: bool
) -> None:
    """If there are probes."""
    told: list[str] = []
    monkeypatch.setattr(DjangoChecks, "tell", lambda checks: told.append("told"))
    [(_, set_up)] = worker(name=name, no_probe=no_probe).steps
    set_up()
    assert told == ["told"] * (name == "worker-1" and not no_probe)


@pytest.mark.parametrize("prepares", [True, False])
def test_one_of_them_runs_the_commands(worker: Any, prepares: bool) -> None:
    """And tells the parent when that is done, for the others to begin."""
    found = worker(prepares=prepares, command=["migrate"])
    assert found.serving.between == ["running the command 'migrate'"] * prepares
    found.serving.prepared()
    for call in found.reactor.from_threads:
        call()
    assert found.parent.told == ["prepared"] * prepares


def test_one_that_makes_way_runs_the_commands_and_ends(worker: Any) -> None:
    """With --preload: it imports no application, serves nobody, and says nothing that the workers say."""
    found = worker(prepares=True, command=["migrate"], preload=True)
    assert [name for name, _ in found.steps[1:]] == ["running the command 'migrate'", "making way for the workers"]
    found.steps[-1][1]()
    for call in found.reactor.from_threads:
        call()
    assert found.parent.told == ["prepared"]
    assert found.side.lifecycle.state is State.DRAINING


def test_what_a_forked_one_has_already(worker: Any) -> None:
    """The log, and the handlers of signals that the application has installed where it was imported."""
    log, handlers = Log(), {signal.SIGTERM: print}
    found = worker(preloaded=child.Preloaded(log, handlers), preload=True)  # type: ignore[arg-type]
    assert found.tree.services[0] is log
    assert log.lock == LOG_LOCK
    assert End.made[0].replaced == handlers


def test_signals_to_it_alone_have_it_replaced(worker: Any) -> None:
    """SIGTERM asks for another worker before this one drains; SIGQUIT shows where it stands."""
    found = worker()
    found.tree.actions[signal.SIGTERM]("SIGTERM")
    found.tree.actions[signal.SIGQUIT]("SIGQUIT")
    assert found.parent.told == [("signal", "received SIGTERM")]
    assert found.serving.stacks == ["SIGQUIT"]
    assert found.side.lifecycle.state is State.STARTING


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_signals_to_all_processes_are_the_parents(worker: Any, number: signal.Signals) -> None:
    """Ctrl-C reaches the workers too: they go on until the parent has them end."""
    found = worker()
    found.tree.actions[number](number.name)
    assert found.parent.told == []
    assert found.side.lifecycle.state is State.STARTING


def test_a_start_that_fails_is_the_parents_to_tell(worker: Any) -> None:
    """Nothing is started then, and signals that it cannot act on do not reach it; it says why, and ends."""
    found = worker(error=StartError("the settings cannot be imported"))
    assert found.parent.told == ["the settings cannot be imported"]
    assert found.side.serving is None
    assert found.tree.order == []
    assert set(found.tree.actions) == {signal.SIGINT, signal.SIGHUP}
    found.reactor.advance(0)
    assert found.reactor.stops == 1
