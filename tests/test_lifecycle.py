"""The state machine, on a fake reactor."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred

from tests.support.lifecycle import Reactor
from twistserve.lifecycle import Lifecycle, State


def test_states_go_one_way() -> None:
    """A later state is entered and told once; an earlier one is ignored."""
    lifecycle = Lifecycle(Reactor())
    seen: list[State] = []
    lifecycle.observe(lambda state, reason: seen.append(state))
    for state in (State.READY, State.READY, State.STARTING, State.DRAINING, State.READY, State.STOPPED):
        lifecycle.enter(state, "a test")
    assert seen == [State.STARTING, State.READY, State.DRAINING, State.STOPPED]
    assert lifecycle.started


def test_ages_are_counted_from_the_change() -> None:
    """The ages of state and step start anew with each."""
    reactor = Reactor()
    lifecycle = Lifecycle(reactor)
    reactor.advance(2)
    lifecycle.at_step("migrating")
    reactor.advance(3)
    assert (lifecycle.age, lifecycle.step_age, lifecycle.step) == (5, 3, "migrating")
    lifecycle.enter(State.READY, "a test")
    assert lifecycle.age == 0


def test_the_second_signal_ends_the_waiting() -> None:
    """The first drains and stops the reactor; the second fires what waits with `hurry`, now and later."""
    lifecycle = Lifecycle(Reactor())
    waiting, cancelled = lifecycle.hurry(), lifecycle.hurry()
    cancelled.addErrback(lambda failure: None)
    cancelled.cancel()
    lifecycle.shut_down("SIGTERM")
    assert lifecycle.state is State.DRAINING
    assert not waiting.called
    lifecycle.shut_down("SIGTERM")
    assert waiting.called
    assert lifecycle.hurry().called
    assert lifecycle._reactor.stops == 1


def test_waiting_can_end_without_a_signal() -> None:
    """What waits goes on, and what would wait later does not."""
    lifecycle = Lifecycle(Reactor())
    waiting = lifecycle.hurry()
    lifecycle.wait_no_more()
    lifecycle.wait_no_more()
    assert waiting.called
    assert lifecycle.hurry().called
    assert lifecycle.state is State.STARTING


def test_a_failed_start_has_its_cause() -> None:
    """Where there is one, before anybody is told; a second failure is none."""
    lifecycle = Lifecycle(Reactor())
    told: list[object] = []
    lifecycle.on_failure = lambda message: told.append((message, lifecycle.cause))
    error = LookupError()
    assert lifecycle.cause is None
    lifecycle.fail("no", error)
    lifecycle.fail("again", OSError())
    assert told == [("no", error)]
    assert lifecycle.cause is error


def test_giving_up_later() -> None:
    """It drains, and the end has the failure; before, the start has failed, and after that the drain goes on."""
    lifecycle = Lifecycle(reactor := Reactor())
    told: list[str] = []
    lifecycle.on_failure = told.append
    lifecycle.enter(State.READY, "complete")
    lifecycle.give_up("the broker is gone")
    lifecycle.give_up("again")
    assert (told, lifecycle.failure, reactor.stops) == (["the broker is gone"], "the broker is gone", 1)
    assert (lifecycle.state, lifecycle.reason) == (State.DRAINING, "the broker is gone")
    starting = Lifecycle(Reactor())
    starting.on_failure = told.append
    starting.give_up("no")
    assert (told[1:], starting.reason) == (["no"], "the start failed")


@pytest.mark.parametrize("end", ["event", "failure", "time", "hurry"])
def test_what_ends_a_wait(end: str) -> None:
    """The event, its failure, the time or the second signal, whichever is first; nothing is left of the others."""
    reactor, event = Reactor(), Deferred[None]()
    lifecycle = Lifecycle(reactor)
    waited = lifecycle.wait(event, 5.0)
    reactor.advance(4.9)
    assert not waited.called
    if end == "event":
        event.callback(None)
    elif end == "failure":
        event.errback(OSError())
    elif end == "time":
        reactor.advance(0.2)
    else:
        lifecycle.shut_down("SIGTERM")
        lifecycle.shut_down("SIGTERM")
    assert waited.called
    assert waited.result is None
    assert not reactor.getDelayedCalls()
    assert not lifecycle._hurry
    if end in ("time", "hurry"):
        event.errback(OSError())


def test_a_signal_during_a_drain_of_its_own_does_not_hurry_it() -> None:
    """Only the second signal does: an orchestrator may end an instance that recycles itself just then."""
    lifecycle = Lifecycle(Reactor())
    lifecycle.enter(State.READY, "a test")
    lifecycle.recycle("many requests")
    waiting = lifecycle.hurry()
    lifecycle.shut_down("SIGTERM")
    assert not waiting.called
    lifecycle.shut_down("SIGTERM")
    assert waiting.called


def test_what_the_log_has_already_is_only_shown(caplog: pytest.LogCaptureFixture) -> None:
    """A detail that somebody else logs is told to the probes and to the parent, and not logged again."""
    lifecycle = Lifecycle(Reactor())
    told: list[tuple[str, str]] = []
    lifecycle.on_step = lambda step, detail: told.append((step, detail))
    lifecycle.at_step("applying migrations")
    with caplog.at_level("INFO"):
        caplog.clear()
        lifecycle.show("shop.0007_prices (12 of 185 on 'default')")
    assert lifecycle.progress == "applying migrations: shop.0007_prices (12 of 185 on 'default'), for 0.0 s"
    assert told[-1] == ("applying migrations", "shop.0007_prices (12 of 185 on 'default')")
    assert not caplog.messages


def test_progress_tells_step_detail_and_age() -> None:
    """The detail belongs to its step, whose age it does not change."""
    reactor = Reactor()
    lifecycle = Lifecycle(reactor)
    lifecycle.at_step("waiting for migrations")
    reactor.advance(2)
    lifecycle.say("3 unapplied on 'default'")
    assert lifecycle.progress == "waiting for migrations: 3 unapplied on 'default', for 2.0 s"
    lifecycle.at_step("loading")
    assert lifecycle.progress == "loading, for 0.0 s"
