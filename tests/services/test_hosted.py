"""What one service tells: its state, its readiness within a bound, its numbers, and that it has ended by itself."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from twisted.application.internet import TimerService
from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from twistserve.probes.checks import Result, Status
from twistserve.services.hosted import Hosted, ServiceState
from twistserve.services.loading import Declared

SECONDS = 5.0


class Feed(Service):
    """A service whose check and numbers are the test's."""

    def __init__(self, check: Any = None, numbers: Any = None) -> None:
        if check is not None:
            self.check_ready = check
        if numbers is not None:
            self.metrics = numbers


def hosted(service: Any, clock: Clock | None = None, state: ServiceState = ServiceState.RUNNING) -> Hosted:
    found = make(service, clock or Clock())
    if state is not ServiceState.STARTING:
        service.startService()
        found.started()
    found.enter(state)
    return found


def make(service: Any, clock: Clock) -> Hosted:
    logger = logging.getLogger("twistserve.service.feed")
    return Hosted(Declared("feed", "prices.Feed"), service, SECONDS, logger, clock)


def result(found: Hosted) -> Result:
    """What its check has found, which must be there."""
    results: list[Result] = []
    found.check().addCallback(results.append)
    [one] = results
    return one


def test_without_a_check_it_passes_while_it_runs() -> None:
    """Whoever has no reason to fail is no reason to send requests away."""
    assert result(hosted(Feed())) == Result(Status.PASS, "running")


@pytest.mark.parametrize("given", [lambda reason: reason, succeed])
def test_its_own_check(given: Any) -> None:
    """None is ready; any other answer is why not; a Deferred of either will do."""
    assert result(hosted(Feed(lambda: given(None)))) == Result(Status.PASS, "ready")
    assert result(hosted(Feed(lambda: given("no prices yet")))) == Result(Status.FAIL, output="no prices yet")


@pytest.mark.parametrize("state", [ServiceState.STARTING, ServiceState.STOPPING])
def test_before_and_after_it_warns(state: ServiceState) -> None:
    """Its check is not asked then."""
    assert result(hosted(Feed(pytest.fail), state=state)) == Result(Status.WARN, state.value)


def test_a_check_that_raises_fails_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """Each kind of error once, and no more than its name is shown."""
    found = hosted(Feed(lambda: fail(ValueError("a secret"))))
    for _ in range(3):
        assert result(found) == Result(Status.FAIL, output="raised ValueError")
    assert [record.name for record in caplog.records] == ["twistserve.service.feed"]
    assert caplog.records[0].exc_info is not None

    def leave() -> None:
        raise SystemExit(3)

    assert result(hosted(Feed(leave))).output == "raised SystemExit"


def test_a_check_and_numbers_that_raise_are_logged_once_each(caplog: pytest.LogCaptureFixture) -> None:
    """Probes and scrapes take turns."""
    found = hosted(Feed(lambda: fail(ValueError("no prices")), numbers=lambda: 1 / 0))
    for _ in range(3):
        result(found)
        found.describe()
    assert len(caplog.records) == 2


def test_what_is_raised_again_after_it_was_well_is_logged_again(caplog: pytest.LogCaptureFixture) -> None:
    """It is another outage."""
    broken = [True, True, False, True]

    def check() -> None:
        if broken.pop(0):
            raise ValueError("no prices")

    def numbers() -> dict[str, float]:
        check()
        return {}

    found = hosted(Feed(check))
    for _ in range(4):
        result(found)
    assert len(caplog.records) == 2
    broken += [True, True, False, True]
    told = hosted(Feed(numbers=numbers))
    for _ in range(4):
        told.describe()
    assert len(caplog.records) == 4


def test_a_check_that_hangs_fails_in_time_and_is_not_asked_again() -> None:
    """Probes that come meanwhile share the bound and the answer."""
    clock, answers = Clock(), [Deferred[Any](), Deferred[Any]()]
    asked = iter(answers)
    found = hosted(Feed(lambda: next(asked)), clock)
    results: list[Result] = []
    found.check().addCallback(results.append)
    clock.advance(SECONDS - 1)
    found.check().addCallback(results.append)
    assert results == []
    clock.advance(1)
    assert results == [Result(Status.FAIL, output="no answer within 5 s")] * 2
    found.check().addCallback(results.append)
    clock.advance(0)
    assert len(results) == 3
    answers[0].callback(None)
    waited = found.check()
    waited.addCallback(results.append)
    answers[1].callback(None)
    assert results[3] == Result(Status.PASS, "ready")
    assert clock.getDelayedCalls() == []


def test_one_that_has_ended_by_itself_warns_and_is_down(caplog: pytest.LogCaptureFixture) -> None:
    """Logged once; it is not said of one that is being stopped."""
    feed = Feed()
    found = hosted(feed)
    assert found.up
    feed.running = 0
    for _ in range(2):
        found.note_end()
        assert result(found) == Result(Status.WARN, "stopped", "does not run any more")
    assert [record.getMessage() for record in caplog.records] == ["the service feed (prices.Feed) has ended by itself"]
    assert caplog.records[0].levelno == logging.ERROR
    assert found.describe()["state"] == "stopped"


def test_one_that_does_not_say_whether_it_runs_is_up() -> None:
    """A `startService` that leaves out the one of twisted's Service."""

    class Quiet(Service):
        def startService(self) -> None:
            pass

    found = hosted(Quiet())
    assert found.up
    found.note_end()
    assert result(found) == Result(Status.PASS, "running")


def test_a_timer_whose_function_has_raised_is_down() -> None:
    """Twisted logs the error, and calls the service running on; so is one further down."""
    clock = Clock()
    timer = TimerService(1.0, lambda: fail(ValueError("once")))
    timer.clock = clock
    below = MultiService()
    TimerService(1.0, lambda: None).setServiceParent(below)
    for service in (timer, below):
        found = make(service, clock)
        service.startService()
        found.started()
        assert found.up is (service is below)


def test_what_the_status_page_and_the_metrics_get() -> None:
    """Numbers of any kind; where they cannot be had, none."""
    clock = Clock()
    found = hosted(Feed(numbers=lambda: {"symbols": 3, "lag": 0.5}), clock)
    clock.advance(7.25)
    described = found.describe()
    where = described.pop("where")
    assert where.startswith("process ")
    assert described == {
        "name": "feed",
        "dotted": "prices.Feed",
        "state": "running",
        "seconds": 7.2,
        "up": True,
        "values": {"symbols": 3.0, "lag": 0.5},
    }


@pytest.mark.parametrize("numbers", [lambda: 1 / 0, lambda: {"symbols": "many"}, lambda: None])
def test_numbers_that_cannot_be_had(numbers: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Logged once, and the scrape goes on."""
    found = hosted(Feed(numbers=numbers))
    for _ in range(2):
        assert found.describe()["values"] == {}
    assert len(caplog.records) == 1
    assert hosted(Feed(numbers=pytest.fail), state=ServiceState.STOPPED).describe()["values"] == {}
