"""How long services may take to stop, and the step that starts them."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed

from tests.support.composition import configuration
from tests.support.lifecycle import Reactor
from twistserve.composition import services as module
from twistserve.composition.services import STOP, STOP_IN_WORKER, service_host, service_step
from twistserve.errors import StartError
from twistserve.lifecycle import Lifecycle, State
from twistserve.services.loading import Declared


@pytest.mark.parametrize(
    ("ready", "drained", "seconds"),
    [(True, 0.0, 5.0 + 20.0 + STOP), (True, 10.0, 15.0 + STOP), (True, 40.0, STOP), (False, 0.0, STOP)],
)
def test_what_is_left_of_the_drain(ready: bool, drained: float, seconds: float) -> None:
    """Requests come first; a start that has failed waits for nobody's drain."""
    reactor = Reactor()
    lifecycle = Lifecycle(reactor)
    host = service_host(configuration(graceful_timeout="20"), lifecycle, reactor, lambda: 5.0, STOP)
    if ready:
        lifecycle.enter(State.READY, "a test")
    lifecycle.enter(State.DRAINING, "a test")
    reactor.advance(drained)
    assert host._bound() == seconds


def test_a_worker_has_less() -> None:
    """Its parent has the rest."""
    reactor = Reactor()
    lifecycle = Lifecycle(reactor)
    lifecycle.enter(State.READY, "a test")
    host = service_host(configuration(graceful_timeout="20"), lifecycle, reactor)
    assert host._bound() == 20.0 + STOP_IN_WORKER


class Host:
    """In place of the host: notes what it is to start."""

    def __init__(self) -> None:
        self.started: list[str] = []

    def start(self, services: Any) -> Deferred[None]:
        self.started = [each.declared.name for each in services]
        return succeed(None)


def test_the_step_imports_all_and_starts_what_was_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The import is the start-up's thread's, the start the reactor's, which is waited for."""
    waited: list[Any] = []

    def call(reactor: Any, function: Any, *arguments: Any) -> None:
        waited.append((reactor, threading.current_thread()))
        function(*arguments)

    monkeypatch.setattr(module, "blockingCallFromThread", call)
    host: Any = Host()
    both = [Declared("one", f"{__name__}.ONE"), Declared("two", f"{__name__}.Service")]
    name, step = service_step(both, host, "the reactor", lambda loaded: loaded[1:])
    step()
    assert (name, host.started) == ("starting the services", ["two"])
    assert waited == [("the reactor", threading.current_thread())]
    with pytest.raises(StartError, match="has no 'THREE'"):
        service_step([Declared("three", f"{__name__}.THREE")], host, "the reactor")[1]()


ONE = Service()
