"""The services of a process: started in order, stopped together, and left behind at the bound."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail

from tests.support.lifecycle import Reactor
from twistserve.errors import StartError
from twistserve.lifecycle import Lifecycle, State
from twistserve.probes.checks import Result, Status
from twistserve.services.host import ServiceHost
from twistserve.services.loading import Declared, Loaded

BOUND = 3.0


class Noting(Service):
    """A service that notes what it is told; `returns` is what its start and its stop return, or raise."""

    def __init__(self, notes: list[str], start: Any = None, stop: Any = None) -> None:
        self.notes, self.returned = notes, {"start": start, "stop": stop}

    def privilegedStartService(self) -> None:
        self.notes.append("privileged")

    def startService(self) -> Any:
        super().startService()
        return self._note("start")

    def stopService(self) -> Any:
        super().stopService()
        return self._note("stop")

    def _note(self, what: str) -> Any:
        self.notes.append(what)
        if isinstance(self.returned[what], BaseException):
            raise self.returned[what]
        return self.returned[what]


class Hosting:
    """A host, and what it was given."""

    def __init__(self, *services: Any) -> None:
        self.reactor = Reactor()
        self.lifecycle = Lifecycle(self.reactor)
        self.host = ServiceHost(self.lifecycle, 5.0, lambda: BOUND, self.reactor)
        self.host.startService()
        self.raised: list[Any] = []
        self.started = self.host.start(self.loaded(services))
        self.started.addErrback(lambda failure: self.raised.append(failure.value))

    @staticmethod
    def loaded(services: Sequence[Any]) -> list[Loaded]:
        return [Loaded(Declared(f"s{number}", f"a.b{number}"), each) for number, each in enumerate(services)]

    def stop(self) -> list[Any]:
        stopped: list[Any] = []
        self.host.stopService().addCallback(stopped.append)
        return stopped

    @property
    def states(self) -> list[str]:
        return [each["state"] for each in self.host.describe()]


def test_each_starts_when_the_one_before_has() -> None:
    """The start-up's step has the name of the one that it waits for."""
    notes: list[str] = []
    waiting: Deferred[None] = Deferred()
    hosting = Hosting(Noting(notes, start=waiting), Noting(notes))
    assert (notes, hosting.states) == (["privileged", "start"], ["starting"])
    assert hosting.lifecycle.detail == "s0"
    waiting.callback(None)
    assert (notes, hosting.states) == (["privileged", "start"] * 2, ["running", "running"])
    assert hosting.lifecycle.detail == "s1"


@pytest.mark.parametrize("error", [OSError("no way"), SystemExit(3), fail(OSError("no way"))])
def test_one_that_does_not_start_ends_the_start(error: Any) -> None:
    """None is started after it, and what has started is stopped; it is not."""
    notes: list[str] = []
    hosting = Hosting(first := Noting(notes), Noting([], start=error), Noting(["never"]))
    [raised] = hosting.raised
    assert isinstance(raised, StartError)
    assert str(raised).startswith("the service s1 (a.b1) does not start: ")
    assert hosting.states == ["running", "stopped"]
    assert hosting.stop() == [None]
    assert (notes, first.running) == (["privileged", "start", "stop"], 0)


def test_one_that_says_why_it_does_not_start() -> None:
    """Its words are those of the start."""
    hosting = Hosting(Noting([], start=fail(StartError("the broker refuses the password"))))
    assert [str(each) for each in hosting.raised] == ["the broker refuses the password"]
    assert hosting.states == ["stopped"]


def test_none_starts_in_the_end() -> None:
    """One that finishes its start while it is stopped lets no other begin, which nothing would stop."""
    notes: list[str] = []
    waiting: Deferred[None] = Deferred()
    hosting = Hosting(Noting(notes, start=waiting), Noting(notes))
    assert hosting.stop() == [None]
    waiting.callback(None)
    assert notes == ["privileged", "start", "stop"]
    assert hosting.raised == []


def test_they_are_made_with_the_lifecycle_and_the_reactor() -> None:
    """Just before they start."""
    given: list[Any] = []

    def make(lifecycle: Any, reactor: Any) -> Service:
        given.extend((lifecycle, reactor))
        return Service()

    hosting = Hosting(make)
    lifecycle, reactor = given
    assert (lifecycle.state, reactor) == (State.STARTING, hosting.reactor)


def test_one_that_ends_by_itself_is_logged_without_a_probe(caplog: pytest.LogCaptureFixture) -> None:
    """Within a second, once."""
    service = Noting([])
    hosting = Hosting(service)
    service.running = 0
    hosting.reactor.pump([0.5] * 6)
    assert caplog.messages == ["the service s0 (a.b0) has ended by itself"]


def test_they_stop_together() -> None:
    """The last started first; each in its time."""
    notes: list[str] = []
    waiting: Deferred[None] = Deferred()
    hosting = Hosting(Noting(notes), Noting(notes, stop=waiting))
    stopped = hosting.stop()
    assert notes[-2:] == ["stop", "stop"]
    assert (stopped, hosting.states) == ([], ["stopped", "stopping"])
    waiting.callback(None)
    assert stopped == [None]
    assert hosting.states == ["stopped", "stopped"]
    assert hosting.reactor.getDelayedCalls() == []


def test_one_that_never_stops_is_left_behind(caplog: pytest.LogCaptureFixture) -> None:
    """At the bound, and its name is logged."""
    hosting = Hosting(Noting([], stop=Deferred()), Noting([]))
    stopped = hosting.stop()
    hosting.reactor.advance(BOUND - 0.1)
    assert stopped == []
    hosting.reactor.advance(0.1)
    assert stopped == [None]
    assert caplog.messages[-1] == "the service s0 (a.b0) has not stopped after 3.0 s: it is left behind"


def test_a_second_signal_waits_for_none() -> None:
    """What has not stopped is left behind at once."""
    hosting = Hosting(Noting([], stop=Deferred()))
    stopped = hosting.stop()
    hosting.lifecycle.enter(State.DRAINING, "received SIGTERM")
    hosting.lifecycle.wait_no_more()
    assert stopped == [None]


@pytest.mark.parametrize("error", [OSError("no way"), fail(OSError("no way"))])
def test_one_that_fails_to_stop_is_logged(error: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The others stop all the same."""
    notes: list[str] = []
    hosting = Hosting(Noting(notes), Noting([], stop=error))
    assert hosting.stop() == [None]
    assert notes[-1] == "stop"
    assert "the service s1 (a.b1) did not stop cleanly" in caplog.messages


def test_the_one_that_holds_the_end_up_is_named() -> None:
    """In the line about what does not end: while a `stopService` blocks."""
    names: list[str] = []

    class Blocking(Service):
        def stopService(self) -> None:
            names.append(hosting.host.name)

    hosting = Hosting(Blocking)
    assert hosting.host.name == "services"
    hosting.stop()
    assert names == ["s0"]


def test_what_readiness_is_told() -> None:
    """Each by its name."""
    results: list[Any] = []
    Hosting(Noting([]), Noting([], start=Deferred())).host.check().addCallback(results.append)
    assert results == [{"service:s0": Result(Status.PASS, "running"), "service:s1": Result(Status.WARN, "starting")}]
